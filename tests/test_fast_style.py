"""Fast neural style against its paper: parameters, losses, and a training that learns."""

import shutil
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

import limner
from limner.blocks import bristles, canvas, painterly
from limner.errors import LimnerError
from limner.gallery import card
from limner.gallery import weights as stored
from limner.methods import fast_style
from limner.pictures import image
from limner.prepare import abstractions
from limner.training import trainer
from tests.conftest import make_photo
from tests.runs import lines, options, same, small, weights


@pytest.mark.parametrize(("width", "parameters"), [("full", 1_679_235), ("half", 424_899), ("quarter", 108_771)])
def test_parameters(width: str, parameters: int) -> None:
    """Full width, counted by hand from the supplement's table: convolutions with bias, and two numbers a channel for each norm."""
    network = fast_style.build(fast_style.Config(Path(), Path(), width=width))
    c = {"full": 32, "half": 16, "quarter": 8}[width]
    shapes = [(3, c, 9), (c, 2 * c, 3), (2 * c, 4 * c, 3), *[(4 * c, 4 * c, 3)] * 10, (4 * c, 2 * c, 3), (2 * c, c, 3)]
    by_hand = sum(i * o * k * k + o + 2 * o for i, o, k in shapes) + c * 3 * 81 + 3
    assert sum(p.numel() for p in network.parameters()) == by_hand == parameters


def test_gram_matrix_by_hand() -> None:
    feature = torch.tensor([[[[1.0, 2.0]], [[3.0, -1.0]]]])  # one picture, two channels, 1 x 2 pixels
    (gram,) = fast_style.gram_matrix(feature)
    assert torch.allclose(gram, torch.tensor([[[2.5, 0.5], [0.5, 5.0]]]))


def test_moments_hold_what_the_gram_matrix_holds() -> None:
    feature = torch.randn(2, 5, 7, 9)
    mean, covariance = fast_style.moments(feature)
    (gram,) = fast_style.gram_matrix(feature)
    assert torch.allclose(covariance + mean @ mean.transpose(1, 2), gram, atol=1e-5)
    assert torch.allclose(covariance[1], torch.cov(feature[1].flatten(1), correction=0), atol=1e-5)


def test_statistics_survive_half_precision() -> None:
    """Summed in bf16, 1 + 1 + ... stops at 256; and a covariance that is left after subtracting the mean's part would drown in rounding."""
    torch.manual_seed(0)
    feature = 1 + 0.02 * torch.randn(1, 4, 64, 64)
    with torch.autocast("cpu", torch.bfloat16):
        (ones,) = fast_style.gram_matrix(torch.ones(1, 1, 64, 64, dtype=torch.bfloat16))
        mean, covariance = fast_style.moments(feature)
    assert ones.item() == 1.0
    exact_mean, exact_covariance = fast_style.moments(feature)
    assert torch.allclose(mean, exact_mean)
    assert fast_style.relative_error(covariance, exact_covariance) < 1e-4


def test_relative_error_does_not_depend_on_scale() -> None:
    value, target = torch.rand(2, 3, 4), torch.rand(2, 3, 4)
    assert torch.allclose(fast_style.relative_error(value, target), fast_style.relative_error(1000 * value, 1000 * target))
    assert fast_style.relative_error(target, target) == 0
    assert fast_style.relative_error(torch.zeros(1, 5), torch.ones(1, 5)) == 1


@pytest.mark.parametrize(
    "bad",
    [
        *({"steps": 0}, {"batch_size": 0}, {"image_size": 34}, {"image_size": 16}, {"min_scale": 2.0}, {"min_scale": 0.0}),
        *({"initial_steps": 3000}, {"levels": 6}, {"stroke_size": 9.0}, {"photo_size": 100}, {"working_size": 9}, {"initial_rate": 0.0}),
        *({"style_size": 0}, {"pyramid": 0}, {"style_layers": ()}, {"learning_rate": 0.0}, {"smooth": True}),
        *({"inks": True}, {"inks": True, "generator": "unet", "target": "flow"}, {"inks": True, "target": "woodblock"}),
    ],
)
def test_impossible_options_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(LimnerError, match=f"`{next(iter(bad))}`"):
        fast_style.Config(Path(), Path(), **bad)


