"""The canvas that a network paints on: repeated over a picture, the same for a crop, in every engine and in bands."""

from pathlib import Path

import numpy as np
import pytest
import torch

import limner
from limner.blocks import abstraction, canvas, painterly
from limner.blocks.bristles import Bristles, at, everywhere
from limner.blocks.unet import UNet
from limner.gallery import card
from limner.style import banding
from limner.style import style as style_module
from limner.style.style import Style
from limner.training import export
from tests.test_abstraction import example
from tests.test_tiles import with_low_bands


def test_the_canvas_goes_on_over_its_own_border() -> None:
    plane = canvas.bristles()
    assert plane.shape == (canvas.PERIOD, canvas.PERIOD, canvas.PLANES)
    assert np.abs(plane.mean((0, 1))).max() < 0.2
    within = np.abs(np.diff(plane, axis=0)).mean((0, 1))
    assert (np.abs(plane[0] - plane[-1]).mean(0) < 1.3 * within).all()
    assert np.allclose(np.hypot(plane[..., 2], plane[..., 3]), 1, atol=1e-3)
    shown = canvas.repeated(plane, 300, 40, margin=16)
    assert np.array_equal(shown[16:272, 16:40], plane[:, :24])
    assert np.array_equal(shown[:16], shown[256:272])


def test_facets_go_on_over_their_own_border() -> None:
    plane = canvas.facets()
    assert plane.shape == (canvas.PERIOD_OF_FACETS, canvas.PERIOD_OF_FACETS, 2)
    assert np.allclose(plane.mean((0, 1)), 0, atol=1e-5)
    assert np.allclose(plane.std((0, 1)), 1, atol=1e-3)
    for size, count in ((1.0, 42), (2.0, 10)):
        values, pixels = np.unique(canvas.facets(size)[..., 1], return_counts=True)
        assert 0.8 * count <= (pixels > 200).sum() <= count  # a facet has one value; some are very small
        assert pixels[pixels > 200].sum() > 0.97 * plane[..., 1].size, f"{len(values)} values: borders are soft, and thin"
    assert (np.abs(plane[0, :, 1] - plane[-1, :, 1]) > 0.1).mean() < 0.3  # along a border that happens to run level


def network(kind: int = 1) -> UNet:
    torch.manual_seed(0)
    made = UNet(8, 1, 1, canvas=kind)
    if made.canvas is not None:
        made.canvas.start(canvas.facets() if kind == 2 else canvas.bristles())
    with torch.no_grad():
        made.to_rgb.weight.mul_(8)  # so that the canvas shows
    return made.eval()


def test_a_crop_sees_the_canvas_of_its_place() -> None:
    made = network()
    assert made.canvas is not None
    planes = made.canvas.get_buffer("planes")
    whole = everywhere(planes, 400, 500)[0]
    found = at(planes, torch.tensor([[290, 310, 0], [290, 310, 1]]), 64, 80)
    assert torch.equal(found[0], whole[:, 290:354, 310:390])
    assert torch.equal(found[1], whole[:, 290:354, 310:390].flip(2) * torch.tensor(canvas.MIRRORED).view(4, 1, 1))
    photo, place = torch.rand(1, 3, 400, 500), torch.tensor([[96, 200, 0]])
    crop, middle = photo[:, :, 96:352, 200:456], np.s_[..., 96:-96, 96:-96]
    with torch.no_grad():
        assert (made(crop, place) - made(photo)[:, :, 96:352, 200:456])[middle].abs().max() < 1e-5
        assert (made(crop, place) - made(crop))[middle].abs().mean() > 1e-3


