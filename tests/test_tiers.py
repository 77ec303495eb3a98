"""Tiers of a style: found beside it, told by their cards, and a live one taught by its style."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file

import limner
from limner.batch import opening
from limner.batch.options import Options
from limner.blocks import canvas
from limner.blocks.unet import UNet
from limner.cli import main
from limner.errors import LimnerError
from limner.gallery import bundled, card
from limner.methods import live
from limner.training import export, trainer
from tests.conftest import make_photo
from tests.runs import lines, options


def small(teacher: Path | str, photos: Path, vgg_file: Path, **changes: Any) -> live.Config:
    values = {"steps": 40, "batch_size": 2, "image_size": 32, "width": 4, "blocks": 1, "style_layers": ("relu1_1", "relu2_1"), **changes}
    return live.Config(str(teacher), photos, vgg=vgg_file, **values)


@pytest.fixture
def own_style(style_file: Path, tmp_path: Path) -> Path:
    """A user's own style, ``mine.onnx``, in a folder of its own."""
    for suffix in (".onnx", ".safetensors"):
        shutil.copy(style_file.with_suffix(suffix), tmp_path / f"mine{suffix}")
    return tmp_path / "mine.onnx"


def test_a_tier_lies_beside_its_style(own_style: Path) -> None:
    assert bundled.tiers(own_style) == ["standard"]
    torch.manual_seed(0)
    about = {"name": "tiny", "title": "Tiny", "method": "live", "best_short_side": 256, "tier": "live"}
    export.write(live.Generator(4, 1), about, own_style.with_name("mine.live.onnx"))
    assert bundled.tiers(own_style) == ["standard", "live"]
    assert bundled.find(own_style, "live") == own_style.with_name("mine.live.onnx")
    assert bundled.find(own_style.with_name("mine.live.onnx"), "live") == own_style.with_name("mine.live.onnx"), "is its own"

    photo = make_photo(50, 41)
    style = limner.load(own_style, tier="live")
    assert (style.card.tier, style.card.multiple_of) == ("live", 8)
    assert style(photo).shape == photo.shape
    assert not np.array_equal(style(photo), limner.load(own_style)(photo))