def test_a_unet_wants_crops_that_it_can_halve() -> None:
    with pytest.raises(LimnerError, match="multiple of 16"):
        fast_style.Config(Path(), Path(), generator="unet", levels=4, image_size=72)


def test_tone_wants_light_and_dark_in_their_places() -> None:
    torch.manual_seed(0)
    photo = F.interpolate(torch.rand(2, 3, 6, 6), size=96, mode="bicubic").clamp(0, 1)
    assert fast_style.tone_difference(photo, photo).item() == pytest.approx(0, abs=1e-5)
    assert fast_style.tone_difference(0.2 + 0.5 * photo, photo).item() == pytest.approx(0, abs=0.02)  # duller and lighter is as good
    assert fast_style.tone_difference(1 - photo, photo).item() > 1.5
    flat = torch.full((1, 3, 96, 96), 0.4, requires_grad=True)
    loss = fast_style.tone_difference(flat, flat.detach())
    torch.autograd.backward(loss)
    assert abs(loss.item()) < 1e-3
    assert flat.grad is not None
    assert flat.grad.isfinite().all()


def test_a_painting_without_covariance_does_not_drown_everything(vgg_file: Path) -> None:
    from limner.blocks import features

    config = fast_style.Config(Path(), Path(), style_layers=("relu1_1", "relu2_1"))
    vgg = features.load(config.style_layers, vgg_file)
    loss = fast_style.StyleLoss(vgg, config, torch.tensor([0.9, 0.1, 0.1]).view(1, 3, 1, 1).expand(1, 3, 64, 64))
    for covariance in loss.targets[1::2]:
        covariance.zero_()  # as in the middle of a flat painting, away from the zeros that VGG-19 pads with
    photo = F.interpolate(torch.rand(1, 3, 8, 8), size=64, mode="bicubic").clamp(0, 1)
    with torch.no_grad():
        assert loss(photo, vgg(photo)).item() < 1000


def test_total_variation_by_hand() -> None:
    step = torch.zeros(1, 1, 2, 2)
    step[..., 1] = 1.0  # one edge between two columns: horizontal differences are 1, vertical ones 0
    assert fast_style.total_variation(step) == 1.0
    assert fast_style.total_variation(torch.full((1, 3, 8, 8), 0.7)) == 0


def test_style_loss_knows_the_painting(vgg_file: Path) -> None:
    """Zero for the painting itself, small for its mirror image, large for another picture."""
    from limner.blocks import features

    config = fast_style.Config(Path(), Path(), style_layers=("relu1_1", "relu2_1"), pyramid=2)
    torch.manual_seed(1)
    painting = F.interpolate(torch.rand(1, 3, 12, 12), size=96, mode="bicubic").clamp(0, 1)
    other = torch.rand(1, 3, 96, 96)
    vgg = features.load(config.style_layers, vgg_file)
    loss = fast_style.StyleLoss(vgg, config, painting)
    with torch.no_grad():
        itself, mirror, far = (loss(x, vgg(x)).item() for x in (painting, painting.flip(3), other))
    assert itself < 1e-8
    assert mirror < 0.2 * far


def flowing(painting: Path, photos: Path, vgg_file: Path, **changes: Any) -> fast_style.Config:
    """A small training with strokes: a U-Net on a canvas, half of the steps towards a target."""
    phases = {"target": "flow", "generator": "unet", "levels": 1, "blocks": 1, "steps": 12, "initial_steps": 6, "photo_size": 40}
    return small(painting, photos, vgg_file, **{**phases, "stroke_size": 0.5, "learning_rate": 2e-4, "colour_weight": 1.0, **changes})


