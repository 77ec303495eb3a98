"""The network in a style file, looked at before an engine opens it: a file from a stranger can at worst be refused.

An ONNX file may hold loops that never end, shapes of terabytes and the names of other files. Those of Limner hold none of that: operators
that networks for pictures are made of, one after the other, and weights. What is in a file is told from its bytes alone, without any ONNX
library: it is a protocol buffer (https://onnx.ai/onnx/repo-docs/IR.html).
"""

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

# fmt: off
OPERATORS = frozenset([
    "Abs", "Add", "AveragePool", "BatchNormalization", "Cast", "Ceil", "Clip", "Concat", "Constant", "Conv", "ConvTranspose",
    "DepthToSpace", "DequantizeLinear", "Div", "Elu", "Erf", "Exp", "Floor", "Gather", "Gelu", "GlobalAveragePool", "Greater",
    "GreaterOrEqual", "GroupNormalization", "HardSigmoid", "HardSwish", "Identity", "InstanceNormalization", "LayerNormalization",
    "LeakyRelu", "Less", "LessOrEqual", "Log", "Max", "MaxPool", "Min", "Mish", "Mod", "Mul", "Neg", "PRelu", "Pad", "Pow",
    "QuantizeLinear", "Reciprocal", "ReduceMean", "ReduceSum", "Relu", "Reshape", "Resize", "Selu", "Shape", "Sigmoid", "Sign", "Slice",
    "Softmax", "Softplus", "Softsign", "SpaceToDepth", "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Tanh", "ThresholdedRelu", "Tile",
    "Transpose", "Unsqueeze", "Where",
])
# fmt: on
"""What a style's network may be made of. None of them repeats, branches, draws random numbers or makes a shape out of nothing."""

_WHOLE = {"GlobalAveragePool", "GroupNormalization", "InstanceNormalization", "LayerNormalization", "ReduceMean", "ReduceSum"}

NODES, DEPTH = 10_000, 8
NUMBER = 1 << 16
"""Most of a size, stride or number of rows to pad that stands in a network."""
_NO_END = (1 << 31) - 1
"""Slices say by such a number, or a larger one, that they go to the end."""

_FLOAT, _INTEGERS = 1, {6: 4, 7: 8}
_BYTES = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 16: 2}
"""Bytes of a value by ONNX's number of its type."""


class Field(NamedTuple):
    """A field of a protocol buffer message."""

    number: int
    value: int | memoryview


def fields(message: memoryview) -> Iterator[Field]:
    """Raises ``ValueError`` or ``IndexError`` where it is not one."""
    position = 0

    def varint() -> int:
        nonlocal position
        value = shift = 0
        while True:
            byte = message[position]
            position += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value
            if shift > 63:
                raise ValueError("not a protocol buffer")

    while position < len(message):
        tag = varint()
        kind = tag & 7
        if kind == 0:
            yield Field(tag >> 3, varint())
            continue
        if kind not in (1, 2, 5):
            raise ValueError("not a protocol buffer")
        length = {1: 8, 5: 4}[kind] if kind != 2 else varint()
        if position + length > len(message):
            raise ValueError("cut off")
        yield Field(tag >> 3, message[position : position + length])
        position += length


def metadata(model: memoryview) -> dict[str, str]:
    """``metadata_props`` of a model: field 14, a key (1) and a value (2) each."""
    entries = ({number: _bytes(value) for number, value in fields(entry)} for entry in _all(fields(model), 14))
    return {bytes(entry[1]).decode(): bytes(entry[2]).decode() for entry in entries if entry.keys() >= {1, 2}}


def sees_whole(model: memoryview) -> bool:
    """Whether a network, once checked, measures means over the whole picture, so that what it paints at one place hangs on all others."""
    (graph,) = _all(fields(model), 7)
    return any(_text(fields(node), 4) in _WHOLE for node in _all(fields(graph), 1))