@pytest.mark.parametrize(("tier", "way"), [("live", "limner train live --teacher"), ("int8", "limner quantize")])
def test_a_missing_tier_is_one_sentence_that_says_how_to_make_it(
    own_style: Path, tier: str, way: str, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = own_style.with_name("photo.jpg")
    Image.fromarray(make_photo(20, 20)).save(photo)
    with pytest.raises(SystemExit) as stopped:
        main.main(["apply", str(photo), "-s", str(own_style), "--tier", tier])
    assert stopped.value.code == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert f"mine.{tier}.onnx" in sentence
    assert way in sentence


def test_an_unknown_tier_is_refused(own_style: Path) -> None:
    with pytest.raises(LimnerError, match="standard, int8, live"):
        limner.load(own_style, tier="huge")


def test_apply_paints_with_the_tier(own_style: Path, photos: Path, tmp_path: Path) -> None:
    about = {"name": "tiny", "title": "Tiny", "method": "live", "best_short_side": 256, "tier": "live"}
    export.write(live.Generator(4, 1), about, own_style.with_name("mine.live.onnx"))
    out = tmp_path / "out"
    ended = list(opening.open_batch([str(photos)], str(out), Options(style=str(own_style), tier="live"), lambda _: None))
    assert [result.outcome for result in ended] == ["painted"] * 8


def test_the_list_of_styles_tells_their_tiers(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main.main(["styles"])
    lines = capsys.readouterr().out.splitlines()
    for line, name in zip(lines, bundled.names(), strict=True):
        assert ", ".join(bundled.tiers(name)) in line


def test_bundled_live_styles_paint_like_their_teachers() -> None:
    """In colour and in light and shade, seen from afar; the photograph itself is farther off."""
    photo = make_photo(256, 192)
    names = [name for name in bundled.names() if "live" in bundled.tiers(name)]
    assert len(names) >= 2
    for name in names:
        style = limner.load(name, tier="live")
        assert style.card.tier == "live"
        assert style.card.teacher == f"{name} {limner.load(name).card.weights_sha256}"
        painted, wanted, before = (_from_afar(picture) for picture in (style(photo), limner.load(name)(photo), photo))
        near = 0.5 if style.card.working_size else 0.35  # from afar, a cartoon is near its photograph
        assert np.abs(painted - wanted).mean() < near * np.abs(before - wanted).mean(), name


@pytest.mark.parametrize("shade", [0, 130, 255])
def test_bundled_styles_paint_one_colour_as_one_colour(shade: int) -> None:
    """A black frame of a film stays without a mesh, in every tier and in the default precision; but painters' strokes show."""
    frame = np.full((96, 128, 3), shade, np.uint8)
    for name in [each.name for each in bundled.cards() if "canvas" not in each.network]:
        for tier in bundled.tiers(name):
            painted = limner.load(name, tier=tier)(frame)
            assert painted.astype(float).std((0, 1)).max() < 2, (name, tier)


def _from_afar(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Means of squares of 16 x 16 pixels."""
    height, width = (side // 16 for side in picture.shape[:2])
    return np.asarray(picture[: 16 * height, : 16 * width].astype(float).reshape(height, 16, width, 16, 3).mean((1, 3)), np.float64)


def test_parameters_of_the_student() -> None:
    """Counted by hand: convolutions with bias, and two numbers a channel for each norm."""
    shapes = [(12, 8), (8, 16), (16, 32), *[(32, 32)] * 8, (32, 16), (16, 8)]
    by_hand = sum(9 * i * o + o + 2 * o for i, o in shapes) + 9 * 8 * 12 + 12
    assert sum(p.numel() for p in live.Generator().parameters()) == by_hand == 87_996


def test_pixel_difference_by_hand() -> None:
    black, strokes, mesh = (torch.zeros(1, 3, 8, 8) for _ in range(3))
    for column in range(8):
        strokes[..., column] = 0.5 if column % 4 < 2 else -0.5
        mesh[..., column] = 0.5 if column % 2 else -0.5
    assert live.pixel_difference(black, black) == 0
    assert live.pixel_difference(strokes, black) == 0.5, "a fine pattern is nothing from afar"
    assert live.pixel_difference(mesh, black) == 2.5, "unless it is as fine as the squares that the network paints"
    assert live.pixel_difference(black + 0.5, black) == 2.5, "and unlike another colour"


def test_an_untrained_student_paints_no_mesh() -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        painted = live.Generator()(torch.rand(1, 3, 64, 64))
    assert torch.equal(painted[..., ::2, ::2], painted[..., 1::2, 1::2])
    assert painted.std() > 0.01


def test_style_loss_forgives_a_shift_and_not_a_blur(vgg_file: Path, tmp_path: Path) -> None:
    """What strokes are like counts, not where they are: the other way round than for pixels."""

    class Run:
        place = staticmethod(lambda module: module)

    loss = live.StyleLoss(small("", tmp_path, vgg_file), Run())
    torch.manual_seed(0)
    strokes = torch.rand(1, 3, 64, 64).repeat_interleave(2, 3)
    shifted, blurred = strokes.roll(12, 3), torch.nn.functional.avg_pool2d(strokes, (1, 5), 1, (0, 2))
    with torch.no_grad():
        assert loss(strokes, strokes).item() < 1e-9
        assert loss(shifted, strokes) < 0.2 * loss(blurred, strokes)
    assert live.pixel_difference(shifted, strokes) > live.pixel_difference(blurred, strokes)


@pytest.mark.parametrize(
    "bad", [{"steps": 0}, {"batch_size": 0}, {"image_size": 36}, {"min_scale": 0.0}, {"width": 0}, {"blocks": 0}, {"noise": -1.0}]
)
def test_impossible_options_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(LimnerError, match=f"`{next(iter(bad))}`"):
        live.Config("", Path(), **bad)


def test_a_student_learns_from_any_style_file(own_style: Path, many_photos: Path, vgg_file: Path, tmp_path: Path) -> None:
    config = small(own_style, many_photos, vgg_file)
    out = trainer.train("live", config, options(tmp_path / "run"))
    assert out is not None
    found, teacher = card.read(out), card.read(own_style)
    assert (found.name, found.title, found.tier, found.method) == (teacher.name, teacher.title, "live", "live")
    assert found.teacher == f"tiny {teacher.weights_sha256}"
    assert found.best_short_side == teacher.best_short_side

    losses = [line["loss"] for line in lines(tmp_path / "run" / "metrics.jsonl")]
    assert losses[-1] < 0.7 * losses[0]


def test_a_student_of_a_teacher_without_norm_has_none(many_photos: Path, vgg_file: Path, tmp_path: Path) -> None:
    """It draws on the photograph, and what it paints at one place hangs on what is around that place alone."""
    torch.manual_seed(0)
    teacher = UNet(8, 2, 1)
    assert teacher.to_rgb.bias is not None
    with torch.no_grad():
        teacher.to_rgb.bias.add_(torch.tensor([0.5, 0, -0.5]))  # a quarter of the range
    about = {"name": "warm", "title": "Warm", "method": "cartoongan", "best_short_side": 256, "working_size": 448}
    export.write(teacher.eval(), about, tmp_path / "warm.onnx")
    config = small(tmp_path / "warm.onnx", many_photos, vgg_file, learning_rate=1e-2, steps=60)
    torch.manual_seed(0)
    student = live.build(config).eval()
    assert not live.has_norm(student)
    photo = torch.rand(1, 3, 96, 160)
    assert (student(photo) - photo).abs().mean() < 0.1  # it begins as the photograph, nearly
    other = photo.clone()
    other[..., student.receptive_field + 8 :] = 1
    assert torch.equal(student(photo)[..., :8], student(other)[..., :8])
    out = trainer.train("live", config, options(tmp_path / "run"))
    assert out is not None
    assert (card.read(out).network, card.read(out).working_size) == ({"width": 4, "blocks": 1, "norm": 0}, 448)
    losses = [line["loss"] for line in lines(tmp_path / "run" / "metrics.jsonl")]
    assert losses[-1] < 0.7 * losses[0]


def test_a_student_of_a_teacher_with_a_canvas_paints_on_the_same(many_photos: Path, tmp_path: Path) -> None:
    """And needs no VGG-19, as any student without norm."""
    teacher = UNet(8, 1, 1, canvas=1)
    assert teacher.canvas is not None
    teacher.canvas.start(canvas.bristles())
    about = {"name": "hand", "title": "Hand", "method": "fast_style", "best_short_side": 256, "working_size": 0}
    export.write(teacher.eval(), about, tmp_path / "hand.onnx")
    config = replace(small(tmp_path / "hand.onnx", many_photos, tmp_path / "none.pth", steps=2), vgg=None)
    out = trainer.train("live", config, options(tmp_path / "run"))
    assert out is not None
    assert card.read(out).network == {"width": 4, "levels": 3, "blocks": 1, "canvas": 1}
    ground = load_file(out.with_suffix(".safetensors"))["canvas.planes"].float()
    torch.testing.assert_close(ground, teacher.canvas.get_buffer("planes").float(), atol=0, rtol=0)


def test_a_teacher_without_weights_is_one_sentence(own_style: Path) -> None:
    own_style.with_suffix(".safetensors").write_bytes(b"")
    with pytest.raises(LimnerError, match=r"mine\.safetensors"):
        live.load_teacher(str(own_style))


def test_an_option_goes_before_what_the_teacher_is_called(own_style: Path, many_photos: Path, vgg_file: Path, tmp_path: Path) -> None:
    config = small(own_style, many_photos, vgg_file, steps=1)
    out = trainer.train("live", config, options(tmp_path / "run", name="other"))
    assert out is not None
    assert (card.read(out).name, card.read(out).title) == ("other", "Tiny")
