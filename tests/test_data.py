"""Pictures to practise on: reproducible crops, kept in memory or not, by threads or not, shared out to processes."""

import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from limner.errors import LimnerError
from limner.pictures import image
from limner.pictures.sources import open_source
from limner.training import data
from limner.training.run import Run
from tests.conftest import make_photo
from tests.runs import options

PLENTY = 1 << 30


def crops_of(folder: Path, *, size: int, min_scale: float = 0.5, seed: int = 0, budget: int = PLENTY) -> data.Crops:
    cache = data.PictureCache(open_source(folder), short_side=4 * size, budget=budget)
    return data.Crops(cache, list(range(len(cache.source))), size=size, min_scale=min_scale, seed=seed)


def stream_of(crops: data.Crops, *, batch_size: int, rank: int = 0, ranks: int = 1, workers: int = 0) -> data.Stream:
    return data.Stream(crops, batch_size=batch_size, device=torch.device("cpu"), rank=rank, ranks=ranks, workers=workers)


def test_crops_are_srgb(tmp_path: Path) -> None:
    """Training sees the same numbers as applying, whatever the file's profile: here one whose red is sRGB's green."""
    from tests.test_image import P3

    Image.new("RGB", (32, 32), (30, 220, 40)).save(tmp_path / "p3.png", icc_profile=P3)
    crop = crops_of(tmp_path, size=8, min_scale=1.0)[0]
    assert crop[:, 4, 4].tolist() == image.read(tmp_path / "p3.png").pixels[4, 4].tolist() != [30, 220, 40]


def test_crops_are_a_function_of_seed_and_number(photos: Path) -> None:
    crops = crops_of(photos, size=24, seed=7)
    first = [crops[n] for n in range(20)]
    again = crops_of(photos, size=24, seed=7, budget=0)  # nothing stays in memory
    assert all(torch.equal(again[n], first[n]) for n in reversed(range(20)))
    other = crops_of(photos, size=24, seed=8)
    assert not all(torch.equal(other[n], first[n]) for n in range(20))


def test_threads_give_what_one_thread_gives(photos: Path) -> None:
    alone = stream_of(crops_of(photos, size=24), batch_size=3)
    many = stream_of(crops_of(photos, size=24), batch_size=3, workers=4)
    many.last = 30
    for step in range(5, 30):
        assert torch.equal(many[step], alone[step])
    many.close()
    assert threading.active_count() == 1 or not any(t.name.startswith("pictures") for t in threading.enumerate())


