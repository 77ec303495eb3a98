"""Pictures of any size, in bands: as if they had been painted whole, without seams."""

import resource
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

import limner
from limner.blocks.network import StyleNetwork
from limner.blocks.unet import UNet
from limner.errors import LimnerError
from limner.methods import cartoongan, cyclegan, fast_style, live
from limner.pictures import image, scanlines
from limner.style import banding
from limner.style import style as style_module
from limner.style.runtimes import openvino_stages
from limner.style.runtimes.openvino_stages import REACH, Measured, Stages
from limner.style.style import Style
from limner.training import export
from tests.conftest import NORM, make_photo

GENERATORS: dict[str, Callable[[], StyleNetwork]] = {
    "fast_style": lambda: fast_style.Generator(width=8, blocks=2),
    "cartoongan": lambda: cartoongan.Generator(width=8, blocks=2),
    "cyclegan": lambda: cyclegan.Generator(width=8, blocks=2),
    "live": lambda: live.Generator(width=8, blocks=2),
}


@pytest.fixture(scope="module", params=GENERATORS)
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("style") / "tiny.onnx"
    export.write(GENERATORS[request.param](), {"name": "tiny", "title": "Tiny", "method": request.param, "best_short_side": 256}, path)
    return path


def with_low_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ("MEMORY", "MOST"):
        monkeypatch.setattr(banding, limit, 64e3)


