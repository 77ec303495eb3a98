"""Preparing pictures: the right ones, the right size, the same bytes whatever happened on the way."""

import json
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from limner.errors import LimnerError
from limner.pictures.duplicates import difference_hash
from limner.pictures.sources import open_source
from limner.prepare import parts, resumable, squares
from tests import test_cli
from tests.conftest import make_photo
from tests.test_cli import Call, check_refused, tree

limner = test_cli.limner  # the fixture


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 different pictures, a copy of every tenth at other size and quality, and two files that are no pictures."""
    folder = tmp_path_factory.mktemp("many")
    random = np.random.default_rng(0)
    for n in range(200):
        photo = Image.fromarray(random.integers(0, 256, (8, 9, 3), np.uint8)).resize((80 + n % 7, 70), Image.Resampling.BICUBIC)
        photo.save(folder / f"{n:03}.png", compress_level=1)
        if n % 10 == 0:
            photo.resize((77, 66), Image.Resampling.BICUBIC).save(folder / f"{n:03}z.jpg", quality=60)
    for n in (50, 150):
        (folder / f"{n:03}-bad.jpg").write_text("a letter")
    return folder


def options(kind: str, out: Path, **changes: Any) -> Any:
    made = {"crops": squares.CropOptions, "shards": squares.ShardOptions, "npz": resumable.Options}[kind]
    return made(out, **{"size": 32, "workers": 2, **({"per_shard": 70} if kind == "shards" else {}), **changes})


def out_name(kind: str) -> str:
    return "set.npz" if kind == "npz" else "set"


def test_hash_knows_a_picture_again_and_not_another() -> None:
    photos = [Image.open(path).convert("RGB") for path in sorted((Path(__file__).parent.parent / "examples" / "photos").glob("*.jpg"))]
    hashes = []
    for photo in photos:
        copy = photo.resize((photo.width * 9 // 10, photo.height * 9 // 10 + 3))
        assert (difference_hash(photo) ^ difference_hash(copy)).bit_count() <= 2
        hashes.append(difference_hash(photo))
    assert len(photos) > 4
    assert min((a ^ b).bit_count() for n, a in enumerate(hashes) for b in hashes[:n]) > 12


def test_crops_drop_near_duplicates_and_tell_of_bad_files(many: Path, tmp_path: Path) -> None:
    done = squares.crops([many], options("crops", tmp_path / "set"))
    assert done.written == {"images": 200}
    assert done.near == 20
    assert [sentence.split(" is ")[0] for sentence in done.bad] == [str(many / "050-bad.jpg"), str(many / "150-bad.jpg")]
    source = open_source(tmp_path / "set")
    assert len(source) == 200
    lines = [json.loads(line) for line in (tmp_path / "set" / parts.NAME).read_text().splitlines()]
    taken = {name: key for line in lines[1:] for name, (key, _) in line["taken"].items()}
    assert lines[0]["size"] == 32
    assert str(many.parent) not in json.dumps(lines[0])
    for n in range(0, 200, 37):
        name = source.key(n).removesuffix(".jpg")
        with Image.open(many.parent / taken[name]) as photo:
            left = (photo.width - 70) // 2
            expected = photo.resize((32, 32), Image.Resampling.LANCZOS, (left, 0, left + 70, 70))
        assert np.abs(source[n].astype(int) - np.array(expected)).mean() < 3
    assert sum(key.endswith("z.jpg") for line in lines[1:] for key in line["near"]) == 20


def test_all_are_kept_where_that_is_asked(many: Path, tmp_path: Path) -> None:
    assert squares.crops([many], options("crops", tmp_path / "set", distance=-1)).written == {"images": 220}


def test_sizes(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name, size in (("large", (200, 100)), ("small", (30, 40))):
        Image.fromarray(make_photo(*size)).save(tmp_path / "in" / f"{name}.png")
    for crops, expected in ((1, [(50, 50), (30, 30)]), (0, [(100, 50), (30, 40)]), (2, [(50, 50), (50, 50), (30, 30), (30, 30)])):
        out = tmp_path / str(crops)
        assert squares.crops([tmp_path / "in"], options("crops", out, size=50, crops=crops, distance=-1)).written["images"] == len(expected)
        source = open_source(out)
        assert [source[n].shape[1::-1] for n in range(len(source))] == expected
    assert not np.array_equal(source[0], source[1])
    other = tmp_path / "other"
    squares.crops([tmp_path / "in"], options("crops", other, size=50, crops=2, distance=-1, seed=1))
    assert not np.array_equal(open_source(other)[0], source[0])
    done = squares.npz([tmp_path / "in"], options("npz", tmp_path / "set.npz", size=50))
    assert done.written == {"images": 1}
    assert done.bad == ("in/small.png cannot be used: it is smaller than `size` 50: give a smaller one.",)


def test_shards_hold_what_was_asked(many: Path, tmp_path: Path) -> None:
    squares.shards([many], options("shards", tmp_path / "set"))
    files = sorted((tmp_path / "set").glob("*.tar"))
    assert [file.name for file in files] == ["shard-00000.tar", "shard-00001.tar", "shard-00002.tar"]
    assert [len(open_source(file)) for file in files] == [70, 70, 60]
    with tarfile.open(files[1]) as tar:
        assert all(member.mtime == 0 and member.name.endswith(".jpg") for member in tar)
    again = squares.npz([tmp_path / "set"], options("npz", tmp_path / "set.npz"))
    assert again.written == {"images": 200}


def test_no_empty_shard_where_only_near_duplicates_are_left(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for n in range(4):
        Image.fromarray(make_photo(40, 40, seed=min(n, 1))).save(tmp_path / "in" / f"{n}.png")
    done = squares.shards([tmp_path / "in"], options("shards", tmp_path / "set", per_shard=2))
    assert (done.written, done.near) == ({"images": 2}, 2)
    assert sorted(tree(tmp_path / "set")) == ["prepared.jsonl", "shard-00000.tar"]


@pytest.mark.parametrize("kind", ["crops", "shards", "npz"])
def test_threads_do_not_change_a_byte(many: Path, tmp_path: Path, kind: str) -> None:
    for workers in (1, 5):
        getattr(squares, kind)([many], options(kind, tmp_path / str(workers) / out_name(kind), workers=workers, crops=2))
    assert tree(tmp_path / "1") == tree(tmp_path / "5")


class Stop(BaseException):
    """What Ctrl-C raises, in a test."""


@pytest.mark.parametrize("kind", ["crops", "shards", "npz"])
def test_ended_and_taken_up_again_equals_done_in_one_go(many: Path, tmp_path: Path, kind: str) -> None:
    make = getattr(squares, kind)
    make([many], options(kind, tmp_path / "whole" / out_name(kind)))
    asked = options(kind, tmp_path / "ended" / out_name(kind))
    seen: list[int] = []

    def stop_at(place: int) -> resumable.Progress:
        def progress(done: int, total: int) -> None:
            seen.append(done)
            if done == place:
                raise Stop

        return progress

    for place in (100, 190):
        with pytest.raises(Stop):
            make([many], asked, stop_at(place))
        assert not [name for name in tree(tmp_path / "ended") if name.endswith(".tmp")]
    seen.clear()
    done = make([many], asked, stop_at(-1))
    assert seen[0] >= 64  # what is whole is not read again
    assert (done.written, done.near, len(done.bad)) == ({"images": 200}, 20, 2)
    assert tree(tmp_path / "ended") == tree(tmp_path / "whole")


@pytest.mark.parametrize("kind", ["crops", "shards", "npz"])
def test_killed_and_taken_up_again_equals_done_in_one_go(many: Path, tmp_path: Path, kind: str) -> None:
    make = getattr(squares, kind)
    make([many], options(kind, tmp_path / "whole" / out_name(kind)))
    asked = options(kind, tmp_path / "killed" / out_name(kind))
    # Slow enough to be met alive, at a moment that is another one each time.
    program = f"""
