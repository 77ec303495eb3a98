"""Graph optimization: the same network with a fuller last operation, faster in engines. It paints the same but for rounding.

A last convolution with three outputs leaves most of a processor's lanes idle. Moved by two pixels at a time it gives squares of 2 x 2
pixels, twelve outputs, with a kernel that is larger by one and has zeros where the smaller one does not reach.

Upsampling and the convolution behind it could be one transposed convolution likewise. They are left alone: its weights are sums, which bf16
and int8 round differently for each pixel of a square, and where a picture is of one colour, instance norm makes a mesh of that.
"""

import math

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, helper, numpy_helper


def optimize(graph: GraphProto) -> None:
    """Rewrite the float32 ``graph`` in place; its pictures' sides must be even."""
    for node in list(graph.node):
        if node.op_type == "Conv":
            _paint_in_squares(graph, node)
        elif node.op_type == "Transpose":
            _see_in_squares(graph, node)
        elif node.op_type == "Expand":
            _expand_nothing(graph, node)


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


def _see_in_squares(graph: GraphProto, transpose: NodeProto) -> None:
    """Squares of the picture's pixels as channels (PixelUnshuffle) are exported with sizes that are computed as it runs, which some engines
    cannot read (OpenCV), and which cannot be cut into bands: a convolution that picks each pixel out is the same."""
    given = {attribute.name: helper.get_attribute_value(attribute) for attribute in transpose.attribute}
    if list(given.get("perm", [])) != [0, 1, 3, 5, 2, 4]:
        return
    source, end = transpose.input[0], transpose.output[0]
    while (maker := _maker(graph, source)) is not None and maker.op_type == "Reshape":
        source = maker.input[0]
    while (user := _user(graph, end)) is not None and user.op_type == "Reshape":
        end = user.output[0]
    reader = _user(graph, end)
    while reader is not None and reader.op_type == "Pad":
        reader = _user(graph, reader.output[0])
    side = 0 if reader is None or reader.op_type != "Conv" else math.isqrt(_values(graph, reader.input[1]).shape[1] // 3)
    last = _maker(graph, end)
    if side < 2 or last is None:
        return
    pick = _constant(graph, f"{end}.pick", picks(side))
    square = helper.make_node("Conv", [source, pick], [end], kernel_shape=[side, side], strides=[side, side])
    _replace(graph, last, [square])


def _expand_nothing(graph: GraphProto, expand: NodeProto) -> None:
    """What is repeated (a canvas) is exported as expanded by ones before, which changes nothing."""
    if not _values(graph, expand.input[0]).size or set(_values(graph, expand.input[1]).tolist()) != {1}:
        return
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name == expand.output[0]:
                node.input[place] = expand.input[0]
    _replace(graph, expand, [])


def picks(side: int) -> NDArray[np.float32]:
    """Weights of the convolution that makes channels of an RGB picture's squares, in PixelUnshuffle's order."""
    return np.eye(3 * side**2, dtype=np.float32).reshape(3 * side**2, 3, side, side)


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


def _user(graph: GraphProto, name: str) -> NodeProto | None:
    """The one node that reads a value, not only its shape; None where there are several, or none."""
    users = [node for node in graph.node if name in node.input and node.op_type != "Shape"]
    return users[0] if len(users) == 1 else None


def _values(graph: GraphProto, name: str) -> NDArray[np.float32]:
    """A constant's values; an empty array where ``name`` is none."""
    tensor = next((tensor for tensor in graph.initializer if tensor.name == name), None)
    values: NDArray[np.float32] = np.zeros((0, 0, 0, 0), np.float32) if tensor is None else numpy_helper.to_array(tensor)
    return values


def _constant(graph: GraphProto, name: str, values: NDArray[np.float32]) -> str:
    graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
    return name


def _replace(graph: GraphProto, old: NodeProto, new: list[NodeProto]) -> None:
    """Put ``new`` where ``old`` stood, and drop nodes and constants that nobody needs any more."""
    place = list(graph.node).index(old)
    nodes = [*graph.node[:place], *new, *graph.node[place + 1 :]]
    while True:
        needed = {name for node in nodes for name in node.input} | {output.name for output in graph.output}
        kept = [node for node in nodes if needed.intersection(node.output)]
        if len(kept) == len(nodes):
            break
        nodes = kept
    del graph.node[:]
    graph.node.extend(nodes)
    constants = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.initializer[:]
    graph.initializer.extend(constants)