def prepared(photos: Path, painting: Path | None, out: Path, **changes: Any) -> Path:
    abstractions.abstractions(
        [photos],
        abstractions.AbstractionOptions(out, **{"abstraction": "flow", "painting": painting, "stroke_size": 0.5, "size": 40, **changes}),
    )
    return out


def test_older_recipes_keep_their_hashes() -> None:
    """Options that came later count only where they say something else than what all trainings did before."""
    from limner.training import trainer

    plain = fast_style.Config(Path("painting.jpg"), Path("photos"))
    assert trainer.recipe_sha256("fast_style", plain, 0) == "7426d8708a70cc817f71968fe91ea9e42a01f9002193620d7f7ca1d44f7f41f0"
    other = {"start": Path("style.safetensors"), "abstractions": Path("drawn")}
    assert trainer.recipe_sha256("fast_style", replace(plain, **other), 0) == trainer.recipe_sha256("fast_style", plain, 0)
    assert set(plain.LATER) <= {f.name for f in fields(plain)}
    for name, value in {"target": "flow", "generator": "unet", "stroke_size": 2.0, "blocks": 4, "initial_steps": 10}.items():
        assert trainer.recipe_sha256("fast_style", replace(plain, **{name: value}), 0) != trainer.recipe_sha256("fast_style", plain, 0)


def test_both_phases_and_resume_exactly(tmp_path: Path, painting: Path, many_photos: Path, vgg_file: Path) -> None:
    from limner.training import trainer

    made = prepared(many_photos, painting, tmp_path / "drawn")
    config = flowing(painting, many_photos, vgg_file, abstractions=made)
    every = {"checkpoint_every": 3, "keep_checkpoints": 9}
    assert trainer.train("fast_style", config, options(tmp_path / "whole", **every)) is not None
    assert {"content", "style", "tone", "colour"} <= lines(tmp_path / "whole" / "held-out.jsonl")[-1].keys()
    for step in (3, 9):  # in either phase
        broken = tmp_path / f"broken-{step}"
        shutil.copytree(tmp_path / "whole", broken)
        for path in (broken / "checkpoints").glob("step-*"):
            if int(path.stem.split("-")[1]) > step:
                path.unlink()
        assert trainer.train("fast_style", config, options(broken, **every), resume=True) is not None
        same(weights(tmp_path / "whole", 12), weights(broken, 12))