import time
from pathlib import Path, PosixPath
from limner.pictures import sources
from limner.prepare import squares
read = sources.PictureFiles.__getitem__
sources.PictureFiles.__getitem__ = lambda self, n: (time.sleep(0.005), read(self, n))[1]
squares.{kind}([Path({str(many)!r})], squares.{type(asked).__name__}{repr(asked)[len(type(asked).__name__) :]})
"""
    process = subprocess.Popen([sys.executable, "-c", program])
    folder = tmp_path / "killed" / ("set.npz.parts" if kind == "npz" else "set")
    while not (folder / parts.NAME).exists() or (folder / parts.NAME).read_bytes().count(b"\n") < 2:
        assert process.poll() is None
        time.sleep(0.002)
    time.sleep(0.15 * np.random.default_rng().random())
    process.send_signal(signal.SIGKILL)
    process.wait()
    with (folder / parts.NAME).open("a") as prepared:
        prepared.write('{"array": "ima')  # as if killed in the middle of a line
    (folder / f".{'0' * 16}.tmp").write_bytes(b"left behind")
    make([many], asked)
    assert tree(tmp_path / "killed") == tree(tmp_path / "whole")


def test_a_run_goes_on_only_with_what_it_was_begun_with(many: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    squares.crops([many], options("crops", out))
    before = tree(out)
    assert squares.crops([many], options("crops", out, workers=1)).near == 20  # all is there
    for changes, named in (({"size": 40}, "size"), ({"seed": 1, "quality": 50}, "seed, quality")):
        with pytest.raises(LimnerError, match=rf"set was begun with other {named}: "):
            squares.crops([many], options("crops", out, **changes))
    with pytest.raises(LimnerError, match="other sources, pictures"):
        squares.crops([many, many / "000.png"], options("crops", out))
    with pytest.raises(LimnerError, match="other prepare, per_shard"):
        squares.shards([many], options("shards", out))
    assert tree(out) == before
    (out / parts.NAME).write_text("a letter\n")
    with pytest.raises(LimnerError, match="damaged"):
        squares.crops([many], options("crops", out))


def test_npz_of_two_domains(many: Path, tmp_path: Path, limner: Call) -> None:
    (tmp_path / "b").mkdir()
    for n in range(3):
        shutil.copy(many / f"{n:03}.png", tmp_path / "b")
    out = tmp_path / "set.npz"
    code, said, errors = limner("prepare", "npz", "--domain-a", many, "--domain-b", tmp_path / "b", "-o", out, "--size", 32)
    assert code == 0
    assert (
        said
        == f"{out}: 200 pictures of 32 x 32 in a and 3 pictures of 32 x 32 in b written, 20 near-duplicates dropped, 2 could not be used.\n"
    )
    assert len(errors.splitlines()) == 2
    with np.load(out, allow_pickle=False) as file:
        assert {name: (file[name].shape, file[name].dtype) for name in file.files} == {
            "a": ((200, 32, 32, 3), np.uint8),
            "b": ((3, 32, 32, 3), np.uint8),
        }
        assert np.array_equal(file["b"], file["a"][:3])
    assert sorted(tree(tmp_path)) == ["b/000.png", "b/001.png", "b/002.png", "set.npz"]
    assert "is there already" in limner("prepare", "npz", many, "-o", out)[2]


def test_an_npz_is_joined_in_little_memory(tmp_path: Path) -> None:
    folder = tmp_path / "set.npz.parts"
    folder.mkdir()
    for n in range(4):
        (folder / f"images-{n:05}.raw").write_bytes(bytes([n]) * (20 * 256 * 256 * 3))
    tracemalloc.start()
    parts.join(tmp_path / "set.npz", folder, {"images": 80}, 256)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2e6  # of 16 MB
    images = open_source(tmp_path / "set.npz")
    assert [int(images[n].mean()) for n in (0, 19, 20, 79)] == [0, 0, 1, 3]
    assert [path.name for path in tmp_path.iterdir()] == ["set.npz"]


def test_films_are_taken_too(tmp_path: Path, limner: Call) -> None:
    from tests.test_sources import make_film

    make_film(tmp_path / "clip.mp4")
    code, said, errors = limner("prepare", "crops", tmp_path / "clip.mp4", "-o", tmp_path / "set", "--every", 2, "--distance", -1)
    assert (code, errors) == (0, "")
    assert "3 pictures written" in said
    brightness = [float(picture.mean()) for picture in open_source(tmp_path / "set")]  # type: ignore[attr-defined]
    assert np.allclose(brightness, [8, 88, 168], atol=3)


def test_ctrl_c_says_how_to_go_on(many: Path, tmp_path: Path, limner: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(resumable, "difference_hash", stopped)
    code, said, errors = limner("prepare", "crops", many, "-o", tmp_path / "set")
    assert (code, said) == (130, "")
    assert errors == "limner: stopped; go on with the same command.\n"


def test_bad_calls(tmp_path: Path, limner: Call) -> None:
    photos, bad = tmp_path / "photos", tmp_path / "bad"
    for folder in (photos, bad, tmp_path / "nothing", tmp_path / "mine"):
        folder.mkdir()
    Image.fromarray(make_photo(300, 300)).save(photos / "a.png")
    (bad / "a.png").write_text("a letter")
    (tmp_path / "mine" / "novel.txt").write_text("a letter")
    new = tmp_path / "new"
    table: list[tuple[list[object], str]] = [
        (["crops", tmp_path / "none", "-o", new], "none"),
        (["crops", tmp_path / "nothing", "-o", new], "nothing"),
        (["crops", bad, "-o", new], "None of the 1 pictures could be used"),
        (["shards", bad, "-o", new], "None of the 1 pictures could be used"),
        (["npz", bad, "-o", tmp_path / "x.npz"], "None of the 1 pictures could be used"),
        (
            ["npz", "--domain-a", photos, "--domain-b", bad, "-o", tmp_path / "x.npz"],
            "pictures for b could be used; the first: " + str(bad / "a.png"),
        ),
        (["npz", "--domain-a", photos, "-o", tmp_path / "x.npz"], "--domain-b"),
        (["npz", photos, "--domain-a", photos, "--domain-b", photos, "-o", tmp_path / "x.npz"], "either"),
        (["npz", "-o", tmp_path / "x.npz"], "either"),
        (["npz", photos, "-o", tmp_path / "x.npy"], "x.npy"),
        (["npz", photos, "-o", tmp_path / "x.npz", "--crops", 0], "--crops"),
        (["crops", photos], "--out"),
        (["crops", photos, "-o", photos / "new"], "would be taken for more pictures"),
        (["crops", photos, "-o", tmp_path / "mine"], "mine is there already"),
        (["crops", photos, "-o", photos / "a.png"], "would be taken"),
        (["crops", photos, "-o", bad / "a.png"], "a.png"),
        (["crops", photos, "-o", new, "--size", 0], "--size"),
        (["crops", photos, "-o", new, "--crops", -1], "--crops"),
        (["crops", photos, "-o", new, "--every", 0], "every 0 seconds"),
        (["crops", photos, "-o", new, "--distance", 65], "--distance"),
        (["crops", photos, "-o", new, "--seed", -1], "--seed"),
        (["crops", photos, "-o", new, "--workers", 0], "--workers"),
        (["crops", photos, "-o", new, "--quality", 0], "--quality"),
        (["shards", photos, "-o", new, "--per-shard", 0], "--per-shard"),
    ]
    for words, named in table:
        check_refused(limner, tmp_path, ["prepare", *words], named)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["bad", "mine", "nothing", "photos"], words
