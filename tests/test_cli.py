"""The command line, as people use it: outputs, exit codes, and one clear sentence for every bad input."""

import os
import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from limner.cli import main
from limner.errors import LimnerError
from tests.conftest import make_photo


@pytest.fixture
def limner(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Call the command line: (exit code, stdout, stderr)."""

    def call(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main.main([str(word) for word in words])
        out, err = capsys.readouterr()
        return int(stop.value.code or 0), out, err

    return call


Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    Image.fromarray(make_photo(64, 48)).save(path, quality=95)
    return path


def pixels(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as picture:
        return np.array(picture)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_default_output_lies_beside_the_photo(limner: Call, photo: Path, style_file: Path) -> None:
    code, out, err = limner("apply", photo, "-s", style_file)
    target = photo.with_name("photo.tiny.jpg")
    assert (code, err) == (0, "")
    assert out.strip() == str(target)
    assert pixels(target).shape == (48, 64, 3)
    assert np.abs(pixels(target).astype(int) - pixels(photo)).mean() > 5


def test_strength_zero_returns_the_photo(limner: Call, tmp_path: Path, style_file: Path) -> None:
    source, target = tmp_path / "photo.png", tmp_path / "same.png"
    Image.fromarray(make_photo(33, 21)).save(source)
    assert limner("apply", source, "-o", target, "-s", style_file, "--strength", 0)[0] == 0
    assert np.array_equal(pixels(target), pixels(source))


def test_what_is_there_is_kept_unless_overwritten(limner: Call, photo: Path, style_file: Path) -> None:
    target = photo.with_name("photo.tiny.jpg")
    target.write_bytes(b"precious")
    code, out, err = limner("apply", photo, "-s", style_file)
    assert code == 0
    assert out.strip() == str(target)
    assert "--overwrite" in err
    assert target.read_bytes() == b"precious"
    assert limner("apply", photo, "-s", style_file, "--overwrite")[0] == 0
    assert pixels(target).shape == (48, 64, 3)


def test_a_folder_keeps_its_tree_and_one_bad_file_never_stops_the_rest(limner: Call, tmp_path: Path, style_file: Path) -> None:
    source = tmp_path / "in"
    (source / "deep" / "er").mkdir(parents=True)
    for name in ("a.jpg", "deep/b.png", "deep/er/c.webp"):
        Image.fromarray(make_photo(20, 24)).save(source / name)
    (source / "deep" / "bad.jpg").write_text("not a picture")
    code, out, err = limner("apply", source, "-o", tmp_path / "out", "-s", style_file)
    assert code == 2
    assert sorted(tree(tmp_path / "out")) == ["a.tiny.jpg", "deep/b.tiny.png", "deep/er/c.tiny.webp", "limner-manifest.jsonl"]
    assert len(out.splitlines()) == 3
    told, summary, again = err.splitlines()
    assert summary == "limner: 3 painted, 0 skipped, 1 failed:"
    assert told == again
    assert "bad.jpg" in told


def test_painting_a_folder_twice_does_not_paint_the_paintings(limner: Call, photo: Path, style_file: Path) -> None:
    limner("apply", photo.parent, "-s", style_file)
    before = tree(photo.parent)
    assert sorted(before) == ["photo.jpg", "photo.tiny.jpg"]
    limner("apply", photo.parent, "-s", style_file, "--overwrite")
    assert tree(photo.parent) == before


def test_paintings_in_one_style_are_no_photos_for_another(limner: Call, photo: Path, style_file: Path) -> None:
    from limner.gallery import bundled

    Image.fromarray(make_photo(20, 20)).save(photo.with_name(f"photo.{bundled.names()[0]}.jpg"))
    Image.fromarray(make_photo(20, 20)).save(photo.with_name(f"orphan.{bundled.names()[0]}.jpg"))
    limner("apply", photo.parent, "-s", style_file)
    made = sorted(name for name in tree(photo.parent) if name.endswith(".tiny.jpg"))
    assert made == [f"orphan.{bundled.names()[0]}.tiny.jpg", "photo.tiny.jpg"]


def test_strength_zero_is_the_file_itself_whatever_its_profile(limner: Call, tmp_path: Path, style_file: Path) -> None:
    from tests.test_image import P3

    source, target = tmp_path / "phone.jpg", tmp_path / "same.jpg"
    Image.new("RGB", (32, 32), (30, 220, 40)).save(source, icc_profile=P3, quality=80)
    assert limner("apply", source, "-o", target, "-s", style_file, "--strength", 0)[0] == 0
    assert target.read_bytes() == source.read_bytes()


def test_paintings_below_the_folder_are_not_painted_again(limner: Call, tmp_path: Path, style_file: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.jpg", "B.Jpg", "c.JPEG"):
        Image.fromarray(make_photo(20, 20)).save(tmp_path / "in" / name, format="JPEG")
    words = ("apply", tmp_path / "in", "-o", tmp_path / "in" / "painted", "-s", style_file)
    assert limner(*words)[0] == 0
    before = tree(tmp_path / "in")
    assert len(before) == 7
    assert limner(*words)[0] == 0
    assert tree(tmp_path / "in") == before


def test_each_photo_once_and_no_painting_of_a_glob(limner: Call, photo: Path, style_file: Path) -> None:
    assert limner("apply", photo, photo, photo.parent, "-s", style_file)[0] == 0
    before = tree(photo.parent)
    assert sorted(before) == ["photo.jpg", "photo.tiny.jpg"]
    assert limner("apply", *sorted(photo.parent.glob("*.jpg")), "-s", style_file)[0] == 0
    assert tree(photo.parent) == before


def test_names_that_the_terminal_cannot_show_end_nothing(tmp_path: Path, style_file: Path) -> None:
    for name in ("日.png", "z.png"):
        Image.fromarray(make_photo(20, 20)).save(tmp_path / name)
    words = [sys.executable, "-m", "limner", "apply", tmp_path, "-s", style_file]
    done = subprocess.run(list(map(str, words)), capture_output=True, env={**os.environ, "PYTHONIOENCODING": "cp1252"})
    assert (done.returncode, done.stderr.split()) == (0, b"limner: 2 painted, 0 skipped, 0 failed.".split())
    assert sorted(tree(tmp_path)) == ["z.png", "z.tiny.png", "日.png", "日.tiny.png"]


def test_two_photos_never_become_one_file(limner: Call, tmp_path: Path, style_file: Path) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        Image.fromarray(make_photo(20, 20)).save(tmp_path / folder / "same.png")
    code, _, err = limner("apply", tmp_path / "x" / "same.png", tmp_path / "y" / "same.png", "-o", tmp_path / "out", "-s", style_file)
    assert code == 2
    assert "would both become" in err
    assert not (tmp_path / "out").exists()


def test_max_size_strip_and_quality(limner: Call, tmp_path: Path, style_file: Path) -> None:
    source = tmp_path / "photo.jpg"
    exif = Image.Exif()
    exif[0x010F] = "A camera"
    Image.fromarray(make_photo(200, 100)).save(source, exif=exif)
    sizes = {}
    for quality in (30, 95):
        target = tmp_path / f"{quality}.jpg"
        words = ("apply", source, "-o", target, "-s", style_file, "--max-size", 80, "--quality", quality)
        assert limner(*words, *(["--strip"] if quality == 30 else []))[0] == 0
        with Image.open(target) as painted:
            assert painted.size == (80, 40)
            assert painted.getexif().get(0x010F) == (None if quality == 30 else "A camera")
        sizes[quality] = target.stat().st_size
    assert sizes[30] < sizes[95] / 1.5


def bomb() -> bytes:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)) + b"\0\0\0\0IEND\xaeB`\x82"


BAD_PICTURES: dict[str, Callable[[bytes], bytes]] = {
    "text.jpg": lambda whole: b"this is a letter, not a picture",
    "truncated.jpg": lambda whole: whole[: len(whole) // 2],
    "empty.jpg": lambda whole: b"",
    "empty.png": lambda whole: b"",
    "bomb.png": lambda whole: bomb(),
}


@pytest.mark.parametrize("name", BAD_PICTURES)
def test_bad_pictures(limner: Call, tmp_path: Path, photo: Path, style_file: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(BAD_PICTURES[name](photo.read_bytes()))
    check_refused(limner, tmp_path, ["apply", path, "-s", style_file], path.name)


def test_other_bad_inputs(limner: Call, tmp_path: Path, photo: Path, style_file: Path) -> None:
    (tmp_path / "nothing").mkdir()
    (tmp_path / "letter.onnx").write_text("this is a letter, not a style")
    whole = style_file.read_bytes()
    (tmp_path / "cut.onnx").write_bytes(whole[: len(whole) // 2])
    # The card is whole, the network is not: only the engine can see it.
    (tmp_path / "hollow.onnx").write_bytes(whole.replace(b"InstanceNormalization", b"InstanceAbcdefghijkls"))
    table: list[tuple[list[object], str]] = [
        (["apply", tmp_path / "none.jpg", "-s", style_file], "none.jpg"),
        (["apply", tmp_path / "nothing", "-s", style_file], "nothing"),
        (["apply", photo, "-s", "no-such-style"], "no-such-style"),
        (["apply", photo, "-s", tmp_path / "none.onnx"], "none.onnx"),
        (["apply", photo, "-s", tmp_path / "letter.onnx"], "letter.onnx"),
        (["apply", photo, "-s", tmp_path / "cut.onnx"], "cut.onnx"),
        (["apply", photo, "-s", tmp_path / "hollow.onnx"], "hollow.onnx"),
        (["apply", photo, "-s", photo], "photo.jpg"),
        (["apply", photo, "-s", style_file, "-o", photo / "below" / "a.jpg"], "photo.jpg"),
        (["apply", photo, "-s", style_file, "-o", tmp_path / "out.xyz"], "out.xyz"),
        (["apply", photo, style_file.with_name("b.jpg"), "-s", style_file, "-o", tmp_path / "one.jpg"], "one.jpg"),
        (["train", "--preset", "pyramid"], "needs a method"),
        (["apply", photo, "-s", style_file, "--strength", "1.5"], "strength"),
        (["apply", photo, "-s", style_file, "--strength", "much"], "strength"),
        (["apply", photo, "-s", style_file, "--max-size", "0"], "max-size"),
        (["apply", photo, "-s", style_file, "--working-size", "-3"], "working-size"),
        (["apply", photo, "-s", style_file, "--working-size", "half"], "working-size"),
        (["apply", photo, "-s", style_file, "--quality", "300"], "quality"),
        (["apply", photo, "-s", style_file, "--runtime", "abacus"], "runtime"),
        (["apply", photo, "-s", style_file, "--no-such-option"], "no-such-option"),
        (["apply"], "inputs"),
        (["styles", "no-such-style"], "no-such-style"),
        (["export", tmp_path / "nothing", "-o", tmp_path / "x.onnx"], "nothing"),
        (["train", "--resume", tmp_path / "nothing"], "nothing"),
        (["train", "--config", tmp_path / "none.toml"], "none.toml"),
        (["train", "fast-style", "--preset", "none"], "none"),
        (["train", "fast-style", "--style-image", photo, "--photos", photo.parent, "--out", tmp_path / "run", "--steps", "0"], "--steps"),
        (["train", "fast-style", "--style-image", photo, "--photos", tmp_path / "none", "--out", tmp_path / "run"], "none"),
    ]
    for words, named in table:
        check_refused(limner, tmp_path, words, named)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a folder in which nobody, not even root, can make files")
def test_unwritable_output(limner: Call, tmp_path: Path, photo: Path, style_file: Path) -> None:
    check_refused(limner, tmp_path, ["apply", photo, "-s", style_file, "-o", "/proc/limner/out.jpg"], "/proc/limner")
    check_refused(limner, tmp_path, ["apply", photo, "-s", style_file, "-o", "/proc/out.jpg"], "/proc/out.jpg")


def check_refused(limner: Call, folder: Path, words: list[object], named: str) -> None:
    """One sentence that names what is wrong, exit code 2, nothing written."""
    before = tree(folder)
    code, out, err = limner(*words)
    assert code == 2, words
    assert out == "", words
    assert len(err.splitlines()) == 1, err
    assert err.startswith("limner: ")
    assert named in err, err
    assert err.rstrip().endswith((".", ")")), err
    assert "Traceback" not in err
    assert tree(folder) == before, words


def test_styles_lists_and_shows_cards(limner: Call, style_file: Path) -> None:
    code, out, _ = limner("styles")
    assert code == 0
    names = limner("styles", "--names")[1].split()
    assert len(names) == len(out.splitlines()) >= 2
    assert all(line.startswith(name) for line, name in zip(out.splitlines(), names, strict=True))
    code, out, _ = limner("styles", "starry-night")
    assert code == 0
    assert "licence" in out
    assert "painting: " in out
    assert "Tiny (tiny)" in limner("styles", style_file)[1]


def test_help_names_every_option_once(limner: Call) -> None:
    import dataclasses

    from limner.batch.options import Options
    from limner.film.options import FilmOptions

    out = limner("apply", "--help")[1]
    for field in (*(each for each in dataclasses.fields(Options) if each.name != "film"), *dataclasses.fields(FilmOptions)):
        assert out.count(f"--{field.name.replace('_', '-')} ") == 1, field.name
    out = limner("train", "fast-style", "--help")[1]
    for flag in (
        "--style-image",
        "--photos",
        "--out",
        "--steps",
        "--width",
        "--image-size",
        "--batch-size",
        "--seed",
        "--checkpoint-every",
    ):
        assert flag in out
    assert re.search(r"choices:\W+full,\W+half,\W+quarter", out)


def test_console_script(photo: Path, style_file: Path) -> None:
    """The real thing, in a process of its own."""
    words = [sys.executable, "-W", "error", "-m", "limner", "apply", photo, photo.parent / "none.jpg", "-s", style_file]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout.strip() == str(photo.with_name("photo.tiny.jpg"))
    assert done.stderr.count("\n") == 3
    assert done.stderr.count("none.jpg") == 2


def test_options_have_their_python_names_in_the_library_and_flags_here() -> None:
    from limner.batch.options import Options, check
    from limner.cli.console import as_flags

    with pytest.raises(LimnerError) as raised:
        check(Options(max_size=0))
    assert "`max_size`" in str(raised.value)
    assert "--" not in str(raised.value)
    assert "A --max-size of 0" in as_flags(str(raised.value))


def test_a_flag_keeps_its_old_name(limner: Call, photo: Path, style_file: Path) -> None:
    for words in (["--engine", "local"], ["--engine=local"], ["--executor", "local"]):
        assert limner("apply", photo, "-s", style_file, "--overwrite", *words)[0] == 0


def test_every_word_reaches_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[list[str]] = []

    def call(app: object, words: tuple[str, ...]) -> int:
        got.append(list(words))
        return 0

    monkeypatch.setattr("limner.cli.styles.call", call)
    for words in (["", "a", ""], ["--", "-x", "--"], ["-"], ["--tier=", "--words", "a b", "-abc", "--help", "-h", "--version"]):
        with pytest.raises(SystemExit):
            main.main(["styles", *words])
        assert got.pop() == words
