"""A contact sheet: what lies where on it, and that one bad photograph does not spoil it."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import limner as package
from limner.batch import sheet
from tests import test_cli
from tests.conftest import make_photo
from tests.test_cli import Call, check_refused, tree

limner = test_cli.limner  # the fixture


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "photo.png"
    Image.fromarray(make_photo(96, 64)).save(path)
    return path


def open_sheet(path: Path) -> NDArray[np.int16]:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"), np.int16)


def cell(whole: NDArray[np.int16], row: int, column: int, width: int, height: int) -> NDArray[np.int16]:
    top, left = sheet.HEADING + row * (height + sheet.GAP), sheet.GAP + column * (width + sheet.GAP)
    return whole[top : top + height, left : left + width]


def test_each_photograph_and_its_paintings(limner: Call, photo: Path, style_file: Path) -> None:
    upright = photo.with_name("upright.png")
    Image.fromarray(make_photo(48, 96, seed=1)).save(upright)
    target = photo.parent / "sheet.png"
    code, out, err = limner("sheet", photo.parent, "-s", style_file, "-s", "starry-night", "-o", target, "--height", 64)
    assert (code, out.strip(), err) == (0, str(target), "")
    whole, height = open_sheet(target), 64
    width = (whole.shape[1] - 4 * sheet.GAP) // 3  # of the photograph, or of the longest title
    assert width >= 96
    assert whole.shape == (sheet.HEADING + 2 * (height + sheet.GAP), 4 * sheet.GAP + 3 * width, 3)
    for column in range(3):
        title = whole[: sheet.HEADING, sheet.GAP + column * (width + sheet.GAP) :][:, :width]
        assert (title < 100).any()  # there is something to read
    own, left = np.asarray(Image.open(photo), np.int16), (width - 96) // 2
    assert np.array_equal(cell(whole, 0, 0, width, height)[:, left : left + 96], own)
    painted = package.load(style_file)(np.asarray(Image.open(photo)))
    assert np.array_equal(cell(whole, 0, 1, width, height)[:, left : left + 96], painted)
    left = (width - 32) // 2
    row = [cell(whole, 1, column, width, height) for column in range(3)]
    assert all((each[:, :left] == 255).all() and (each[:, left + 32 :] == 255).all() for each in row)
    assert np.abs(row[0] - row[2]).mean() > 5


def test_one_photograph_in_many_styles_goes_on_below() -> None:
    shades = [Image.new("RGB", (40, 20), (10 * k, 0, 0)) for k in range(9)]
    whole = np.asarray(sheet.lay_out([shades], ["a"] * 9, 4), np.int16)
    assert whole.shape == (3 * (sheet.HEADING + 20 + sheet.GAP), sheet.GAP + 4 * (40 + sheet.GAP), 3)
    found = [whole[(k // 4) * 56 + sheet.HEADING + 10, sheet.GAP + (k % 4) * 46 + 20, 0] for k in range(9)]
    assert found == [10 * k for k in range(9)]


def test_the_bundled_styles_if_none_is_named(photo: Path) -> None:
    work = sheet.Sheet([str(photo)], photo.with_name("sheet.jpg"), sheet.Options())
    assert work.titles == ["photograph", *(card.name for card in package.styles())]
    assert len(work) == len(work.titles) - 1


def test_strokes_are_those_of_the_size_that_is_painted(style_file: Path) -> None:
    from limner.pictures import image

    style = package.load(style_file)
    photo = image.Picture(make_photo(200, 120))
    as_it_is, smaller = (sheet.line(photo, [style], height=40, max_size=size)[1] for size in (1000, 100))
    assert as_it_is.size == smaller.size == (67, 40)
    assert as_it_is.tobytes() == sheet.scaled(Image.fromarray(style(photo.pixels)), 40).tobytes()
    assert smaller.tobytes() == sheet.scaled(Image.fromarray(style(image.fit(photo, 100).pixels)), 40).tobytes()
    enlarged = sheet.line(photo, [style], height=120, max_size=100)[1]  # never smaller than it is shown
    assert enlarged.tobytes() == style(photo.pixels).tobytes()


def test_a_bad_photograph_is_left_out(limner: Call, photo: Path, style_file: Path) -> None:
    (photo.parent / "bad.jpg").write_text("not a picture")
    Image.new("RGB", (30_000, 1)).save(photo.parent / "thread.png")
    target = photo.parent.parent / "sheet.jpg"
    code, out, err = limner("sheet", photo.parent, "-s", style_file, "-o", target, "--height", 64)
    assert (code, out.strip()) == (2, str(target))
    assert [next(name for name in ("bad.jpg", "thread.png") if name in told) for told in err.splitlines()] == ["bad.jpg", "thread.png"]
    assert open_sheet(target).shape[0] == sheet.HEADING + 64 + sheet.GAP


def test_an_older_sheet_and_older_paintings_are_no_photographs(limner: Call, photo: Path, style_file: Path) -> None:
    limner("apply", photo, "-s", style_file)
    words = ("sheet", photo.parent, "-s", style_file, "-o", photo.parent / "sheet.jpg", "--height", 64)
    assert limner(*words)[0] == 0
    before = tree(photo.parent)
    assert limner(*words, "--overwrite")[0] == 0
    assert tree(photo.parent) == before


def test_bad_calls_write_nothing(limner: Call, photo: Path, style_file: Path) -> None:
    folder = photo.parent.parent
    (folder / "there.jpg").write_bytes(b"precious")
    (folder / "bad").mkdir()
    (folder / "bad" / "bad.jpg").write_text("not a picture")
    target = ["-s", style_file, "-o", folder / "sheet.jpg"]
    table: list[tuple[list[object], str]] = [
        (["sheet"], "photos"),
        (["sheet", photo, "-s", "no-such-style", "-o", folder / "sheet.jpg"], "no-such-style"),
        (["sheet", photo, "-s", photo, "-o", folder / "sheet.jpg"], "photo.png"),
        (["sheet", photo, "-s", style_file, "-o", folder / "there.jpg"], "there.jpg"),
        (["sheet", photo, "-s", style_file, "-o", folder / "sheet.xyz"], "sheet.xyz"),
        (["sheet", photo, "-s", style_file, "-o", photo / "sheet.jpg"], "photo.png"),
        (["sheet", photo, *target, "--height", 2], "2 pixels"),
        (["sheet", photo, *target, "--height", 66_000], "66000 pixels"),
        (["sheet", photo, *target, "--max-size", 0], "0 pixels"),
        (["sheet", photo, *target, "--quality", 0], "quality"),
    ]
    for words, named in table:
        check_refused(limner, folder, words, named)
    before = tree(folder)
    code, out, err = limner("sheet", folder / "bad", *target)
    assert (code, out, tree(folder)) == (2, "", before)
    assert "bad.jpg" in err.splitlines()[0]
    assert "sheet.jpg is not written" in err.splitlines()[1]


def test_what_fails_while_painting_leaves_the_old_sheet(photo: Path, style_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = photo.parent.parent / "sheet.jpg"
    target.write_bytes(b"precious")
    work = sheet.Sheet([str(photo)], target, sheet.Options(style=(str(style_file),), overwrite=True))

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sheet, "line", stop)
    with pytest.raises(KeyboardInterrupt):
        work.write(lambda: None, lambda _: None)
    assert tree(target.parent) == {"in/photo.png": photo.read_bytes(), "sheet.jpg": b"precious"}
