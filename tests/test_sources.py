"""Where pictures come from: each kind gives back exactly what was put in, from any thread, and one bad file harms no other."""

import io
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from limner.errors import LimnerError
from limner.pictures.sources import Source, open_source
from tests.conftest import make_photo

PICTURES = [make_photo(20 + 3 * n, 30, seed=n) for n in range(6)]


def png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def make_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def make_film(path: Path, *, seconds: int = 6, size: tuple[int, int] = (64, 48)) -> Path:
    """Ten frames a second, a key frame every 2.5 seconds; frame n is grey of brightness 4 n + 8."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx-vp9" if path.suffix == ".webm" else "libx264", rate=10)
        stream.width, stream.height = size
        stream.pix_fmt, stream.codec_context.gop_size = "yuv420p", 25
        for n in range(seconds * 10):
            frame = av.VideoFrame.from_ndarray(np.full((size[1], size[0], 3), 4 * n + 8, np.uint8), format="rgb24")
            frame.pts = n
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def keys(source: Source) -> list[str]:
    return [source.key(n) for n in range(len(source))]


def refusal(path: Path, **options: object) -> str:
    with pytest.raises(LimnerError) as refused:
        open_source(path, **options)
    return str(refused.value)


def same(source: Source, pictures: list[NDArray[np.uint8]]) -> bool:
    return len(source) == len(pictures) and all(np.array_equal(source[n], picture) for n, picture in enumerate(pictures))


def test_a_folder_and_a_picture(tmp_path: Path) -> None:
    for name, picture in zip(("a/b.png", "a/c.png", "d.png"), PICTURES, strict=False):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(png(picture))
    source = open_source(tmp_path)
    assert source.kind == "folder"
    assert same(source, PICTURES[:3])
    assert keys(source) == ["a/b.png", "a/c.png", "d.png"]
    single = open_source(tmp_path / "a" / "c.png")
    assert same(single, PICTURES[1:2])
    assert keys(single) == ["c.png"]


def test_alpha_lies_over_white_and_16_bits_are_rounded(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (200, 0, 0, 0)).save(tmp_path / "clear.png")
    Image.fromarray(np.full((4, 4), 0x00F0, np.uint16)).save(tmp_path / "deep.png")
    source = open_source(tmp_path)
    assert len(source) == 2
    clear, deep = source[0], source[1]
    assert (clear == 255).all()
    assert deep.dtype == np.uint8
    assert (deep == 1).all()


def test_npz(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    a, b = random.integers(0, 256, (5, 8, 9, 3), np.uint8), random.integers(0, 256, (3, 8, 8, 3), np.uint8)
    np.savez_compressed(tmp_path / "two.npz", a=a, b=b)
    np.savez_compressed(tmp_path / "one.npz", images=a)
    assert same(open_source(tmp_path / "two.npz", domain="a"), list(a))
    second = open_source(tmp_path / "two.npz", domain="b")
    assert same(second, list(b))
    assert second.key(2) == "two.npz#b/2"
    assert same(open_source(tmp_path / "one.npz"), list(a))
    assert same(open_source(tmp_path / "one.npz", domain="b"), list(a))
    assert "two domains a and b" in refusal(tmp_path / "two.npz")


def test_bad_npz(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    good = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), np.uint8)
    for arrays in (
        {"images": good.astype(np.float32)},
        {"images": good[0]},
        {"images": good[..., :2]},
        {"images": good[:0]},
        {"x": good},
        {"images": np.array([object()])},
    ):
        np.savez_compressed(path, **arrays)
        assert str(path) in refusal(path)
    np.savez_compressed(path, images=good)
    whole = path.read_bytes()
    harmed = whole[:200] + bytes(64) + whole[264:]
    for data in (b"", b"a letter", whole[: len(whole) // 2], harmed):
        path.write_bytes(data)
        assert str(path) in refusal(path)


def test_shards_take_one_picture_of_each_sample(tmp_path: Path) -> None:
    members = {
        "000.jpg.txt": b"no picture",
        "000.png": png(PICTURES[0]),
        "000.mask.png": png(PICTURES[5]),
        "000.json": b"{}",
        "deep/000.png": png(PICTURES[1]),
        "IMG.2020.png": png(PICTURES[2]),
        "IMG.2021.png": png(PICTURES[3]),
        "._000.png": b"what a Mac leaves behind",
    }
    source = open_source(make_tar(tmp_path / "shard-0.tar", members))
    assert source.kind == "shards"
    assert keys(source) == [f"shard-0.tar/{name}" for name in ("000.png", "deep/000.png", "IMG.2020.png", "IMG.2021.png")]
    assert same(source, PICTURES[:4])


def test_bad_shards(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "a.tar", {"0.png": png(PICTURES[0]), "1.png": b"a letter", "2.png": png(PICTURES[2])})
    source = open_source(path)
    assert np.array_equal(source[2], PICTURES[2])
    with pytest.raises(LimnerError, match=r"a\.tar/1\.png is not a picture"):
        source[1]
    whole = path.read_bytes()
    for data in (b"", b"a letter" * 99, whole[:700]):
        path.write_bytes(data)
        assert str(path) in refusal(path)
    assert "no pictures" in refusal(make_tar(path, {"a.txt": b"a letter"}))
    with tarfile.open(tmp_path / "zipped.tar", "w:gz"):
        pass
    assert "zipped.tar" in refusal(tmp_path / "zipped.tar")


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_film_frames_are_those_of_their_times(tmp_path: Path, suffix: str) -> None:
    path = make_film(tmp_path / f"clip{suffix}")
    for every, last in ((1.0, "5"), (0.7, "5.6"), (0.1, "5.9")):
        source = open_source(path, every=every)
        assert source.kind == "film"
        assert len(source) == int(5.9 / every + 1e-9) + 1
        assert source.key(len(source) - 1) == f"clip{suffix}#t={last}"
        for n in reversed(range(len(source))):
            assert source[n].shape == (48, 64, 3)
            assert abs(source[n].mean() - (4 * round(n * every * 10) + 8)) < 1.9, (every, n)
        with pytest.raises(IndexError):
            source[len(source)]


def test_films_are_turned_upright_and_their_pixels_made_square(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / "phone.mp4"
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:, :16] = 255  # the left side
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(5, 4)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    plain = open_source(path)[0]
    assert plain.shape == (48, 80, 3)
    assert plain[:, :18].min() > 200
    one, none = b"\0\1\0\0", bytes(4)
    whole = path.read_bytes()
    head, name, track = whole.partition(b"tkhd")
    turned = track.replace(one + 3 * none + one, none + one + none + b"\xff\xff\0\0" + none, 1)  # as telephones do
    assert turned != track
    path.write_bytes(head + name + turned)
    upright = open_source(path)[0]
    assert upright.shape == (80, 48, 3)
    assert upright[:18].min() > 200
    assert upright[24:].max() < 50


def test_a_cut_film_ends_where_it_was_cut(tmp_path: Path) -> None:
    path = make_film(tmp_path / "clip.mkv")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    source = open_source(path, every=0.1)
    assert 10 < len(source) < 50
    assert abs(source[9].mean() - 44) < 1.9
    path.write_bytes(whole[:100])
    assert str(path) in refusal(path)


def test_a_film_without_pyav_names_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "clip.mp4").write_bytes(b"a film")
    assert "pip install 'limner[video]'" in refusal(tmp_path / "clip.mp4")


def test_many_threads_read_what_one_reads(tmp_path: Path) -> None:
    make_tar(tmp_path / "a.tar", {f"{n}.png": png(picture) for n, picture in enumerate(PICTURES)})
    make_film(tmp_path / "b.mp4", seconds=4)
    source = open_source(tmp_path, every=0.5)
    assert len(source) == 6 + 8
    alone = [source[n] for n in range(len(source))]
    order = np.random.default_rng(0).permutation(len(source) * 4) % len(source)
    with ThreadPoolExecutor(8) as pool:
        for n, picture in zip(order, pool.map(lambda n: source[int(n)], order), strict=True):
            assert np.array_equal(picture, alone[n])


def test_a_folder_holds_everything_and_bad_files_are_told_when_they_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(PICTURES[0]))
    make_tar(tmp_path / "b.tar", {"1.png": png(PICTURES[1]), "2.png": png(PICTURES[2])})
    for bad in ("c.mp4", "d.npz", "e.tar", "f.png"):
        (tmp_path / bad).write_bytes(b"a letter, nothing else" * 50)
    np.savez(tmp_path / "g.npz", a=PICTURES[3][None], b=PICTURES[4][None])
    (tmp_path / "h.png").write_bytes(png(PICTURES[5]))
    source = open_source(tmp_path, domain="b")
    assert keys(source) == ["a.png", "b.tar/1.png", "b.tar/2.png", "c.mp4", "d.npz", "e.tar", "f.png", "g.npz#b/0", "h.png"]
    good = {0: 0, 1: 1, 2: 2, 7: 4, 8: 5}
    for n, key in enumerate(keys(source)):
        if n in good:
            assert np.array_equal(source[n], PICTURES[good[n]]), key
        else:
            with pytest.raises(LimnerError, match=key):
                source[n]
    assert np.array_equal(source[-1], PICTURES[5])
    with pytest.raises(IndexError):
        source[9]


def test_what_is_no_source(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("a letter")
    assert "letter.txt" in refusal(tmp_path / "letter.txt")
    assert "no pictures" in refusal(tmp_path)
    assert "does not exist" in refusal(tmp_path / "none.mp4")
    assert "does not exist" in refusal(tmp_path / "none")
    for every in (0.0, -1.0, float("nan"), float("inf")):
        assert "seconds" in refusal(tmp_path, every=every)
