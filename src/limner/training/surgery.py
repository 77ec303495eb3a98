"""Surgery: the same network with a fuller last operation, which engines run faster. What it paints stays the same but for rounding.

A last convolution with three outputs leaves most of a processor's lanes idle. Moved by two pixels at a time it gives squares of 2 x 2
pixels, twelve outputs, with a kernel that is larger by one and has zeros where the smaller one does not reach.

Upsampling and the convolution behind it could be one transposed convolution likewise. They are left alone: its weights are sums, which bf16
and int8 round differently for each pixel of a square, and where a picture is of one colour, instance norm makes a mesh of that.
"""

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, helper, numpy_helper


def operate(graph: GraphProto) -> None:
    """Rewrite the float32 ``graph`` in place; its pictures' sides must be even."""
    for node in list(graph.node):
        if node.op_type == "Conv":
            _paint_in_squares(graph, node)


def _paint_in_squares(graph: GraphProto, conv: NodeProto) -> None:
    weights = _values(graph, conv.input[1])
    outputs, inputs, side = weights.shape[:3]
    pad = _maker(graph, conv.input[0])
    if not (pad and outputs == 3 and side >= 7 and _is_plain(conv) and _is_reflection(graph, pad, side // 2)):
        return
    squares = np.zeros((outputs, 2, 2, inputs, side + 1, side + 1), np.float32)
    for row in range(2):
        for column in range(2):
            squares[:, row, column, :, row : row + side, column : column + side] = weights
    kernel = _constant(graph, f"{conv.input[1]}.squares", squares.reshape(4 * outputs, inputs, side + 1, side + 1))
    bias = _constant(graph, f"{conv.input[2]}.squares", _values(graph, conv.input[2]).repeat(4))
    in_squares = f"{conv.output[0]}.squares"
    size = [side + 1, side + 1]
    wide = helper.make_node("Conv", [conv.input[0], kernel, bias], [in_squares], kernel_shape=size, strides=[2, 2])
    apart = helper.make_node("DepthToSpace", [in_squares], list(conv.output), blocksize=2, mode="CRD")
    _replace(graph, conv, [wide, apart])


def _is_plain(conv: NodeProto) -> bool:
    """A convolution with bias that moves pixel by pixel and pads nothing by itself."""
    given = {attribute.name: helper.get_attribute_value(attribute) for attribute in conv.attribute}
    ones = all(set(given.get(name, [1])) == {1} for name in ("strides", "dilations"))
    return len(conv.input) == 3 and ones and given.get("group", 1) == 1 and not any(given.get("pads", []))


def _is_reflection(graph: GraphProto, pad: NodeProto, width: int) -> bool:
    mode = next((helper.get_attribute_value(a) for a in pad.attribute if a.name == "mode"), b"")
    return pad.op_type == "Pad" and mode == b"reflect" and _values(graph, pad.input[1]).tolist() == [0, 0, width, width] * 2


def _maker(graph: GraphProto, name: str) -> NodeProto | None:
    return next((node for node in graph.node if name in node.output), None)


def _values(graph: GraphProto, name: str) -> NDArray[np.float32]:
    """A constant's values; an empty array where ``name`` is none."""
    tensor = next((tensor for tensor in graph.initializer if tensor.name == name), None)
    values: NDArray[np.float32] = np.zeros((0, 0, 0, 0), np.float32) if tensor is None else numpy_helper.to_array(tensor)
    return values


def _constant(graph: GraphProto, name: str, values: NDArray[np.float32]) -> str:
    graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
    return name


def _replace(graph: GraphProto, old: NodeProto, new: list[NodeProto]) -> None:
    """Put ``new`` where ``old`` stood, and drop constants that nobody needs any more."""
    place = list(graph.node).index(old)
    nodes = [*graph.node[:place], *new, *graph.node[place + 1 :]]
    del graph.node[:]
    graph.node.extend(nodes)
    needed = {name for node in graph.node for name in node.input}
    constants = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.initializer[:]
    graph.initializer.extend(constants)