def test_an_epoch_shows_every_photo_once(tmp_path: Path) -> None:
    for i in range(6):
        Image.fromarray(np.full((30, 40, 3), 40 * i, np.uint8)).save(tmp_path / f"{i}.png")
    crops = crops_of(tmp_path, size=8)
    orders = set()
    for epoch in range(3):
        shown = [int(crops[n].float().mean()) // 40 for n in range(6 * epoch, 6 * epoch + 6)]
        orders.add(tuple(shown))
        assert sorted(shown) == list(range(6))
    assert len(orders) > 1


def test_crops_are_mirrored_and_scaled(tmp_path: Path) -> None:
    ramp = np.repeat(np.linspace(0, 255, 64).astype(np.uint8)[None, :, None], 64, axis=0).repeat(3, axis=2)
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    crops = crops_of(tmp_path, size=16)
    slopes = np.array([float(c[0, 8, -1]) - float(c[0, 8, 0]) for c in (crops[n] for n in range(200))])
    assert 0.35 < (slopes < 0).mean() < 0.65
    spans = np.abs(slopes) / 255
    assert spans.min() < 0.55
    assert spans.max() > 0.85


def test_crops_are_in_place_and_not_squashed(tmp_path: Path) -> None:
    """A disc stays round in a crop of a wide photograph, and lies where it should."""
    rows, columns = np.mgrid[:60, :120]
    disc = ((rows - 30) ** 2 + (columns - 60) ** 2 < 25**2) * np.uint8(255)
    Image.fromarray(disc[..., None].repeat(3, axis=2)).save(tmp_path / "disc.png")
    crop = crops_of(tmp_path, size=60, min_scale=1.0)[0][0].numpy() > 127
    height, width = (np.flatnonzero(crop.any(axis)).size for axis in (1, 0))
    assert height == 49
    if width < 49:  # cut off by the crop's side: then it touches it
        assert crop[:, 0].any() or crop[:, -1].any()


def test_ranks_share_the_pictures_without_overlap(photos: Path) -> None:
    whole = stream_of(crops_of(photos, size=8), batch_size=4)
    parts = [stream_of(crops_of(photos, size=8), batch_size=2, rank=rank, ranks=2) for rank in (0, 1)]
    for step in range(2, 5):
        assert torch.equal(whole[step], torch.cat([part[step] for part in parts]))
        assert not set(parts[0].items(step)) & set(parts[1].items(step))


def test_pictures_stay_in_memory_while_they_fit(photos: Path) -> None:
    source = CountingSource(8)
    cache = data.PictureCache(source, short_side=1000, budget=3 * 20 * 30 * 3)
    for _ in range(2):
        for n in range(8):
            picture = cache[n]
            assert picture is not None
            assert int(picture[0, 0, 0]) == n
    assert source.reads == 8 + 5  # three fit and are read once


def test_large_pictures_are_kept_small(tmp_path: Path) -> None:
    Image.fromarray(make_photo(640, 400)).save(tmp_path / "large.png")
    picture = data.PictureCache(open_source(tmp_path), short_side=100, budget=PLENTY)[0]
    assert picture is not None
    assert tuple(picture.shape) == (3, 100, 160)


def test_bad_pictures_are_skipped_named_and_read_once(tmp_path: Path) -> None:
    for i in range(4):
        Image.fromarray(make_photo(40, 30, seed=i)).save(tmp_path / f"good-{i}.jpg")
    (tmp_path / "text.jpg").write_text("not a picture")
    whole = (tmp_path / "good-0.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    stream = stream_of(crops_of(tmp_path, size=16), batch_size=3)
    for step in range(8):
        assert stream[step].shape == (3, 3, 16, 16)
    skipped = stream.newly_skipped()
    assert len(skipped) == 2
    assert any("text.jpg" in sentence for sentence in skipped)
    assert any("cut.jpg" in sentence for sentence in skipped)
    assert stream.newly_skipped() == []


def test_a_folder_of_bad_pictures_ends_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("not a picture")
    with pytest.raises(LimnerError, match=r"None of the 1 pictures.*text\.jpg"):
        crops_of(tmp_path, size=16)[0]


def test_held_out_crops_are_the_middle(tmp_path: Path) -> None:
    pixels = np.zeros((20, 60, 3), np.uint8)
    pixels[:, 20:40] = 200
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    Image.fromarray(pixels.transpose(1, 0, 2)).save(tmp_path / "high.png")
    cache = data.PictureCache(open_source(tmp_path), short_side=100, budget=0)
    (batch,) = data.centred_crops(cache, [0, 1], size=20, batch_size=4, device=torch.device("cpu"))
    assert batch.shape == (2, 3, 20, 20)
    assert torch.equal(batch, torch.full_like(batch, 200 / 255))


class CountingSource:
    """Small pictures of one colour, their number; counts how often one is read."""

    path, kind = Path("counting"), "folder"

    def __init__(self, count: int) -> None:
        self.count, self.reads = count, 0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, n: int) -> NDArray[np.uint8]:
        self.reads += 1
        return np.full((20, 30, 3), n, np.uint8)

    def key(self, n: int) -> str:
        return f"{n}.png"


def test_streams_of_different_names_draw_independently(tmp_path: Path, many_photos: Path) -> None:
    """Two domains of equal size must not be fixed pairs, nor share scales and places."""
    seen = []
    for name in ("domain_a", "domain_b"):
        cache = data.PictureCache(open_source(many_photos), short_side=100, budget=PLENTY)
        seen.append(data.Crops(cache, list(range(40)), size=16, min_scale=0.5, seed=data.salted(0, name)))
    assert all(torch.equal(seen[0][n], seen[0][n]) for n in range(5))
    assert not any(torch.equal(seen[0][n], seen[1][n]) for n in range(40))
    pairs = {tuple(int(crops._order(epoch)[place]) for crops in seen) for epoch in range(5) for place in range(40)}
    assert len(pairs) > 150  # fixed pairs: 40


def test_crops_at_native_scale_are_the_pictures_own_pixels(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "own.png")
    Image.fromarray(pixels[:10, :12]).save(tmp_path / "small.png")
    cache = data.PictureCache(open_source(tmp_path), short_side=40, budget=PLENTY)
    crops = data.Crops(cache, [0], size=16, min_scale=None, seed=0)
    windows = {window.tobytes() for window in np.lib.stride_tricks.sliding_window_view(pixels, (16, 16, 3)).reshape(-1, 16, 16, 3)}
    for n in range(10):
        crop = crops[n].permute(1, 2, 0).numpy()
        assert crop.tobytes() in windows or crop[:, ::-1].tobytes() in windows
    assert data.Crops(cache, [1], size=16, min_scale=None, seed=0)[0].shape == (3, 16, 16)
    (batch,) = data.centred_crops(cache, [0], size=16, batch_size=1, device=torch.device("cpu"), native=True)
    assert np.array_equal((batch[0] * 255).round().permute(1, 2, 0).numpy(), pixels[12:28, 20:36])


class Pairs:
    """A folder of photographs and one of what was made of them: the same pictures inverted, as PNG."""

    def __init__(self, folder: Path, count: int = 24) -> None:
        self.photos, self.made = folder / "photos", folder / "made"
        for i in range(count):
            path = Path("ab"[i % 2]) / f"{i:02}.x"
            for place in (self.photos / path, self.made / path):
                place.parent.mkdir(parents=True, exist_ok=True)
            photo = make_photo(48 + i, 40, seed=i)
            Image.fromarray(photo).save((self.photos / path).with_suffix(".bmp"))
            Image.fromarray(255 - photo).save((self.made / path).with_suffix(".png"))

    def streams(self, out: Path, *, held_out: Path | None = None, **changes: Any) -> tuple[data.Stream, data.Stream]:
        run = Run(options(out, held_out=held_out), steps=1)
        photos = run.pictures(self.photos, **{"size": 16, "batch_size": 3, "min_scale": 0.5, **changes})
        return photos, run.partners(self.made, photos, name="made")


@pytest.mark.parametrize("min_scale", [0.5, None])
def test_partners_show_the_very_same_crops(tmp_path: Path, min_scale: float | None) -> None:
    photos, made = Pairs(tmp_path).streams(tmp_path / "run", min_scale=min_scale)
    for step in range(20):
        assert torch.allclose(1 - photos[step], made[step], atol=1.1 / 255)
    assert len(photos.held_out) == len(made.held_out) == 1
    assert torch.allclose(1 - photos.held_out[0], made.held_out[0], atol=1.1 / 255)


def test_places_are_where_the_crops_lie(tmp_path: Path) -> None:
    pairs = Pairs(tmp_path)
    photos, made = pairs.streams(tmp_path / "run", min_scale=None)

    def cut(number: int, top: int, left: int, mirrored: int) -> torch.Tensor:
        picture = photos.drawn.cache[number]
        assert picture is not None
        crop = picture[:, top : top + 16, left : left + 16] / 255
        return crop.flip(2) if mirrored else crop

    seen = set()
    for step in range(20):
        numbers = [photos.drawn.place(n)[0] for n in photos.items(step)]
        wanted = torch.stack([cut(n, *place) for n, place in zip(numbers, photos.places(step).tolist(), strict=True)])
        assert torch.equal(photos[step], wanted)
        assert torch.equal(photos.places(step), made.places(step))
        seen |= {tuple(place) for place in photos.places(step).tolist()}
    assert len(seen) > 40
    (middle,) = photos.held_out_places
    _, numbers = photos.held
    assert torch.equal(photos.held_out[0], torch.stack([cut(n, *place) for n, place in zip(numbers, middle.tolist(), strict=True)]))


def test_partners_that_cannot_be_read_are_shown_by_neither(tmp_path: Path) -> None:
    pairs = Pairs(tmp_path)
    (pairs.photos / "a" / "00.bmp").write_bytes(b"")
    (pairs.made / "a" / "00.png").unlink()  # nothing can be made of it
    (pairs.made / "b" / "01.png").write_bytes(b"")
    Image.fromarray(make_photo(40, 48)).save(pairs.made / "a" / "02.png")  # of another size
    photos, made = pairs.streams(tmp_path / "run")
    for step in range(30):
        assert torch.allclose(1 - photos[step], made[step], atol=1.1 / 255)
    assert sum(len(batch) for batch in photos.held_out) == sum(len(batch) for batch in made.held_out)
    sentences = {*photos.newly_skipped(), *made.newly_skipped()}
    assert len(sentences) == 3
    assert any("a/02.png" in sentence and "not of the size of a/02.bmp" in sentence for sentence in sentences)


def test_a_picture_without_partner_or_with_two_is_refused(tmp_path: Path) -> None:
    pairs = Pairs(tmp_path)
    shutil.copy(pairs.made / "a" / "00.png", pairs.made / "a" / "00.bmp")
    with pytest.raises(LimnerError, match="two pictures of the name a/00"):
        pairs.streams(tmp_path / "run")
    for suffix in ("png", "bmp"):
        (pairs.made / "a" / f"00.{suffix}").unlink()
    with pytest.raises(LimnerError, match=r"a/00\.bmp in .*photos has no partner .*made \(23 of 24"):
        pairs.streams(tmp_path / "run")


def test_pictures_held_out_elsewhere_have_partners_or_none_is_held_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pairs, aside = Pairs(tmp_path), tmp_path / "aside"
    aside.mkdir()
    Image.fromarray(make_photo(50, 40, seed=77)).save(aside / "77.bmp")
    photos, made = pairs.streams(tmp_path / "run", held_out=aside)
    assert photos.held_out
    assert not made.held_out
    assert "77.bmp" in caplog.text
    Image.fromarray(255 - make_photo(50, 40, seed=77)).save(pairs.made / "77.png")
    photos, made = pairs.streams(tmp_path / "run", held_out=aside)
    assert torch.allclose(1 - photos.held_out[0], made.held_out[0], atol=1.1 / 255)
