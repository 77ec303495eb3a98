"""A style file: any engine, any size, any type of picture; strength and colours."""

import itertools
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import limner
from limner.errors import LimnerError
from limner.gallery import card
from limner.methods.fast_style import Generator
from limner.pictures import image
from limner.style import blend
from limner.style.runtimes import contract, opening
from limner.style.style import Style
from tests.conftest import NORM, make_photo

SIZES = [(101, 67), (1, 1), (37, 2000), (256, 256), (5, 300)]


ENGINES: list[contract.Runtime] = ["torch", "onnxruntime", "openvino"]


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_engines_agree_on_any_size(style_file: Path, width: int, height: int) -> None:
    photo = make_photo(width, height)
    results = {name: Style(style_file, runtime=name, precision="float32")(photo).astype(int) for name in ENGINES}
    for name in ENGINES:
        assert results[name].shape == photo.shape
        assert np.abs(results[name] - results["torch"]).max() <= 1, name
    assert np.abs(results["torch"] - photo).mean() > 5, "a style that changes nothing proves nothing"


@pytest.mark.parametrize("runtime", ENGINES)
def test_eight_bits_are_sixteen_rounded(style_file: Path, runtime: contract.Runtime) -> None:
    """Eight bits go into the engine and come out of it as they are, sixteen as float32."""
    photo = make_photo(101, 67)
    style = Style(style_file, runtime=runtime, precision="float32")
    eight, sixteen = style(photo), style(photo.astype(np.uint16) * 257)
    assert np.abs(eight - sixteen / 257).max() <= 0.51
    assert eight.min() < 40 and eight.max() > 215, "few tones prove little"


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_default_precision_stays_close(style_file: Path, width: int, height: int) -> None:
    photo = make_photo(width, height)
    exact, fast = (Style(style_file, precision=precision)(photo).astype(int) for precision in ("float32", "auto"))
    assert np.abs(fast - exact).mean() <= 2


def test_a_picture_of_one_colour_stays_one() -> None:
    painted = limner.load(NORM)(np.full((60, 90, 3), (200, 60, 40), np.uint8))
    assert np.ptp(painted, axis=(0, 1)).max() <= 2


def test_same_type_in_same_type_out(style_file: Path, tmp_path: Path) -> None:
    style = limner.load(style_file)
    array = make_photo(50, 41)
    painted = style(array)
    assert painted.dtype == np.uint8
    assert painted.shape == array.shape

    assert np.array_equal(limner.stylize(array, str(style_file)), painted)

    from_pil = style(Image.fromarray(array))
    assert isinstance(from_pil, Image.Image)
    assert from_pil.mode == "RGB"
    assert np.array_equal(np.array(from_pil), painted)

    source = tmp_path / "photo.png"
    Image.fromarray(array).save(source)
    target = style(source)
    assert target == tmp_path / "photo.tiny.png"
    assert np.array_equal(np.array(Image.open(target)), painted)
    assert style(str(source)) == str(target)


def test_alpha_and_depth_stay(style_file: Path) -> None:
    style = Style(style_file, precision="float32")
    rgba = np.dstack([make_photo(40, 30), np.arange(1200, dtype=np.uint8).reshape(30, 40)])
    painted = style(rgba)
    assert np.array_equal(painted[..., 3], rgba[..., 3])
    assert np.array_equal(painted[..., :3], style(rgba[..., :3].copy()))

    deep = make_photo(40, 30).astype(np.uint16) * 257
    painted16 = style(deep)
    assert painted16.dtype == np.uint16
    assert np.abs(painted16 / 257.0 - painted[..., :3]).max() <= 0.51
    assert len(np.unique(painted16 % 257)) > 50, "16 bits must not be 8 bits in disguise"


