"""Working sizes: large pictures are painted small and brought up to their own size, with sharp edges."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tifffile
from numpy.typing import NDArray
from onnx import helper
from PIL import Image

import limner as library
from limner.batch import opening
from limner.batch.options import Options
from limner.errors import LimnerError
from limner.gallery import bundled, card
from limner.pictures import image, manifest, scanlines
from limner.style import enlarge
from limner.style import style as style_module
from limner.style.blend import LUMA
from limner.style.style import Style
from tests.conftest import NORM, make_photo
from tests.test_cli import Call, limner, pixels

__all__ = ["limner"]  # a fixture

INK, PAPER = np.array([20, 10, 40]), np.array([250, 210, 120])


@pytest.fixture(scope="module")
def small_style(style_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same style with a card that names a working size of 24."""
    return with_working_size(style_file, 24, tmp_path_factory.mktemp("small") / "tiny.onnx")


def with_working_size(style: Path, size: Any, path: Path) -> Path:
    model = onnx.load(style)
    helper.set_model_props(model, {card.KEY: json.dumps({**json.loads(card.read(style).to_json()), "working_size": size})})
    onnx.save(model, path)
    return path


def enlarged(painted: NDArray[Any], height: int, width: int, photo: NDArray[Any] | None = None) -> NDArray[Any]:
    """Of a photograph that shows nothing, unless one is given."""
    photo = np.full((height, width, 3), np.iinfo(painted.dtype).max // 2, painted.dtype) if photo is None else photo
    source = scanlines.of(image.Picture(photo))
    return np.concatenate(list(enlarge.enlarged(painted, enlarge.reduced(source, painted.shape[:2]), source)))


def drawing(size: int, slope: float = 0.17) -> NDArray[np.uint8]:
    """A slanting line of two pixels, ink on paper, with stairs in it: no pixel is between the two."""
    y, x = np.mgrid[:size, :size]
    return np.where((np.abs(y - size / 2 - slope * (x - size / 2)) < 1)[..., None], INK, PAPER).astype(np.uint8)


def edge(picture: NDArray[np.uint8], scale: int) -> tuple[float, float]:
    """How many pixels the line's upper edge takes from a tenth of the way to nine tenths, and how far it is from straight; both medians."""
    share = ((picture @ LUMA) - INK @ LUMA) / ((PAPER - INK) @ LUMA)
    widths, places = [], []
    columns = range(8 * scale, picture.shape[1] - 8 * scale)
    for column in columns:
        above = share[: int(np.argmin(share[:, column])), column]
        widths.append(np.count_nonzero((above > 0.1) & (above < 0.9)))
        places.append(np.count_nonzero(above > 0.5))
    straight = np.polyval(np.polyfit(columns, places, 1), columns)
    return float(np.median(widths)), float(np.sqrt(np.mean((places - straight) ** 2)))


# ------------------------------------------------------------------------------------------------------- the enlargement


def test_lines_stay_sharp_and_their_stairs_go() -> None:
    scale, painted = 8, drawing(64)
    width, bend = edge(enlarged(painted, 64 * scale, 64 * scale), scale)
    plain_width, plain_bend = edge(np.asarray(Image.fromarray(painted).resize((64 * scale,) * 2, Image.Resampling.BICUBIC)), scale)
    assert width <= 2 < 5 < plain_width
    assert bend < 0.5 * plain_bend


@pytest.mark.parametrize("size", [(240, 320), (61, 83), (83, 61)])
def test_nothing_goes_beyond_the_colours_around(size: tuple[int, int]) -> None:
    painted = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    painted = painted if size[0] < size[1] else painted.transpose(1, 0, 2).copy()
    photo = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    large = enlarged(painted, *size, photo).astype(int)
    place = np.ix_(*(((np.arange(n) + 0.5) * m / n).astype(int) for n, m in zip(size, painted.shape, strict=False)))
    window = np.lib.stride_tricks.sliding_window_view(np.pad(painted, ((9, 9), (9, 9), (0, 0)), mode="edge"), (19, 19), (0, 1))
    assert np.all(large >= window.min((3, 4))[place].astype(int) - 1)
    assert np.all(large <= window.max((3, 4))[place].astype(int) + 1)


def test_flats_and_gradients_stay() -> None:
    flat = np.full((30, 40, 3), (200, 60, 40), np.uint8)
    assert np.array_equal(enlarged(flat, 210, 280), np.full((210, 280, 3), (200, 60, 40), np.uint8))
    ramp = np.repeat(np.linspace(40, 200, 40)[None, :, None], 30, 0).repeat(3, 2).round().astype(np.uint8)
    steps = np.diff(enlarged(ramp, 210, 280)[100, 28:-28, 0].astype(int))
    assert steps.min() >= 0
    assert steps.max() <= 2, "no stairs"


def test_lettering_stays_and_grain_does_not_come() -> None:
    """Bars a little wider than a pixel of the small picture, and a painting that shows them as well as it can."""
    dark = np.arange(480) // 9 % 2 == 0
    page = np.where(dark[None, :, None], 40, 220).repeat(320, 0).repeat(3, 2).astype(np.uint8)
    painted = enlarge.reduced(scanlines.of(image.Picture(page)), (40, 60))
    large = enlarged(painted, 320, 480, page)
    assert np.array_equal(large[..., 0] < 130, page[..., 0] < 130)
    assert np.mean((enlarged(painted, 320, 480)[..., 0] < 130) != dark) > 0.1, "the small picture alone does not tell"
    grainy = np.clip(page + np.random.default_rng(0).normal(0, 6, (320, 480, 1)), 0, 255).astype(np.uint8)
    assert np.abs(enlarged(painted, 320, 480, grainy).astype(int) - large).mean() < 1


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_bands_leave_no_trace(depth: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    factor = 257 if depth == np.uint16 else 1
    painted, photo = (make_photo(*size, seed=5).astype(depth) * factor for size in ((90, 60), (450, 300)))
    whole = enlarged(painted, 300, 450, photo)
    source = scanlines.of(image.Picture(photo))
    small = enlarge.reduced(source, (60, 90))
    monkeypatch.setattr(enlarge, "ROWS", 7)
    monkeypatch.setattr(enlarge, "PIXELS", 20_000)
    assert np.array_equal(enlarge.reduced(source, (60, 90)), small)
    assert len(list(enlarge.enlarged(painted, small, source))) > 5
    assert np.abs(enlarged(painted, 300, 450, photo).astype(int) - whole).max() <= factor


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_live_styles_are_enlarged_plainly(depth: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By Lanczos alone, in bands that leave no trace."""
    tiny = with_working_size(bundled.find("ink", "live"), 64, tmp_path / "tiny.onnx")
    photo = make_photo(200, 150).astype(depth) * (257 if depth == np.uint16 else 1)
    style = Style(tiny)
    small = enlarge.reduced(scanlines.of(image.Picture(photo)), (64, 85))
    wanted = image.resized(style(small, working_size="full"), (150, 200))
    assert np.array_equal(style(photo), wanted)
    monkeypatch.setattr(enlarge, "ROWS", 7)
    assert np.abs(style(photo).astype(int) - wanted).max() <= (257 if depth == np.uint16 else 1)


def test_sixteen_bits_stay() -> None:
    painted, photo = make_photo(40, 30), make_photo(200, 150)
    deep = enlarged(painted.astype(np.uint16) * 257, 150, 200, photo.astype(np.uint16) * 257)
    assert deep.dtype == np.uint16
    assert np.abs(deep / 257 - enlarged(painted, 150, 200, photo)).mean() < 0.3
    assert len(np.unique(deep % 257)) > 100, "16 bits must not be 8 bits in disguise"


# ------------------------------------------------------------------------------------------------------- styles


def test_a_card_without_a_working_size_is_as_before(style_file: Path, limner: Call) -> None:
    text = json.loads(card.read(style_file).to_json())
    del text["working_size"]
    assert card.Card.from_json(json.dumps(text)) == card.read(style_file)
    assert card.read(style_file).working_size == 0
    assert "working size" not in limner("styles", style_file)[1]
    photo = make_photo(70, 50)
    assert np.array_equal(Style(style_file)(photo), Style(style_file)(photo, working_size="full"))


@pytest.mark.parametrize("size", [-1, 2.5, "24", None])
def test_a_card_with_an_impossible_working_size_is_refused(style_file: Path, tmp_path: Path, size: Any) -> None:
    with pytest.raises(LimnerError, match="not a style file"):
        card.read(with_working_size(style_file, size, tmp_path / "bad.onnx"))


def test_pictures_up_to_the_working_size_are_painted_as_ever(small_style: Path) -> None:
    style = Style(small_style)
    small, large = make_photo(40, 24), make_photo(50, 31)
    assert np.array_equal(style(small), style(small, working_size="full"))
    assert not np.array_equal(style(large), style(large, working_size=0))
    assert np.array_equal(style(large, working_size=31), style(large, working_size=0))


@pytest.mark.parametrize(("width", "height"), [(101, 67), (67, 101), (26, 25), (25, 700), (300, 300)])
def test_any_size_is_kept(small_style: Path, width: int, height: int) -> None:
    style = Style(small_style)
    rgba = np.dstack([make_photo(width, height), np.arange(width * height).reshape(height, width).astype(np.uint8)])
    painted = style(rgba)
    assert painted.shape == rgba.shape
    assert painted.dtype == np.uint8
    assert np.array_equal(painted[..., 3], rgba[..., 3])
    assert style(rgba[..., :3].astype(np.uint16) * 257).dtype == np.uint16
    assert style(rgba, working_size=1).shape == rgba.shape
    assert np.array_equal(style(rgba, strength=0), rgba)
    mixed = [np.abs(style(rgba, strength=s).astype(int) - rgba).mean() for s in (0.3, 0.7, 1)]
    assert mixed == sorted(mixed)


@pytest.mark.parametrize("size", [-1, 2.5, "large"])
def test_impossible_working_sizes_are_refused(style_file: Path, size: Any) -> None:
    with pytest.raises(LimnerError, match="short side in pixels"):
        Style(style_file)(make_photo(20, 20), working_size=size)


def test_strokes_grow_with_the_picture() -> None:
    """A painting at a working size, reduced to it again, is near the one that was made there."""
    photo = np.asarray(Image.open(Path(__file__).parent.parent / "examples" / "photos" / "china.jpg").convert("RGB").resize((480, 320)))
    style = library.load(NORM)

    def small(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.asarray(Image.fromarray(picture).resize((120, 80), Image.Resampling.LANCZOS))

    expected = style(small(photo)).astype(int)
    grown, own = (np.abs(small(style(photo, working_size=size)) - expected).mean() for size in (80, "full"))
    assert grown < 0.5 * own


# ------------------------------------------------------------------------------------------------------- files


def test_command_line_and_python_agree(limner: Call, style_file: Path, small_style: Path, tmp_path: Path) -> None:
    photo, target = tmp_path / "photo.png", tmp_path / "painted.png"
    Image.fromarray(make_photo(90, 60)).save(photo)

    def painted(style: Path, *words: object) -> NDArray[np.uint8]:
        assert limner("apply", photo, "-s", style, "-o", target, "--overwrite", *words)[0] == 0
        return pixels(target)

    python = Style(style_file)
    assert np.array_equal(painted(style_file, "--working-size", 24), python(pixels(photo), working_size=24))
    assert np.array_equal(painted(small_style), python(pixels(photo), working_size=24))
    assert np.array_equal(painted(small_style, "--stroke-size", 1.5), python(pixels(photo), working_size=16))
    for own in ("full", 0):
        assert np.array_equal(painted(small_style, "--working-size", own), python(pixels(photo)))
    assert "\n  working size    24 px\n" in limner("styles", small_style)[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--stroke-size", 3), "give a number from 0.5 to 2"),
        (("--stroke-size", 2, "--working-size", 30), "give one of them"),
        (("--stroke-size", 2), "tiny paints every picture at its own size"),
    ],
)
def test_impossible_stroke_sizes_are_refused(limner: Call, style_file: Path, tmp_path: Path, words: tuple[object, ...], said: str) -> None:
    photo = tmp_path / "photo.png"
    Image.fromarray(make_photo(90, 60)).save(photo)
    code, _, told = limner("apply", photo, "-s", style_file, *words)
    assert (code, said in " ".join(told.split())) == (2, True)
    assert list(tmp_path.iterdir()) == [photo]


def test_the_manifest_notices_another_working_size(limner: Call, style_file: Path, small_style: Path, tmp_path: Path) -> None:
    photo, out = tmp_path / "in" / "photo.png", tmp_path / "out"
    photo.parent.mkdir()
    Image.fromarray(make_photo(90, 60)).save(photo)
    words = ("apply", photo.parent, "-o", out, "-s")
    assert limner(*words, style_file)[0] == 0
    line = json.loads((out / manifest.NAME).read_text())
    assert line["options"].pop("working_size") == 0
    (out / manifest.NAME).write_text(json.dumps(line) + "\n")  # as an older version left it
    assert limner(*words, style_file, "--working-size", "full") == (0, f"{out / 'photo.tiny.png'}\n", "")
    code, _, told = limner(*words, small_style)  # the same weights
    assert code == 2
    assert "working-size 0, not 24" in told
    assert limner(*words, small_style, "--overwrite")[0] == 0
    painted = (out / "photo.tiny.png").stat().st_mtime_ns
    assert limner(*words, style_file, "--working-size", 24)[0] == 0, "it is the same painting"
    assert (out / "photo.tiny.png").stat().st_mtime_ns == painted
    assert "working-size 24, not 30" in limner(*words, small_style, "--working-size", 30)[2]


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_a_big_file_goes_through_in_rows(small_style: Path, tmp_path: Path, depth: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never whole in memory, and to the bit as if it had been."""
    monkeypatch.setattr(style_module, "WHOLE", 40_000)
    monkeypatch.setattr(enlarge, "PIXELS", 9_000)
    photo = make_photo(250, 200).astype(depth) * (257 if depth == np.uint16 else 1)
    tifffile.imwrite(tmp_path / "photo.tif", photo, photometric="rgb", rowsperstrip=16, compression="deflate")
    monkeypatch.setattr(image, "read", lambda *_, **__: pytest.fail("it was read whole"))
    told: list[str] = []
    parts: list[float] = []
    work = opening.open_batch([str(tmp_path / "photo.tif")], str(tmp_path / "out.tif"), Options(style=str(small_style)), told.append)
    work.watch = parts.append
    assert [result.outcome for result in work] == ["painted"]
    assert "250 x 200 pixels, in bands: about" in told[0]
    assert "0.0 GB of temporary files" in told[0]
    assert parts == sorted(parts)
    assert len(parts) > 4
    assert parts[-1] == 1
    painted = tifffile.imread(tmp_path / "out.tif")
    assert painted.dtype == depth
    assert np.array_equal(painted, Style(small_style)(photo))
