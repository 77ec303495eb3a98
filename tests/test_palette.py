"""Inks: a print's colours as the last layer of a network, the same as of the print that is made without one."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from limner.blocks import painterly
from limner.blocks.palette import INKS, PRINT, Inks
from limner.blocks.unet import UNet
from limner.style import banding
from limner.style import style as style_module
from limner.style.runtimes.openvino_stages import Stages
from limner.style.style import Style
from limner.training import export
from tests.test_abstraction import example
from tests.test_painterly import painting
from tests.test_tiles import with_low_bands

COLOURS = painterly.palette_for("woodblock", painting())


def inks() -> Inks:
    made = Inks()
    made.start(COLOURS)
    return made


def test_inks_are_those_of_a_print() -> None:
    photo = np.concatenate([example("coffee"), np.random.default_rng(0).random((40, example("coffee").shape[1], 3), np.float32)])
    photo[0, :2] = [[0, 0, 0], [1, 1, 1]]
    wanted = painterly.recoloured(photo, COLOURS, **PRINT)
    found = inks()(torch.from_numpy(photo).permute(2, 0, 1)[None])[0].permute(1, 2, 0).numpy()
    apart = np.abs(found - wanted) * 255
    assert len(COLOURS.colours) == INKS
    assert apart.mean() < 0.5
    assert np.quantile(apart, 0.99) < 4  # between two inks a rounding decides
    assert np.abs(wanted - photo).mean() * 255 > 20


def test_what_is_learnt_reaches_through_the_inks() -> None:
    photo = torch.tensor([[0.0, 1.0, 0.5, 1.4, -0.3]]).repeat(3, 1)[None, :, None].requires_grad_()
    learning, done = inks().train(), inks().eval()
    learning(photo).sum().backward()
    assert photo.grad is not None
    assert photo.grad.isfinite().all()
    assert (photo.grad.abs().sum(1) > 0).all(), "what is out of range never comes back"
    assert (learning(photo) - done(photo) - (photo - photo.clamp(0, 1))).abs().max() < 1e-6


def test_a_print_is_the_same_in_a_style_file_and_in_bands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network, path = UNet(8, 2, 1, smooth=1, inks=1), tmp_path / "print.onnx"
    assert isinstance(network.tint, Inks)
    network.tint.start(COLOURS)
    export.write(network.eval(), {"name": "print", "title": "Print", "method": "fast_style", "best_short_side": 256}, path)
    photo = (cv2.resize(example("coffee"), (250, 403)) * 255 + 0.5).astype(np.uint8)
    with torch.no_grad():
        mirrored = np.pad(photo, ((16, 17), (16, 18), (0, 0)), mode="reflect").astype(np.float32) / 255
        wanted = network(torch.from_numpy(mirrored).permute(2, 0, 1)[None])[0, :, 16:-17, 16:-18].permute(1, 2, 0).numpy() * 255
    for runtime in ("openvino", "onnxruntime"):
        painted = Style(path, runtime=runtime, precision="float32")(photo)
        assert np.abs(painted - wanted).mean() < 0.5, runtime
    monkeypatch.setattr(style_module, "WHOLE", 0)
    with_low_bands(monkeypatch)
    stages = Stages(path, "float32")
    assert all(len(list(banding.bands(stages, stage, 436, 284))) > 2 for stage in stages.stages), "one band proves nothing"
    assert np.abs(Style(path, precision="float32")(photo) - wanted).mean() < 0.6
