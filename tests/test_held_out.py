"""Held-out pictures: no relative of theirs is trained on."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from limner.errors import LimnerError
from limner.training import data
from limner.training.held_out import origins, split
from limner.training.run import Run
from tests.conftest import make_photo
from tests.runs import options

PHOTOS = [f"{'abcdefgh'[i % 8]}{i * 7919 % 1000}x.jpg" for i in range(40)]


@pytest.mark.parametrize(("count", "spared"), [(1, 0), (19, 0), (20, 2), (100, 10), (160, 16), (5000, 16)])
def test_split_spares_a_tenth(count: int, spared: int) -> None:
    names = [f"IMG_{i:04}.jpg" for i in range(count)]  # a camera's numbers, which tell nothing
    train, held_out = split(names, seed=3)
    assert len(held_out) == spared
    assert sorted([*train, *held_out]) == list(range(count))
    assert split(names, seed=3) == (train, held_out)


def test_names_tell_origins() -> None:
    stories = [f"cartoons/story-{story:04}-{page:02}.jpg" for story in range(20) for page in range(12)]
    walls = [f"wall-{i:03}{part}.png" for i in range(40) for part in "ab"]
    beside = ["tower.jpg", "tower-1.jpg", "tower (2).jpg", "story.jpg"]
    found = origins([*stories, *walls, *beside])
    assert len(set(found[:240])) == 20
    assert found[0] == found[11] != found[12]
    assert len(set(found[240:320])) == 40
    assert found[320] == found[321] != found[323]
    assert len(set(origins([f"{i:05}.jpg" for i in range(400)]))) == 400


@pytest.mark.parametrize("pages", [2, 12, 30])
def test_an_origin_is_never_on_both_sides(pages: int) -> None:
    names = [f"story-{story:04}-{page:02}.jpg" for story in range(40) for page in range(pages)]
    train, held_out = split(names, seed=1)
    assert len(held_out) == min(16, len(names) // 10)
    assert not {n // pages for n in train} & {n // pages for n in held_out}
    assert len(train) + len(held_out) >= 0.9 * len(names)
    assert len({n // pages for n in held_out}) > 1  # and of more than one story, where there are enough


def photos_in(folder: Path) -> Path:
    folder.mkdir()
    for i, name in enumerate(PHOTOS):
        Image.fromarray(make_photo(60, 44, seed=i)).save((folder / name).with_suffix(".png"))
    return folder


def shown(stream: data.Stream, steps: int = 60) -> set[int]:
    for step in range(steps):
        stream[step]
    return {n for n in stream.drawn.numbers if n in stream.drawn.shown}


def stream_of(folder: Path, out: Path, held_out: Path | None = None) -> data.Stream:
    return Run(options(out, held_out=held_out), steps=1).pictures(folder, size=16, batch_size=2, min_scale=0.5)


def test_copies_of_what_is_held_out_are_not_trained_on(tmp_path: Path) -> None:
    folder = photos_in(tmp_path / "photos")
    held = stream_of(folder, tmp_path / "run").held
    name = held[0].source.key(held[1][0])
    with Image.open(folder / name) as photo:
        photo.resize((90, 66)).save(folder / "copy-of-it.jpg", quality=80)
    stream = stream_of(folder, tmp_path / "run", held_out=folder / name)
    names = {stream.drawn.cache.source.key(n) for n in shown(stream)}
    assert names == {path.name for path in folder.iterdir()} - {name, "copy-of-it.jpg"}
    (told,) = stream.newly_skipped()
    assert "copy-of-it.jpg" in told
    assert name in told


def test_held_out_files_inside_the_photographs_are_not_trained_on(tmp_path: Path) -> None:
    """All of them, not only those that are looked at, and without reading them."""
    folder = photos_in(tmp_path / "photos")
    aside = folder / "aside"
    aside.mkdir()
    for i in range(70):
        Image.fromarray(np.full((20, 20, 3), i, np.uint8)).save(aside / f"{i}.png")
    stream = stream_of(folder, tmp_path / "run", held_out=aside)
    assert len(stream.held[1]) == 64
    assert {stream.drawn.cache.source.key(n) for n in stream.drawn.numbers} == {Path(name).stem + ".png" for name in PHOTOS}
    assert stream.about["left_out"] == 70
    with pytest.raises(LimnerError, match=r"All pictures in .* are held out"):
        stream_of(aside, tmp_path / "run", held_out=folder)