def test_bristles_are_those_that_were_painted() -> None:
    """Straight lines in eight directions against curved ones in any: nearly the same, in the same places; mirrored with the photograph."""
    bristles = Bristles()
    bristles.start(canvas.bristles())
    photo = example("china")[:, :296]
    ground = canvas.repeated(canvas.bristles(), 200, 296)
    x, y = painterly.directions(abstraction.lightness(photo), ground[..., 2:])
    wanted = painterly.drawn_out(ground[..., :2].copy(), x, y, 14)
    batch = torch.from_numpy(photo.copy()).permute(2, 0, 1)[None]
    found = bristles(batch)[0].numpy()
    for k in range(2):
        assert np.corrcoef(found[k].ravel(), wanted[..., k].ravel())[0, 1] > 0.8
        assert 0.7 < found[k].std() < 1.8
    angle = 2 * np.arctan2(y, x) - np.pi
    assert (np.cos(angle) * found[2] + np.sin(angle) * found[3]).mean() > 0.95
    mirrored = bristles(batch.flip(3), torch.tensor([[0, 0, 1]]))[0].flip(2).numpy()
    assert np.abs(mirrored[:2] - found[:2]).max() < 0.05


def test_without_a_canvas_nothing_has_changed() -> None:
    plain = UNet(8, 2, 1)
    assert plain.arguments == {"width": 8, "levels": 2, "blocks": 1}
    assert not any("canvas" in name or "ground" in name for name in plain.state_dict())


def test_a_crop_sees_the_facets_of_its_place() -> None:
    made, photo, place = network(2), torch.rand(1, 3, 400, 600), torch.tensor([[96, 310, 0]])
    crop, middle = photo[:, :, 96:224, 310:438], np.s_[..., 24:-24, 24:-24]
    with torch.no_grad():
        assert (made(crop, place) - made(photo)[:, :, 96:224, 310:438])[middle].abs().max() < 1e-5


@pytest.mark.parametrize(("kind", "of"), [(0, 1), (1, 0), (1, 1), (2, 1), (2, 0)])
def test_a_network_starts_from_one_with_another_canvas(tmp_path: Path, kind: int, of: int) -> None:
    """What draws is taken; a canvas only where it is of the same kind."""
    other, own = network(of), network(kind)
    with torch.no_grad():
        other.enter.weight.mul_(2)
        if other.ground is not None:
            other.ground.weight.mul_(2)
    export.write(other, {"name": "other", "title": "Other", "method": "fast_style", "best_short_side": 256}, tmp_path / "other.onnx")
    own.start_from(tmp_path / "other.safetensors")
    torch.testing.assert_close(own.enter.weight, other.enter.weight, atol=1e-3, rtol=1e-3)
    if own.ground is not None:
        wanted = other.ground if kind == of else network(kind).ground
        assert wanted is not None
        torch.testing.assert_close(own.ground.weight, wanted.weight, atol=1e-3, rtol=1e-3)


@pytest.fixture(scope="module", params=[1, 2], ids=["bristles", "facets"])
def style_file(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    path = tmp_path_factory.mktemp("style") / "tiny.onnx"
    export.write(network(request.param), {"name": "tiny", "title": "Tiny", "method": "fast_style", "best_short_side": 256}, path)
    return path


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime", "torch"])
def test_every_engine_repeats_the_canvas(style_file: Path, runtime: str) -> None:
    photo = (np.random.default_rng(0).random((301, 290, 3)) * 255).astype(np.uint8)
    found = limner.load(style_file, runtime=runtime)(photo)
    border, kind = style_module.BORDER, int(card.read(style_file).network["canvas"])
    seen = np.pad(photo, ((border, border + 3), (border, border + 2), (0, 0)), mode="reflect").astype(np.float32) / 255
    with torch.no_grad():
        painted = network(kind).half().float()(torch.from_numpy(seen).permute(2, 0, 1)[None])[0].permute(1, 2, 0).numpy()
    wanted = painted[border : border + 301, border : border + 290] * 255
    assert np.abs(found - wanted).mean() < 1
    assert np.abs(found - wanted).max() < 12  # bf16, where the processor has it


def test_bands_have_the_canvas_of_the_whole(style_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = (np.random.default_rng(1).random((700, 120, 3)) * 255).astype(np.uint8)
    whole = Style(style_file, precision="float32")(photo).astype(float)
    monkeypatch.setattr(style_module, "WHOLE", 0)
    with_low_bands(monkeypatch)
    style = Style(style_file, precision="float32")
    assert np.abs(style(photo) - whole).max() <= 1
    assert style._stages is not None
    assert len(list(banding.bands(style._stages, style._stages.stages[0], 732, 152))) > 8
