"""Faster forms of a network's graph: the same pictures, to rounding, edges included."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from limner.blocks.network import StyleNetwork
from limner.gallery.card import KEY, Card
from limner.methods import cartoongan, cyclegan, fast_style, live
from limner.style.runtimes import opening
from limner.training import export

NETWORKS: dict[str, Callable[[], StyleNetwork]] = {
    "fast style": lambda: fast_style.Generator(4, 1),
    "live": lambda: live.Generator(4, 1),
    "cyclegan": lambda: cyclegan.Generator(4, 1),
    "cartoongan": lambda: cartoongan.Generator(4, 1),
}


def operations(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize("name", NETWORKS)
def test_paints_the_same(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]().eval()
    for parameter in network.parameters():
        parameter.data = (parameter + 0.05 * torch.randn_like(parameter)).half().float()
    picture = np.random.default_rng(0).random((2, 3, 48, 64), np.float32)
    results = []
    for optimize in (False, True):
        path = tmp_path / f"{optimize}.onnx"
        model = export.to_onnx(network, optimize=optimize)
        about = Card("a", "A", "a", {}, network.multiple_of, network.min_side, 9, 9, 9, "0", "0")
        onnx.helper.set_model_props(model, {KEY: about.to_json()})
        onnx.save(model, path)
        results += [opening.open_style(path, runtime=engine, precision="float32")(picture) for engine in ("onnxruntime", "openvino")]
    with torch.no_grad():
        expected = network(torch.from_numpy(picture)).numpy()
    for result in results:
        assert np.abs(result - expected).max() < 1e-4


def test_the_last_convolution_paints_squares() -> None:
    before, after = (operations(export.to_onnx(fast_style.Generator(4, 1), optimize=optimize)) for optimize in (False, True))
    assert before.count("DepthToSpace") == 0
    assert after.count("DepthToSpace") == 1
    assert before.count("Conv") == after.count("Conv") == 8


@pytest.mark.parametrize(
    "other",
    [
        nn.Conv2d(3, 3, 9, padding=4),  # zeros at the edge
        nn.Conv2d(3, 4, 9, padding=4, padding_mode="reflect"),
        nn.Conv2d(3, 3, 9, 2, padding=4, padding_mode="reflect"),
        nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect"),  # as cheap as it is
    ],
)
def test_what_is_not_the_same_or_does_not_pay_is_left_alone(other: nn.Module) -> None:
    assert operations(export.to_onnx(other)) == operations(export.to_onnx(other, optimize=False))


def test_squares_of_the_picture_are_one_convolution() -> None:
    """PixelUnshuffle with sizes computed as it runs is what some engines cannot read (OpenCV), and what cannot be cut into bands."""
    found = operations(export.to_onnx(live.Generator(4, 1).eval()))
    assert not {"Shape", "Concat", "Reshape", "Transpose"} & set(found)


def test_scales_of_a_resize_are_constants_in_float32() -> None:
    graph = export.to_onnx(live.Generator(4, 1).eval()).graph
    scales = {name for node in graph.node if node.op_type == "Resize" for name in node.input[1:] if name}
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
    assert scales
    assert all(kinds[name] == onnx.TensorProto.FLOAT for name in scales)
