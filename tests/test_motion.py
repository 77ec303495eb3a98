"""Second frames made of photographs, and trainings that are to paint them alike."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from limner.blocks import motion
from limner.methods import cartoongan, live
from limner.training import trainer
from tests import runs
from tests.conftest import make_photo


def pictures(count: int = 2, height: int = 96, width: int = 80) -> torch.Tensor:
    return torch.stack([torch.from_numpy(make_photo(width, height, seed)).permute(2, 0, 1) / 255 for seed in range(count)])


def test_moved_by_whole_pixels() -> None:
    images, flow = pictures(), torch.zeros(2, 96, 80, 2)
    assert torch.allclose(motion.moved(images, flow), images, atol=1e-5)
    flow[..., 0], flow[..., 1] = 3, -2
    moved = motion.moved(images, flow)
    assert torch.allclose(moved[:, :, 2:, :-3], images[:, :, :-2, 3:], atol=1e-5)
    assert torch.allclose(moved[:, :, 2:, -3:], images[:, :, :-2, -3:].flip(3), atol=1e-5), "past the border, mirrored"


def test_flows_are_smooth_small_and_each_its_own() -> None:
    torch.manual_seed(0)
    flow = motion.second(pictures(8)).flow
    assert flow.shape == (8, 96, 80, 2)
    assert flow.abs().max() < motion.SHIFT + 5 * motion.BEND
    assert flow.diff(dim=1).abs().max() < 0.5, "pixels move with their neighbours"
    assert flow.mean((1, 2)).std(0).min() > 1, "the whole moves, too"
    assert (flow - flow.mean((1, 2), keepdim=True)).std() > 0.5, "and not the whole alone"


def test_a_second_frame_is_the_first_one_moved_with_a_little_noise() -> None:
    torch.manual_seed(0)
    images = F.avg_pool2d(pictures(), 5, 1, 2)
    second = motion.second(images)
    noise = second.frames - motion.moved(images, second.flow)
    assert noise.std() == pytest.approx(motion.NOISE, rel=0.1)
    assert motion.unrest(images, second.frames, second.flow) == pytest.approx(motion.NOISE * 0.8, rel=0.1), "the mean of |noise|"
    assert motion.unrest(images, images, second.flow) > 2 * motion.unrest(images, second.frames, second.flow)


def test_held_out_seconds_are_alike_each_time() -> None:
    batches = [pictures(), pictures()]
    one, two = (motion.seconds(batches, drawn=True) for _ in range(2))
    for a, b in zip(one, two, strict=True):
        assert a is not None and b is not None and torch.equal(a.frames, b.frames)
    assert one[0] is not None and one[1] is not None and not torch.equal(one[0].flow, one[1].flow)
    assert motion.seconds(batches, drawn=False) == [None, None]


def test_what_is_trained_with_calm_is_calmer(many_photos: Path, painting: Path, vgg_file: Path, tmp_path: Path) -> None:
    """By its style file, over photographs and second frames of them; the calm one paints all the same."""
    torch.manual_seed(0)
    images = pictures(4)
    second = motion.second(images)
    unrest = {}
    for calm in (0.0, 10.0):
        config = runs.small(painting, many_photos, vgg_file, calm_weight=calm)
        out = trainer.train("fast_style", config, runs.options(tmp_path / str(calm)))
        assert out is not None
        network = live.load_teacher(str(out))
        painted = network(images)
        unrest[calm] = float(motion.unrest(painted, network(second.frames), second.flow))
    assert unrest[10.0] < 0.8 * unrest[0.0]
    assert painted.std() > 0.05, "no empty picture"


def test_students_and_cartoons_learn_calm_too(many_photos: Path, style_file: Path, vgg_file: Path, tmp_path: Path) -> None:
    few: dict[str, Any] = {"vgg": vgg_file, "steps": 3, "batch_size": 2, "image_size": 32, "calm_weight": 3.0}
    student = live.Config(str(style_file), many_photos, width=4, blocks=1, style_layers=("relu1_1",), learning_rate=1e-2, **few)
    trainer.train("live", student, runs.options(tmp_path / "live"))
    cartoons = cartoongan.Config(
        many_photos,
        many_photos,
        initial_steps=0,
        target="photo",
        content_layers=("conv2_1",),
        discriminator_width=8,
        width=8,
        blocks=1,
        **few,
    )
    trainer.train("cartoongan", cartoons, runs.options(tmp_path / "cartoongan"))
    parts = {"live": {"pixel": 1.0, "style": 3.0}, "cartoongan": {"adversarial": 1.0, "content": 3.0, "colour": 3.0}}
    for name, weights in parts.items():
        for line in runs.lines(tmp_path / name / "metrics.jsonl"):
            assert line["calm"] > 0
            total = sum(weight * line[part] for part, weight in {**weights, "calm": 3.0}.items())
            assert line["loss"] == pytest.approx(total, rel=1e-4), name
