"""A style's weights come from the style file alone."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

import limner
from limner.blocks.network import StyleNetwork
from limner.blocks.unet import UNet
from limner.errors import LimnerError
from limner.gallery import bundled, card, weights
from limner.gallery.bundled import Tier
from limner.methods import cartoongan, contract, live
from limner.training import export
from tests.conftest import make_photo

STYLES = [(name, tier) for name in bundled.names() for tier in bundled.tiers(name) if tier != "int8"]


@pytest.mark.parametrize(("name", "tier"), STYLES)
def test_a_bundled_file_holds_the_weights_that_its_card_promises(name: str, tier: Tier) -> None:
    path = bundled.find(name, tier)
    found, held = card.read(path), weights.load(path)
    digest = hashlib.sha256()
    for key in sorted(contract.rebuild(found.method, found.network).state_dict()):
        digest.update(f"{key} {tuple(held[key].shape)}\n".encode())
        digest.update(held[key].numpy().tobytes())
    assert digest.hexdigest() == found.weights_sha256


NETWORKS = [cartoongan.Generator(8, 1), live.Generator(4, 1), UNet(4, live.LEVELS, 1)]


@pytest.mark.parametrize("network", NETWORKS, ids=["squares", "live", "live without norm"])
def test_weights_come_back_as_they_were(network: StyleNetwork, tmp_path: Path) -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():  # no two are equal, as after a training
            parameter.add_(0.1 * torch.randn_like(parameter))
    about = {"name": "x", "title": "X", "method": "live", "best_short_side": 256}
    export.write(network.eval(), about, tmp_path / "x.onnx")
    wanted = weights.load(tmp_path / "x.safetensors")
    (tmp_path / "x.safetensors").unlink()
    found = weights.load(tmp_path / "x.onnx")
    for name, value in wanted.items():
        assert np.array_equal(found[name].numpy(), value.numpy()), name
    again = type(network)(**network.arguments)
    again.start_from(tmp_path / "x.onnx")
    assert all(torch.equal(value, wanted[name].float()) for name, value in again.state_dict().items())


def test_a_compact_file_is_half_as_large_and_paints_nearly_the_same(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = UNet(24, 2, 2)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.002 * torch.randn_like(parameter))
    about = {"name": "x", "title": "X", "method": "live", "best_short_side": 256}
    for name in ("plain", "compact"):
        export.write(network.eval(), about, tmp_path / f"{name}.onnx", compact=name == "compact")
    plain, compact = tmp_path / "plain.onnx", tmp_path / "compact.onnx"
    assert compact.stat().st_size < 0.6 * plain.stat().st_size
    photo = make_photo(96, 128)
    for runtime in ("openvino", "onnxruntime", "torch"):
        painted = [limner.load(path, runtime=runtime)(photo).astype(int) for path in (plain, compact)]
        assert 0 < np.abs(painted[0] - painted[1]).mean() < 1, runtime
    wanted = weights.load(tmp_path / "compact.safetensors")
    (tmp_path / "compact.safetensors").unlink()
    found = weights.load(compact)
    assert set(wanted) <= set(found)
    assert all(torch.equal(found[name], value) for name, value in wanted.items())
    large = wanted["blocks.0.first.weight"].float()
    steps = large / export.rounded(large).abs().amax((1, 2, 3), keepdim=True)
    assert max(len(output.unique()) for output in steps) <= 255


def test_damage_and_other_networks_get_a_sentence(tmp_path: Path) -> None:
    for name in ("x.onnx", "y.safetensors"):
        (tmp_path / name).write_bytes(b"no weights")
        with pytest.raises(LimnerError, match=name):
            weights.load(tmp_path / name)
    with pytest.raises(LimnerError, match=r"storybook\.onnx"):
        live.Generator(4, 1).start_from(bundled.find("storybook"))
