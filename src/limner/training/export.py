"""Export: a trained network becomes a style file (.onnx) and, beside it, the same weights for fine-tuning (.safetensors)."""

import copy
import hashlib
import logging
import warnings
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save
from torch import Tensor, nn

from limner.blocks.network import StyleNetwork
from limner.errors import require
from limner.files import replacing, trial
from limner.gallery.card import KEY, Card
from limner.training import graph_optimization, parity
from limner.version import __version__

COMPACT = 4096
"""Convolutions with as many weights, and more, become eight bits a weight in a compact file."""


def write(
    network: StyleNetwork,
    about: dict[str, Any],
    path: Path,
    *,
    compact: bool = False,
    tell: Callable[[parity.Differences], None] = lambda _: None,
) -> Card:
    """Write ``network`` as the style file ``path`` and its weights as ``path`` with ``.safetensors``; returns the card.

    ``network`` maps float32 NCHW RGB in [0, 1] to the same and tells ``arguments``, ``multiple_of``, ``min_side`` and ``receptive_field``;
    ``about`` holds the card's other entries. Weights are stored in half precision; with ``compact`` those of large convolutions in eight
    bits (``rounded``), which makes the style file about half as large. It is opened again and must give what torch gives (``parity``, whose
    numbers ``tell`` is told); both files appear whole or not at all. Raises ``LimnerError`` otherwise.
    """
    require(path.suffix == ".onnx", f"A style file ends in .onnx, which {path} does not: give it that ending.")
    network = copy.deepcopy(network)
    network.cpu().float().eval().requires_grad_(False)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.copy_(tensor.half())
        for parameter in network.parameters() if compact else ():
            if parameter.ndim == 4 and parameter.numel() >= COMPACT:
                parameter.copy_(rounded(parameter))
        # Both files hold the same rounded weights, and the check below sees them, too.
    weights = {name: tensor.half().contiguous() for name, tensor in sorted(network.state_dict().items())}
    card = Card(
        network=dict(network.arguments),
        multiple_of=network.multiple_of,
        min_side=network.min_side,
        receptive_field=network.receptive_field,
        parameters=sum(tensor.numel() for tensor in weights.values()),
        weights_sha256=_hash(weights),
        limner_version=__version__,
        **about,
    )
    model = to_onnx(network, optimize=network.multiple_of % 2 == 0)
    helper.set_model_props(model, {KEY: card.to_json()})
    onnx.checker.check_model(model, full_check=True)
    with trial() as beside:
        beside.write_bytes(model.SerializeToString())
        tell(parity.check(network, beside))
    with replacing(path) as beside:
        beside.write_bytes(model.SerializeToString())
    with replacing(path.with_suffix(".safetensors")) as beside:
        beside.write_bytes(save(weights, {"format": "pt", KEY: card.to_json()}))
    return card


def to_onnx(network: nn.Module, *, optimize: bool = True) -> onnx.ModelProto:
    """``network`` as an ONNX model; ``optimize`` makes its graph faster."""
    network = with_instance_norm(network)
    dynamic = torch.export.Dim.DYNAMIC
    quiet = logging.getLogger("torch.onnx")
    level = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's own deprecations
            program = torch.onnx.export(
                network,
                (torch.rand(2, 3, 64, 96),),
                input_names=["image"],
                output_names=["stylized"],
                dynamic_shapes=({0: dynamic, 2: dynamic, 3: dynamic},),
                dynamo=True,
                verbose=False,
            )
    finally:
        quiet.setLevel(level)
    assert program is not None
    graph = program.model_proto.graph
    if optimize:
        graph_optimization.optimize(graph)
    nodes = [helper.make_node(n.op_type, n.input, n.output, name=n.output[0], domain=n.domain) for n in graph.node]
    for node, old in zip(nodes, graph.node, strict=True):
        node.attribute.extend(old.attribute)
    # A graph of our own: the exporter's carries the paths and names of the Python sources along.
    # Engines look for the scales of a Resize among the constants (OpenCV): they stay as they are.
    sizes = {name for node in graph.node if node.op_type == "Resize" for name in node.input[1:]}
    own = network.state_dict().keys()
    weights = [tensor for tensor in graph.initializer if _is_weight(tensor, own) and tensor.name not in sizes]
    halved = {tensor.name for tensor in weights}
    kept = [tensor for tensor in graph.initializer if tensor.name not in halved]
    stored, casts = [], []
    for tensor in weights:
        name, values = tensor.name, numpy_helper.to_array(tensor)
        if (scales := _scales(values)) is not None:
            stored.append(numpy_helper.from_array((values / scales).astype(np.int8), f"{name}.int8"))
            stored.append(numpy_helper.from_array(scales, f"{name}.scales"))
            casts.append(helper.make_node("Cast", [f"{name}.int8"], [f"{name}.steps"], name=f"{name}.steps", to=TensorProto.FLOAT))
            casts.append(helper.make_node("Mul", [f"{name}.steps", f"{name}.scales"], [name], name=name))
        else:
            stored.append(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
            casts.append(helper.make_node("Cast", [f"{name}.half"], [name], name=name, to=TensorProto.FLOAT))
    shape = ["batch", 3, "height", "width"]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("image", "stylized")]
    clean = helper.make_graph(casts + nodes, "style", ends[:1], ends[1:], kept + stored)
    opset = next(entry.version for entry in program.model_proto.opset_import if not entry.domain)
    return helper.make_model(clean, opset_imports=[helper.make_opsetid("", opset)], ir_version=10, producer_name="limner")


def rounded(weight: Tensor) -> Tensor:
    """A convolution's weight, float32 O x I x H x W, rounded to 127 steps either way of a power of two, each output's own: half precision
    holds these exactly, and so do eight bits and the power.
    """
    largest = weight.abs().amax((1, 2, 3), keepdim=True).clamp_min(1e-6)
    step = torch.exp2(torch.ceil(torch.log2(largest / 127)))
    return (weight / step).round() * step + 0.0  # eight bits know no negative zero


def _scales(values: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """The steps of a weight that was ``rounded``, O x 1 x 1 x 1; None of any other."""
    if values.ndim != 4 or values.size < COMPACT:
        return None
    # The largest of each output is 64 steps or more, so it still tells the step.
    largest = np.maximum(np.abs(values).max((1, 2, 3), keepdims=True), 1e-6)
    scales: NDArray[np.float32] = np.exp2(np.ceil(np.log2(largest / 127))).astype(np.float32)
    whole = values / scales
    return scales if (whole == np.round(whole)).all() else None


def _is_weight(tensor: TensorProto, own: Collection[str]) -> bool:
    """Small constants that the exporter worked out are none: torch, with which the file is compared, does not round them."""
    return tensor.data_type == TensorProto.FLOAT and bool(tensor.name.removesuffix(".squares") in own or np.prod(tensor.dims) >= COMPACT)


def with_instance_norm(network: nn.Module) -> nn.Module:
    """A copy in which a GroupNorm with a group per channel is what it means: an InstanceNorm, which exports as one node."""
    network = copy.deepcopy(network)
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.GroupNorm) and child.num_groups == child.num_channels:
                same = nn.InstanceNorm2d(child.num_channels, child.eps, affine=child.affine)
                same.load_state_dict(child.state_dict())
                setattr(module, name, same)
    return network.eval()


def _hash(weights: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in weights.items():
        digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()