@pytest.mark.parametrize("preset", ["hand", "print", "planes"])
def test_presets_go_on_from_a_bundled_style_without_vgg(
    tmp_path: Path, painting: Path, preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all options of the preset but for its length. It begins with the style's weights; a print has the painting's inks at once."""
    from limner.blocks import features
    from limner.gallery import bundled
    from limner.gallery import weights as stored
    from limner.training import trainer

    monkeypatch.setattr(features, "load", lambda *_: pytest.fail("asked for"))
    (tmp_path / "photos").mkdir()
    Image.fromarray(make_photo(200, 192)).save(tmp_path / "photos" / "a.png")
    values: dict[str, Any] = {**fast_style.Config.PRESETS[preset], "steps": 1, "initial_steps": 1, "initial_rate": 1e-9, "batch_size": 1}
    config = fast_style.Config(painting, tmp_path / "photos", **values)
    out = trainer.train("fast_style", config, options(tmp_path / "run"))
    assert out is not None
    begun, there = stored.load(out), stored.load(bundled.find(str(values["start"])))
    own = {name for name in begun if name.startswith("tint.")}
    assert all(torch.allclose(begun[name], there[name], atol=1e-3) for name in begun.keys() - own)
    photo = make_photo(90, 80)
    apart = np.abs(limner.load(out)(photo).astype(int) - limner.load(str(values["start"]))(photo))
    if preset != "print":
        assert apart.max() <= 1
        return
    assert not torch.allclose(begun["tint.colours.weight"], there["tint.colours.weight"], atol=1.0)
    assert apart.mean() > 5


def test_a_network_learns_strokes_on_its_canvas(tmp_path: Path, painting: Path, photos: Path, vgg_file: Path) -> None:
    """On a photograph never seen, its picture is nearer to the target than the photograph is; and the canvas shows in it."""
    from limner.training import trainer

    made = prepared(photos, painting, tmp_path / "drawn")
    changes = {"abstractions": made, "steps": 150, "initial_steps": 150, "width": "half", "levels": 2}
    config = flowing(painting, photos, vgg_file, **changes)
    assert trainer.train("fast_style", config, options(tmp_path / "run")) is not None
    network = fast_style.rebuild(card.read(tmp_path / "run" / "style.onnx").network)
    network.start_from(tmp_path / "run" / "style.safetensors")
    network.eval()
    pixels = make_photo(64, 64, seed=500)
    colours = painterly.palette_for("flow", image.flat(image.read(painting)).astype(np.float32) / 255)
    target = painterly.of_pixels(pixels, "flow", colours, 0.5)
    x, y = (torch.from_numpy(each).permute(2, 0, 1)[None].float() / 255 for each in (pixels, target))
    with torch.no_grad():
        drawn = network(x)
        assert (drawn - y).abs().mean() < 0.85 * (x - y).abs().mean()
        network.get_submodule("canvas").get_buffer("planes").zero_()
        assert (network(x) - drawn).abs().mean() > 2e-3


def test_what_it_starts_from_has_no_say_in_the_size_of_strokes(tmp_path: Path, painting: Path, photos: Path) -> None:
    common: dict[str, Any] = {"style_image": painting, "photos": photos, "target": "flow", "generator": "unet", "width": "quarter"}
    small_ones = fast_style.Config(**common, steps=1, initial_steps=1, batch_size=1, image_size=32, photo_size=64, stroke_size=0.5)
    first = trainer.train("fast_style", small_ones, options(tmp_path / "first"))
    assert first is not None
    second = trainer.train("fast_style", replace(small_ones, stroke_size=1.0, start=str(first)), options(tmp_path / "second"))
    assert second is not None
    wanted = bristles.stored(canvas.bristles(1.0)).roll((bristles.REACH,) * 2, (2, 3))
    assert torch.equal(stored.load(second)["canvas.planes"].float(), wanted.float())


def test_strokes_on_the_fly(tmp_path: Path, painting: Path, photos: Path, vgg_file: Path) -> None:
    from limner.training import trainer

    assert trainer.train("fast_style", flowing(painting, photos, vgg_file, steps=4, initial_steps=2), options(tmp_path / "run"))
    start = tmp_path / "run" / "style.safetensors"
    config = flowing(painting, photos, vgg_file, steps=2, initial_steps=0, target="woodblock", start=str(start))
    assert trainer.train("fast_style", config, options(tmp_path / "more"))
    with pytest.raises(LimnerError, match="does not hold the weights"):
        trainer.train("fast_style", replace(config, levels=2), options(tmp_path / "other"))


def test_preparing_takes_the_colours_of_a_painting(tmp_path: Path, painting: Path, photos: Path) -> None:
    made = prepared(photos, painting, tmp_path / "drawn")
    pixels = image.flat(image.read(photos / "photo-0.jpg"))
    scale = 40 / min(pixels.shape[:2])
    size = (round(pixels.shape[0] * scale), round(pixels.shape[1] * scale), 3)
    assert image.flat(image.read(made / "photo-0.png")).shape == size
    with pytest.raises(LimnerError, match="other stroke_size"):
        prepared(photos, painting, made, stroke_size=1.0)
    with pytest.raises(LimnerError, match="`painting`"):
        prepared(photos, None, tmp_path / "none")
    with pytest.raises(LimnerError, match="`stroke_size`"):
        prepared(photos, painting, tmp_path / "none", stroke_size=9.0)
    assert not (tmp_path / "none").exists()