def test_strength_zero_is_the_photo_and_one_the_style(style_file: Path) -> None:
    style = limner.load(style_file)
    photo = make_photo(50, 41)
    full = style(photo)
    assert np.array_equal(style(photo, strength=0), photo)
    assert np.array_equal(style(photo, strength=0, keep_colors=True), photo)
    assert np.array_equal(style(photo, strength=1), full)
    steps = [np.abs(style(photo, strength=s).astype(float) - photo).mean() for s in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert all(nearer < farther for nearer, farther in itertools.pairwise(steps))
    near = style(photo, strength=0.001).astype(float)
    assert np.abs(near - photo).mean() < 1
    assert np.abs(style(photo, strength=0.999).astype(float) - full).mean() < 1


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_impossible_strength_is_refused(style_file: Path, strength: float) -> None:
    with pytest.raises(LimnerError, match="from 0"):
        limner.load(style_file)(make_photo(20, 20), strength=strength)


def test_blend_keeps_contrast_where_a_mixture_loses_it() -> None:
    """Two unlike textures: their mean has less contrast than either, the blend keeps more."""
    random = np.random.default_rng(0)
    a, b = (random.uniform(0, 1, (128, 128, 3)).astype(np.float32) for _ in range(2))
    mixture = (a + b) / 2
    blended = blend.strength(a, b, 0.5)
    assert mixture.std() < 0.75 * a.std()
    assert blended.std() > 1.15 * mixture.std()


def test_blend_of_equal_pictures_is_that_picture() -> None:
    photo = image.to_float(make_photo(61, 43))[0].transpose(1, 2, 0)
    assert np.abs(blend.strength(photo, photo.copy(), 0.3) - photo).max() < 1e-5


def test_kept_colors_are_the_photos_and_strokes_the_paintings() -> None:
    """A night picture with stripes, laid over a bright photograph with one hard edge."""
    rows, columns = np.mgrid[:120, :160].astype(np.float32)
    photo = np.where((columns < 80)[..., None], [0.75, 0.6, 0.5], [0.3, 0.45, 0.5]).astype(np.float32)
    stripes = 0.1 * np.sin(rows)
    stylized = (0.2 * photo + np.array([0.0, 0.0, 0.3]) + stripes[..., None]).astype(np.float32)
    kept = blend.keep_colors(photo, stylized)
    luma_photo, luma_kept = photo @ blend.LUMA, kept @ blend.LUMA
    assert np.abs((kept - luma_kept[..., None]) - (photo - luma_photo[..., None])).max() < 1e-4, "inside the gamut chroma is the photo's"
    assert np.corrcoef((luma_kept - luma_photo).ravel(), stripes.ravel())[0, 1] > 0.95, "the strokes are there"
    blocks = [(luma_kept - luma_photo)[:, start : start + 20].mean() for start in range(0, 160, 20)]
    assert np.abs(blocks).max() < 0.01, "light and shade stay the photo's, up to the edge"


def test_keep_colors_of_a_style(style_file: Path) -> None:
    style = limner.load(style_file)
    grey = np.repeat(make_photo(50, 40)[..., :1], 3, axis=2)
    assert np.ptp(style(grey).astype(int), axis=2).max() > 10, "the style itself brings colour"
    assert np.ptp(style(grey, keep_colors=True).astype(int), axis=2).max() <= 1, "a grey photo stays grey"


def test_card_tells_what_is_in_the_file(style_file: Path) -> None:
    found = card.read(style_file)
    assert (found.name, found.method, found.licence, found.trained_on) == ("tiny", "fast_style", "Apache-2.0", ["nothing"])
    assert found.network == {"width": 8, "blocks": 1}
    assert (found.multiple_of, found.min_side, found.receptive_field) == (4, 8, 47)
    assert found.parameters == sum(p.numel() for p in Generator(width=8, blocks=1).parameters())
    assert len(found.weights_sha256) == 64


def test_style_file_is_plain_onnx(style_file: Path) -> None:
    import onnx

    model = onnx.load(style_file)
    onnx.checker.check_model(model, full_check=True)
    assert [entry.name for entry in model.graph.input] == ["image"]
    assert [entry.name for entry in model.graph.output] == ["stylized"]
    shape = [dim.dim_param or dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    assert shape == ["batch", 3, "height", "width"]
    assert {node.op_type for node in model.graph.node} >= {"Conv", "InstanceNormalization", "Pad"}
    assert str(Path.cwd()) not in str(model)
    assert "site-packages" not in str(model)


def test_batches_are_painted_one_by_one(style_file: Path) -> None:
    engine = opening.open_style(style_file, runtime="openvino", precision="float32")
    two = np.concatenate([image.to_float(make_photo(32, 32, seed=seed)) for seed in (1, 2)])
    both = engine(two)
    for i in range(2):
        assert np.abs(both[i : i + 1] - engine(two[i : i + 1])).max() < 1e-4


def test_bundled_styles_open_and_paint() -> None:
    cards = limner.styles()
    assert cards
    for found in cards:
        assert found.licence
        assert found.trained_on
        assert found.description
        photo = make_photo(64, 48)
        painted = limner.load(found.name)(photo)
        assert painted.shape == photo.shape
        assert np.abs(painted.astype(int) - photo).mean() > 8, found.name


@pytest.mark.parametrize("name", ["china", "flower"])
def test_strokes_reach_the_edges(name: str) -> None:
    """Contrast of the outermost six pixels against that further in; without the border it is 0.84 and 0.72."""
    photo = np.array(Image.open(Path(__file__).parent.parent / "examples" / "photos" / f"{name}.jpg").convert("RGB"))
    luma = limner.load(NORM)(photo) @ blend.LUMA
    contrast = np.abs(np.diff(luma, axis=0))[:, :-1] + np.abs(np.diff(luma, axis=1))[:-1]
    height, width = contrast.shape
    depth = np.minimum.outer(*(np.minimum(np.arange(side), np.arange(side)[::-1]) for side in (height, width)))
    assert contrast[depth < 6].mean() > 0.9 * contrast[(depth >= 24) & (depth < 64)].mean()


def test_missing_runtime_is_one_friendly_sentence(style_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(LimnerError, match=r"pip install 'limner\[onnxruntime\]'"):
        opening.open_style(style_file, runtime="onnxruntime")


def test_ctrl_c_after_styles_have_come_and_gone(style_file: Path) -> None:
    """OpenVINO gives a signal handler a stack of its own, and takes it back with the engine: Ctrl-C must still be heard afterwards."""
    script = f"""
import gc, signal
import numpy as np
from pathlib import Path
from limner.style.runtimes import opening
engines = [opening.open_style(Path({str(style_file)!r}), runtime="openvino") for _ in range(2)]
for engine in engines:
    engine(np.zeros((1, 3, 64, 64), np.float32))
while engines:
    del engine
    engine = engines.pop(0)
del engine
gc.collect()
signal.signal(signal.SIGINT, lambda number, frame: print("heard"))
signal.raise_signal(signal.SIGINT)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "heard\n"), done.stderr


def test_threads_may_share_a_style(style_file: Path) -> None:
    style, photos = Style(style_file), [make_photo(130 + i, 136, seed=i) for i in range(8)]
    alone = [style(photo) for photo in photos]
    with ThreadPoolExecutor(8) as threads:
        for painted, expected in zip(threads.map(style, photos * 3), alone * 3, strict=True):
            assert np.array_equal(painted, expected)


def test_an_empty_array_is_refused(style_file: Path) -> None:
    with pytest.raises(LimnerError, match="is not a picture"):
        Style(style_file)(np.zeros((0, 10, 3), np.uint8))