def check(model: memoryview) -> None:
    """Raise ``ValueError`` where a model is none that a style file may hold."""
    parts = list(fields(model))
    _forbid(parts, {20: "parts for training", 25: "functions"})
    for opset in _all(parts, 8):
        _require(_text(fields(opset), 1) in ("", "ai.onnx"), "it asks for operators that are not ONNX's own")
    graphs = list(_all(parts, 7))
    _require(len(graphs) == 1, "it holds no network")
    graph = list(fields(graphs[0]))
    _forbid(graph, {15: "sparse weights"})
    names = set()
    for tensor in (list(fields(each)) for each in _all(graph, 5)):
        _check_tensor(tensor)
        names.add(_text(tensor, 8))
    inputs = [_text(fields(each), 1) for each in _all(graph, 11)]
    outputs = [_text(fields(each), 1) for each in _all(graph, 12)]
    _require([name for name in inputs if name not in names] == ["image"] and outputs == ["stylized"], "its network takes no picture")
    for count, node in enumerate(_all(graph, 1)):
        _require(count < NODES, f"it has more than {NODES:,} operators")
        _check_node(node)


def _check_node(node: memoryview) -> None:
    found = list(fields(node))
    name, domain = _text(found, 4), _text(found, 7)
    _require(name in OPERATORS and domain in ("", "ai.onnx"), f"its network holds {name[:40]!r}, which no style needs")
    for attribute in (list(fields(each)) for each in _all(found, 5)):
        _forbid(
            attribute, {6: "networks inside its network", 11: "networks inside its network", 22: "sparse weights", 23: "sparse weights"}
        )
        for tensor in (*_all(attribute, 5), *_all(attribute, 10)):
            _check_tensor(list(fields(tensor)))
        _check_numbers((*_integers(attribute, 8), *_integers(attribute, 3)))


def _check_tensor(tensor: list[Field]) -> None:
    _forbid(tensor, {13: "weights in other files", 3: "weights in parts"})
    _require(not any(_integers(tensor, 14)), "it keeps weights in other files")
    shape, kind = list(_integers(tensor, 1)), next(iter(_integers(tensor, 2)), 0)
    _require(kind in _BYTES and len(shape) <= DEPTH and all(0 <= side < 1 << 31 for side in shape), "a weight has no possible shape")
    raw = [_bytes(value) for number, value in tensor if number == 9]
    typed = sum(len(value) if isinstance(value, memoryview) else 1 for number, value in tensor if number in (4, 5, 7, 10, 11))
    values = math.prod(shape)
    # Numbers of a type of their own take at least a byte each.
    _require(sum(map(len, raw)) == values * _BYTES[kind] if raw else values <= typed, "a weight is not whole")
    if kind in _INTEGERS and values <= 64:
        data, size = b"".join(raw), _INTEGERS[kind]
        numbers = (int.from_bytes(data[at : at + size], "little", signed=True) for at in range(0, len(data), size))
        _check_numbers((*numbers, *_integers(tensor, 5), *_integers(tensor, 7)))


def _check_numbers(numbers: Iterable[int]) -> None:
    _require(all(abs(number) <= NUMBER or abs(number) >= _NO_END for number in numbers), "a size in its network is not possible")


def _forbid(message: Iterable[Field], numbers: dict[int, str]) -> None:
    for number, _ in message:
        _require(number not in numbers, f"it holds {numbers.get(number)}")


def _require(condition: bool, reason: str) -> None:
    if not condition:
        raise ValueError(reason)


def _all(message: Iterable[Field], wanted: int) -> Iterator[memoryview]:
    return (_bytes(value) for number, value in message if number == wanted)


def _bytes(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError("not of this type")
    return value


def _text(message: Iterable[Field], wanted: int) -> str:
    """The last one counts, as everywhere in protocol buffers."""
    found = b""
    for value in _all(message, wanted):
        found = bytes(value)
    return found.decode()


def _integers(message: Iterable[Field], wanted: int) -> Iterator[int]:
    """Whole numbers of a field, one by one or packed; 64 bits with a sign."""
    for number, value in message:
        if number != wanted:
            continue
        for each in [value] if isinstance(value, int) else _packed(value):
            yield each - (1 << 64) if each >= 1 << 63 else each


def _packed(data: memoryview) -> Iterator[int]:
    value = shift = 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield value
            value = shift = 0
        elif shift > 63:
            raise ValueError("not a protocol buffer")