def uneven(height: int, width: int) -> NDArray[np.uint8]:
    """A picture whose upper part has other statistics than its lower one: bands by themselves would come out differently."""
    photo = make_photo(width, height).astype(float)
    photo[: height // 3] = photo[: height // 3] * 0.3 + 170
    return photo.astype(np.uint8)


@pytest.mark.parametrize("size", [(403, 250), (131, 517)])
def test_in_bands_as_whole(network: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    photo = uneven(*size)
    whole = Style(network, precision="float32")(photo).astype(float)
    monkeypatch.setattr(style_module, "WHOLE", 0)
    with_low_bands(monkeypatch)
    style = Style(network, precision="float32")
    painted = style(photo).astype(float)
    assert style._stages is not None
    assert len({b[0] for s in style._stages.stages for b in banding.bands(style._stages, s, *size)}) > 3, "one band proves nothing"
    assert np.abs(painted - whole).mean() <= 0.1
    assert np.abs(painted - whole).max() <= 2
    assert seam(painted, whole) <= 1.05

    # What the statistics of the whole picture are for: without them, the same picture in the same bands fails on both counts.
    alone = each_for_itself(network, photo)
    assert np.abs(alone - whole).mean() > 1.5
    assert seam(alone, whole) > 1.05


def test_a_network_without_norm_is_cut_where_it_would_see_too_far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else each band would compute 120 rows above and below it again; what layers hold is small below half size."""
    import torch

    torch.manual_seed(0)
    network, path = UNet(24, 3, 4), tmp_path / "tiny.onnx"
    assert network.receptive_field > 230
    with torch.no_grad():
        network.to_rgb.weight *= 20
    export.write(network.eval(), {"name": "tiny", "title": "Tiny", "method": "cartoongan", "best_short_side": 256}, path)
    photo = uneven(403, 250)
    whole = Style(path, precision="float32")(photo).astype(int)
    monkeypatch.setattr(style_module, "WHOLE", 0)
    with_low_bands(monkeypatch)
    style = Style(path, precision="float32")
    painted = style(photo).astype(int)
    assert style._stages is not None
    assert all(stage.above <= REACH / (stage.bytes_each / 16) + 8 for stage in style._stages.stages)
    assert [layer.channels for layer in style._stages.stages[0].writes] == [48, 96, 96]
    assert np.abs(painted - whole).max() <= 1
    assert np.abs(whole - photo).mean() > 5, "a network that paints nothing proves nothing"


def each_for_itself(network: Path, photo: NDArray[np.uint8], height: int = 64, beyond: int = 48) -> NDArray[np.float64]:
    """Bands as they come out with their own statistics, even though each sees well beyond its own rows."""
    style, found = Style(network, precision="float32"), []
    style.in_bands = lambda *_: False  # type: ignore[method-assign]
    for start in range(0, len(photo), height):
        first = max(start - beyond, 0)
        found.append(style(photo[first : start + height + beyond])[start - first :][:height])
    return np.concatenate(found).astype(float)


def seam(painted: NDArray[np.float64], whole: NDArray[np.float64], height: int = 64) -> float:
    """The step from row to row across the bands' borders against that at the same place of the picture painted whole."""
    step, expected = (np.abs(np.diff(each, axis=0)).mean((1, 2)) for each in (painted, whole))
    borders = np.arange(height - 1, len(step), height)
    return float(step[borders].mean() / expected[borders].mean())


def test_a_full_disk_is_told_and_nothing_goes_on(network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(style_module, "WHOLE", 0)
    with_low_bands(monkeypatch)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(LimnerError, match=r"Temporary files could not be written to .*TMPDIR"):
            Style(network)(uneven(403, 250))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not [thread.name for thread in threading.enumerate() if "limner" in thread.name]


@pytest.mark.parametrize("height", range(64, 100, 4))
def test_no_band_is_empty(network: Path, height: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last one may lie wholly in the border."""
    with_low_bands(monkeypatch)
    found = [len(band) for band in Style(network).bands(scanlines.of(image.Picture(uneven(height, 60))))]
    assert sum(found) == height
    assert 0 not in found


def test_only_the_end_of_memory_speaks_of_memory(network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of the engine is a fault, and not a reason to buy a larger machine."""
    said = [""]

    def fails(*_: object) -> None:
        raise RuntimeError(said[0])

    monkeypatch.setattr(style_module, "WHOLE", 0)
    monkeypatch.setattr(Stages, "compile", fails)
    for said[0] in ("std::bad_alloc\nand more", "Failed to allocate memory for requested buffer of size 8", "CUDA out of memory."):
        with pytest.raises(LimnerError, match=r"60 x 70 pixels could not be painted here \(.*\): make it smaller, or use a machine"):
            Style(network)(uneven(70, 60))
    said[0] = "Node 7 has no kernel"
    with pytest.raises(RuntimeError, match="Node 7"):
        Style(network)(uneven(70, 60))


def test_bands_that_nobody_wants_any_more_end(network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_low_bands(monkeypatch)
    bands = Style(network).bands(scanlines.of(image.Picture(uneven(403, 250))))
    assert len(next(bands)) > 0
    assert [thread for thread in threading.enumerate() if "limner" in thread.name], "or this test proves nothing"
    bands.close()
    assert not [thread for thread in threading.enumerate() if "limner" in thread.name]


def test_statistics_are_those_of_the_whole_picture(network: Path) -> None:
    """However it is cut; against plain numpy."""
    layer = next(norm.layer for stage in Stages(network).stages for norm in stage.measures)
    features = np.random.default_rng(0).normal(40, 3, (1, layer.channels, 96, 50)).astype(np.float32)
    norm = next(norm for stage in Stages(network).stages for norm in stage.measures)
    sums = banding._Sums(norm)
    scale = layer.scale
    for start, stop in ((0, 32), (32, 40), (40, 96)):
        mask = sums.mask(start / scale, stop / scale, 0, 96 / scale)
        centre = features.mean((2, 3), keepdims=True) + 1  # anything near
        left = (features - centre) * mask
        found = Measured(centre, left.mean((2, 3), keepdims=True), np.sqrt((left**2).sum((2, 3), keepdims=True)))
        sums.add(found, mask, 50 / scale)
    factor, summand = sums.affine()
    normalised = features * factor + summand
    assert np.abs(normalised.mean((2, 3))).max() < 1e-4
    assert np.abs(normalised.std((2, 3)) - 1).max() < 1e-3


def test_every_bundled_style_can_be_cut() -> None:
    from limner.gallery import bundled

    assert len(Stages(NORM).stages) == 16
    assert len(Stages(NORM.with_suffix(".int8.onnx")).stages) == 16
    assert len(Stages(NORM.with_suffix(".live.onnx")).stages) == 14
    for name in bundled.names():  # no norm: cut where a band would see too far
        for tier in bundled.tiers(name):
            assert 1 <= len(Stages(bundled.find(name, tier)).stages) <= 8, (name, tier)


def test_a_network_that_cannot_be_cut_paints_big_pictures_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    photo = uneven(131, 250)
    whole = limner.load(NORM)(photo)
    monkeypatch.setattr(style_module, "WHOLE", 0)
    monkeypatch.setattr(openvino_stages, "ELEMENTWISE", frozenset())
    assert np.array_equal(limner.load(NORM)(photo), whole)


@pytest.mark.parametrize("kind", ["strips", "tiles", "one block", "big endian", "bigtiff", "grey", "profile"])
def test_rows_of_a_tiff_are_those_of_the_picture(tmp_path: Path, kind: str) -> None:
    photo = make_photo(150, 117)
    deep = photo.astype(np.uint16) * 257
    path = tmp_path / "photo.tif"
    kinds: dict[str, dict[str, Any]] = {
        "strips": {"rowsperstrip": 13, "compression": "deflate", "predictor": True},
        "tiles": {"tile": (32, 48), "compression": "lzw"},
        "one block": {},
        "big endian": {"rowsperstrip": 10, "compression": "deflate"},
        "bigtiff": {"rowsperstrip": 10, "compression": "deflate"},
        "grey": {"rowsperstrip": 10, "compression": "deflate"},
        "profile": {"rowsperstrip": 10, "compression": "deflate", "iccprofile": profile()},
    }
    with tifffile.TiffWriter(path, byteorder=">" if kind == "big endian" else "<", bigtiff=kind == "bigtiff") as writer:
        pixels = deep if kind in ("big endian", "profile") else photo[..., 0] if kind == "grey" else photo
        writer.write(pixels, photometric="minisblack" if kind == "grey" else "rgb", metadata=None, **kinds[kind])
    whole = image.read(path)
    with scanlines.reading(path) as source:
        assert source.picture is None, "it was read whole"
        assert (source.height, source.width, source.dtype) == (*whole.pixels.shape[:2], whole.pixels.dtype)
        assert source.metadata.icc == whole.metadata.icc
        for start, stop in ((0, 117), (0, 1), (29, 66), (100, 117)):
            assert np.array_equal(source.rows(start, stop), whole.pixels[start:stop])


def profile() -> bytes:
    import imagecodecs

    return bytes(imagecodecs.cms_profile("adobergb"))


@pytest.mark.parametrize("suffix", [".tif", ".png", ".jpg"])
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_rows_written_are_the_picture_written(tmp_path: Path, suffix: str, depth: Any) -> None:
    pixels = make_photo(150, 117).astype(depth) * (257 if depth == np.uint16 else 1)
    picture = image.Picture(pixels, metadata=image.Metadata(icc=profile(), dpi=(300.0, 300.0)))
    image.write(picture, tmp_path / f"whole{suffix}")
    source = scanlines.RowPicture(117, 150, pixels.dtype, picture.metadata, lambda start, stop: pixels[start:stop])
    with scanlines.writing(tmp_path / f"rows{suffix}", source) as put:
        for start in range(0, 117, 25):
            put(pixels[start : start + 25])
    whole, written = (image.read(tmp_path / f"{name}{suffix}") for name in ("whole", "rows"))
    assert np.array_equal(written.pixels, whole.pixels)
    assert written.metadata == whole.metadata
    assert {path.name for path in tmp_path.iterdir()} == {f"whole{suffix}", f"rows{suffix}"}


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    source = scanlines.RowPicture(
        10, 10, np.dtype(np.uint8), image.Metadata(), lambda start, stop: np.zeros((stop - start, 10, 3), np.uint8)
    )
    for name in ("a.tif", "a.png", "a.jpg"):
        with pytest.raises(KeyboardInterrupt), scanlines.writing(tmp_path / name, source) as put:
            put(source.rows(0, 5))
            raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_a_network_that_cannot_be_cut_is_said_to_be_one(tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    pool = helper.make_node("GlobalAveragePool", ["image"], ["mean"])
    add = helper.make_node("Add", ["image", "mean"], ["stylized"])
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3, "h", "w"]) for name in ("image", "stylized")]
    path = tmp_path / "other.onnx"
    path.write_bytes(
        helper.make_model(
            helper.make_graph([pool, add], "g", ends[:1], ends[1:]), ir_version=10, opset_imports=[helper.make_opsetid("", 18)]
        ).SerializeToString()
    )
    with pytest.raises(limner.LimnerError, match="cannot be applied in bands"):
        Stages(path)


def test_a_big_file_goes_through_in_rows(style_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the command's own objects, as `limner apply` uses them: never whole in memory, and the same as if it were."""
    from limner.batch import opening, options

    monkeypatch.setattr(style_module, "WHOLE", 40_000)
    with_low_bands(monkeypatch)
    photo = uneven(250, 200)
    tifffile.imwrite(tmp_path / "photo.tif", photo, photometric="rgb", rowsperstrip=16, compression="deflate")
    monkeypatch.setattr(image, "read", lambda *_, **__: pytest.fail("it was read whole"))
    told: list[str] = []
    parts: list[float] = []
    work = opening.open_batch([str(tmp_path / "photo.tif")], str(tmp_path / "out.tif"), options.Options(style=str(style_file)), told.append)
    work.watch = parts.append
    assert [result.outcome for result in work] == ["painted"]
    assert "200 x 250 pixels, in bands: about" in told[0]
    assert parts == sorted(parts)
    assert parts[-1] == 1
    assert np.array_equal(tifffile.imread(tmp_path / "out.tif"), limner.load(style_file)(photo))


def test_a_broken_big_file_is_one_sentence(style_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from limner.batch import opening, options

    monkeypatch.setattr(style_module, "WHOLE", 0)
    path = tmp_path / "photo.tif"
    tifffile.imwrite(path, uneven(250, 200), photometric="rgb", rowsperstrip=16, compression="deflate")
    data = bytearray(path.read_bytes())
    data[-4000:-2000] = bytes(2000)
    path.write_bytes(data)
    work = opening.open_batch([str(path)], str(tmp_path / "out.tif"), options.Options(style=str(style_file)), lambda _: None)
    (result,) = work
    assert str(result.error).startswith(f"{path} is damaged")
    assert [each.name for each in tmp_path.iterdir()] == ["photo.tif"]
