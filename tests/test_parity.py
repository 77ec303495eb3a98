"""Parity: a sound export passes, a broken one does not, and low precision is told, not refused."""

from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor

from limner.errors import LimnerError
from limner.gallery import card
from limner.methods import fast_style
from limner.style.runtimes import openvino_engine
from limner.training import parity


@pytest.fixture
def network(style_file: Path) -> fast_style.Generator:
    found = fast_style.Generator(**card.read(style_file).network)
    found.start_from(style_file.with_suffix(".safetensors"))
    return found.eval()


def test_a_sound_export_passes(style_file: Path, network: fast_style.Generator) -> None:
    found = parity.check(network, style_file)
    assert set(found) == {"noise", "natural", "bright ramp", "dark ramp", "flat colour"}
    assert all(found[name]["float32"] < 0.1 for name in ("noise", "natural", "bright ramp", "dark ramp"))


def test_what_grain_drowns_is_found_on_ramps(style_file: Path, network: fast_style.Generator, tmp_path: Path) -> None:
    """A norm that divides by a little more: no difference on noise, another picture where there is none."""
    model = onnx.load(style_file)
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "epsilon":
                attribute.f = 3e-4
    onnx.save(model, tmp_path / "broken.onnx")
    with pytest.raises(LimnerError, match="ramp"):
        parity.check(network, tmp_path / "broken.onnx")


@pytest.mark.parametrize(("off", "told"), [(0.0, False), (6.0, True)])
def test_low_precision_is_told(
    off: float,
    told: bool,
    style_file: Path,
    network: fast_style.Generator,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def painted(_: Path, batch: Tensor, precision: str) -> object:
        with torch.no_grad():
            away = torch.tensor([0.0, 0.0, off, off, 0.0] if precision == "auto" else [0.0] * 5)
            return (network(batch) + away.view(5, 1, 1, 1) / 255).numpy()

    monkeypatch.setattr(openvino_engine, "has_bf16", lambda: True)
    monkeypatch.setattr(parity, "_painted", painted)
    found = parity.check(network, style_file)
    assert found["dark ramp"]["default"] == pytest.approx(off, abs=0.01)
    assert ("6.0/255" in caplog.text) == told
