"""A style's network cut at its instance norms, so that a picture of any size can go through it in bands.

An instance norm asks for mean and variance of a whole picture. Bands (or tiles) that take their own come out with seams and in different
colours; statistics of a thumbnail, or of samples, are off by several 255ths, and refining them by going through the picture repeatedly does
not converge. So each stage ends where a norm begins: all bands go through the stage, their sums give the norm's statistics exactly, and
with these the next stage goes on. Nothing is computed twice but a few rows between bands, and the widest layers, which take less to compute
again than to keep.

The cut is made in the graph when a style file is opened: it works for every style file whose network is made of what networks for pictures
are made of (``_reach``), and the file itself stays a plain ONNX graph.
"""

import math
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino import opset13 as op

from limner.errors import LimnerError, TooLargeError
from limner.style.runtimes.contract import Array
from limner.style.runtimes.openvino_engine import core, read, settings

KEPT = 40
"""Bytes for each pixel of the picture that a layer may take to be kept, in half precision, and not computed again."""

REACH = 400.0
"""Rows of the picture that a stage may see beyond a band, on each side, times the most values that it has for each pixel: a network without
norm is cut where it would see further. Bands would else compute most of what they compute twice; where layers are small, bands are high."""

SIDE = 512
"""Of the picture by which layers' sizes are found out."""

# fmt: off
ELEMENTWISE = frozenset([
    "Abs", "Add", "Clamp", "Convert", "Divide", "Elu", "Exp", "FakeQuantize", "Gelu", "Greater",
    "GreaterEqual", "HSigmoid", "HSwish", "LeakyRelu", "Less", "LessEqual", "Log", "Maximum",
    "Minimum", "Mish", "Multiply", "MVN", "Negative", "PRelu", "Power", "Relu", "Select",
    "Sigmoid", "SoftPlus", "Sqrt", "Subtract", "Swish", "Tanh",
])
# fmt: on


class Value(NamedTuple):
    """What an operation gives, by which it is known in every copy of a network."""

    node: str
    port: int


@dataclass(frozen=True)
class Layer:
    """What lies between stages: features, float16 1 x ``channels`` x H x W."""

    value: Value
    channels: int
    scale: Fraction
    """Its height as a part of the picture's, and its width as well."""

    @property
    def values(self) -> float:
        """For each pixel of the picture."""
        return float(self.channels * self.scale**2)


@dataclass(frozen=True)
class Norm:
    """Mean and inverse deviation are float32 1 x C x 1 x 1."""

    name: str
    layer: Layer
    """What is normalised."""
    eps: float


@dataclass
class Stage:
    """From the picture and kept layers to further layers, and to the sums that the next norms need."""

    number: int
    reads: list[Layer] = field(default_factory=list)
    reads_picture: bool = False
    norms: list[Norm] = field(default_factory=list)
    """Whose statistics must be known."""
    writes: list[Layer] = field(default_factory=list)
    measures: list[Norm] = field(default_factory=list)
    """Whose statistics are known when all bands are through."""
    above: int = 0
    below: int = 0
    """Rows of the picture that a band must see beyond its own."""
    bytes_each: float = 0.0
    """Of memory, for each pixel of a band."""
    last: bool = False
    """Gives the stylized picture."""


class Measured(NamedTuple):
    """What a band tells of a norm, float32 1 x C x 1 x 1 each."""

    centre: Array
    """A number near the mean."""
    left: Array
    """The mean of what is left when that is taken off, with zeros where rows do not count."""
    length: Array
    """The root of the sum of its squares."""


@dataclass(frozen=True)
class Painted:
    """What a stage makes of a band. The next band of the same thread overwrites what is written and stylized."""

    written: dict[Value, NDArray[np.float16]]
    """Each of the stage's ``writes``."""
    measured: dict[str, Measured]
    """Of each of the stage's ``measures``, by name."""
    stylized: Array | None
    """The picture, float32 1 x 3 x rows x W, if it is the last stage."""


Run = Callable[[Array | None, Sequence[NDArray[np.float16]], dict[str, tuple[Array, Array]], Sequence[Array], int], Painted]


class _Graph:
    """A network for pictures of one size: its operations in order, and for each value the stage that gives it, its ``level``."""

    def __init__(self, path: Path, model: Any, side: int) -> None:
        self._path = path
        self._picture = _value(model.inputs[0].get_node().output(0))
        self._result = _value(model.outputs[0].get_node().input_value(0))
        self._order = [node for node in model.get_ordered_ops() if node.get_type_name() not in ("Parameter", "Constant", "Result")]
        self.layers = {self._picture: Layer(self._picture, 3, Fraction(1))}
        """Features of the picture's form."""
        self._level = {self._picture: 0}
        self._find_levels(side)
        self._norms = {node.get_friendly_name(): self._norm(node) for node in self._order if node.get_type_name() == "MVN"}
        self._kept = {value: self._level[value] for node in self._order for output in node.outputs() if (value := self._to_keep(output))}

    def _find_levels(self, side: int) -> None:
        """A stage ends where a norm begins, and where it would see too far."""
        reach, widest = {self._picture: 0.0}, {self._picture: 3.0}  # both since the last cut
        for node in self._order:
            seen = [value for value in map(_value, node.input_values()) if value in self._level]
            if not seen or node.get_type_name() == "ShapeOf":
                continue
            outputs = [_value(output) for output in node.outputs()]
            self.layers |= {value: layer for value, output in zip(outputs, node.outputs(), strict=True) if (layer := _layer(output, side))}
            level = max(self._level[value] for value in seen)
            newest = [value for value in seen if self._level[value] == level]
            far = max(reach[value] for value in newest)
            wide = max(*(self._values(value) for value in (*seen, outputs[0])), *(widest[value] for value in newest))
            more = _more(node, self.layers.get(seen[0]))
            too_far = far > 0 and more > 0 and far + more > REACH / wide and all(self._is_small(value) for value in seen)
            if node.get_type_name() == "MVN" or too_far:
                level, far, wide = level + 1, 0.0, self._values(outputs[0])
            for value in outputs:
                self._level[value], reach[value], widest[value] = level, far + more, wide

    def _values(self, value: Value) -> float:
        """For each pixel of the picture."""
        return self.layers[value].values if value in self.layers else 0.0

    def _is_small(self, value: Value) -> bool:
        """Whether a layer takes little enough to be kept."""
        return value in self.layers and self.layers[value].values * 2 <= KEPT

    def stages(self, multiple: int) -> list[Stage]:
        """The network in stages, for bands whose sides are multiples of ``multiple``."""
        return [self._stage(number, multiple) for number in range(self._level[self._result] + 1)]

    def _norm(self, node: Any) -> Norm:
        layer = self.layers.get(_value(node.input_value(0)))
        if layer is None or sorted(np.ravel(node.input_value(1).get_node().get_data()) % 4) != [2, 3]:
            raise _uncuttable(self._path, "MVN")
        return Norm(node.get_friendly_name(), layer, float(node.get_attributes()["eps"]))

    def _to_keep(self, output: Any) -> Value | None:
        """What later stages read, where it is small enough."""
        own = _value(output)
        if not self._is_small(own):
            return None
        users = [_value(value) for each in output.get_target_inputs() for value in each.get_node().outputs()]
        later = any(self._level.get(user, 0) > self._level[own] for user in users)
        return own if later else None

    def _stage(self, number: int, multiple: int) -> Stage:
        writes = [value for value, level in self._kept.items() if level == number]
        measures = [norm for norm in self._norms.values() if self._level[norm.layer.value] == number]
        last = number == self._level[self._result]
        ends = [*writes, *(norm.layer.value for norm in measures), *([self._result] if last else [])]
        known = {value for value, level in self._kept.items() if level < number}
        stage = Stage(number, writes=[self.layers[value] for value in writes], measures=measures, last=last)
        needed = self._walk_back(stage, ends, known)
        stage.reads = [self.layers[value] for value in needed if value in known]
        stage.reads_picture = self._picture in needed
        reaches = [(needed[layer.value], layer.scale) for layer in stage.reads]
        reaches += [(needed[self._picture], Fraction(1))] if stage.reads_picture else []
        rows = [[math.ceil(max(each[side], Fraction(0)) / scale) for each, scale in reaches] for side in (0, 1)]
        stage.above, stage.below = (-(-max(side) // multiple) * multiple for side in rows)
        return stage

    def _walk_back(self, stage: Stage, ends: Iterable[Value], known: set[Value]) -> dict[Value, tuple[Fraction, Fraction]]:
        """What the stage needs, and how many rows above and below a band: from its results back to what is ``known`` already."""
        needed = dict.fromkeys(ends, (Fraction(0), Fraction(0)))
        widest = Fraction(3)
        for node in reversed(self._order):
            values = [_value(output) for output in node.outputs()]
            wanted = [needed[value] for value in values if value in needed]
            if not wanted or known.issuperset(values):
                continue
            above, below = max(each[0] for each in wanted), max(each[1] for each in wanted)
            if node.get_type_name() == "MVN":
                stage.norms.append(self._norms[node.get_friendly_name()])
            if layer := self.layers.get(values[0]):
                widest = max(widest, layer.channels * layer.scale**2)
            for value in map(_value, node.input_values()):
                if value != self._picture and value not in self._level:
                    continue  # weights, and what is computed of shapes
                reach = _reach(self._path, node, above, below)
                before = needed.get(value, reach)
                needed[value] = (max(before[0], reach[0]), max(before[1], reach[1]))
        stage.bytes_each = float(widest) * 4 * 4
        return needed


class Stages:
    """The stages of the network in a style file. Raises ``LimnerError`` where it cannot be cut."""

    streams = min(os.cpu_count() or 1, 4)
    """Bands that are painted at a time, each by its part of the cores: what is serial about one goes on beside the others."""

    def __init__(self, path: Path, precision: str = "auto") -> None:
        self.path, self.precision = path, precision
        self._network = read(path)
        _name_squares(self._network, self._static())
        self._canvases = _canvases(self._network)
        graph = _Graph(path, self._static(), SIDE)
        self.multiple = math.lcm(*(layer.scale.denominator for layer in graph.layers.values()))
        self.stages = graph.stages(self.multiple)

    def _static(self) -> Any:
        """A copy for pictures of one size, where all shapes are known."""
        model = self._network.clone()  # which keeps the names of its nodes
        model.reshape([1, 3, SIDE, SIDE])
        return model

    def compile(self, stage: Stage, rows: int, width: int) -> Run:
        """For bands of ``rows`` x ``width`` pixels of the picture. Called with

        - the band of the picture, float32 1 x 3 x rows x width in [0, 1], if the stage reads it, and of each of ``stage.reads``;
        - the statistics of ``stage.norms``, by name: factor and summand;
        - for each of ``stage.measures`` a mask, float32 1 x 1 x H x 1, of the rows that count;
        - the number of the band's first row, for what the network repeats over the picture: a canvas;

        it returns what is ``Painted``. ``streams`` threads may run bands at a time.
        """
        model = self._network.clone()
        nodes = {node.get_friendly_name(): node for node in model.get_ordered_ops()}
        parameters: list[Any] = []

        def parameter(shape: Sequence[int], kind: Any = np.float32) -> Any:
            parameters.append(op.parameter(list(shape), kind))
            return parameters[-1]

        if stage.reads_picture:
            parameters.append(model.inputs[0].get_node())
        layers = [*stage.writes, *(norm.layer for norm in stage.measures)]
        ends = {layer.value: nodes[layer.value.node].output(layer.value.port) for layer in layers}
        result = model.outputs[0].get_node().input_value(0)
        for layer in stage.reads:
            source = parameter(_shape(layer, rows, width), np.float16)
            nodes[layer.value.node].output(layer.value.port).replace(op.convert(source, "f32").output(0))
        for norm in stage.norms:
            node = nodes[norm.name]
            factor, summand = (parameter([1, norm.layer.channels, 1, 1]) for _ in range(2))
            node.output(0).replace(op.add(op.multiply(node.input_value(0), factor), summand).output(0))
        canvases = [] if not stage.reads_picture else list(self._canvases.items())
        for name, canvas in canvases:
            nodes[name].input(0).replace_source_output(parameter(canvas.shape).output(0))
        results = [op.result(op.convert(ends[layer.value], "f16")) for layer in stage.writes]
        everywhere = op.constant(np.array([2, 3], np.int64))
        for norm in stage.measures:
            mask = parameter([1, 1, _shape(norm.layer, rows, width)[2], 1])
            centre = op.reduce_mean(ends[norm.layer.value], everywhere, keep_dims=True)
            apart = op.multiply(op.subtract(ends[norm.layer.value], centre), mask)
            results.append(op.result(centre))
            results.append(op.result(op.reduce_mean(apart, everywhere, keep_dims=True)))
            results.append(op.result(op.reduce_l2(apart, everywhere, keep_dims=True)))
        if stage.last:
            results.append(op.result(result))
        part = openvino.Model(results, parameters, f"stage {stage.number}")
        if stage.reads_picture:
            part.reshape({part.inputs[0]: [1, 3, rows, width]})
        compiled = core().compile_model(part, "CPU", settings(self.precision) | {"NUM_STREAMS": str(self.streams)})
        mine = threading.local()

        def run(
            picture: Array | None,
            reads: Sequence[NDArray[np.float16]],
            statistics: dict[str, tuple[Array, Array]],
            masks: Sequence[Array],
            first: int,
        ) -> Painted:
            inputs: list[Any] = [picture] if stage.reads_picture else []
            inputs += [
                *reads,
                *(each for norm in stage.norms for each in statistics[norm.name]),
                *(np.roll(canvas, -first, axis=2) for _, canvas in canvases),
                *masks,
            ]
            if not hasattr(mine, "request"):
                mine.request = compiled.create_infer_request()
            mine.request.infer(dict(enumerate(inputs)), share_inputs=True)
            found = iter([mine.request.get_output_tensor(number).data for number in range(len(results))])
            written = {layer.value: next(found) for layer in stage.writes}
            measured = {norm.name: Measured(*(next(found).copy() for _ in Measured._fields)) for norm in stage.measures}
            return Painted(written, measured, next(found) if stage.last else None)

        return run


def _name_squares(network: Any, static: Any) -> None:
    """Squares of pixels that become channels (PixelUnshuffle) are exported as three operations, which cannot be cut: make one of them."""
    nodes = {node.get_friendly_name(): node for node in network.get_ordered_ops()}
    for node in static.get_ordered_ops():
        if node.get_type_name() != "Transpose" or list(_constants(node.input_value(1))) != [0, 1, 3, 5, 2, 4]:
            continue
        before, after = node.input_value(0).get_node(), next(iter(node.output(0).get_target_inputs())).get_node()
        if before.get_type_name() == after.get_type_name() == "Reshape":
            block = node.input_value(0).get_shape()[3]
            end = nodes[after.get_friendly_name()]
            squares = op.space_to_depth(nodes[before.get_friendly_name()].input_value(0), "depth_first", block)
            end.output(0).replace(squares.output(0))
            squares.set_friendly_name(end.get_friendly_name())


def _canvases(network: Any) -> dict[str, Array]:
    """Constants, 1 x C x P x P, that the network repeats over the picture, by the operation that does it."""
    found = {}
    for node in network.get_ordered_ops():
        if node.get_type_name() == "Tile":
            source = node.input_value(0).get_node()
            values = (source.input_value(0).get_node() if source.get_type_name() == "Convert" else source).get_data()
            found[node.get_friendly_name()] = np.asarray(values, np.float32)
    return found


def _constants(value: Any) -> Any:
    """A constant's values; none where it is something else."""
    node = value.get_node()
    return np.ravel(node.get_data()) if node.get_type_name() == "Constant" else ()


def _value(output: Any) -> Value:
    return Value(output.get_node().get_friendly_name(), output.get_index())


def _layer(output: Any, side: int) -> Layer | None:
    """None for what is no picture, or a little larger than one: padded."""
    shape = output.get_partial_shape()
    if shape.is_dynamic or len(shape) != 4:
        return None
    _, channels, height, width = shape.to_shape()
    scale = Fraction(height, side)
    return Layer(_value(output), channels, scale) if height == width and height > 8 and scale.denominator <= 32 else None


def _shape(layer: Layer, rows: int, width: int) -> list[int]:
    return [1, layer.channels, int(rows * layer.scale), int(width * layer.scale)]


def _more(node: Any, seen: Layer | None) -> float:
    """Rows of the picture, on each side, that an operation sees beyond its own."""
    name, attributes = node.get_type_name(), node.get_attributes()
    if name == "Pad":
        return float(np.ravel(node.input_value(1).get_node().get_data())[2] / (seen.scale if seen else 1))
    if name in ("Convolution", "GroupConvolution", "MaxPool", "AvgPool"):
        return float(attributes["pads_begin"][0] / (seen.scale if seen else 1))
    if name == "Interpolate" and attributes["mode"] != "nearest":
        return float(1 / (seen.scale if seen else 1))
    return 0.0


def _uncuttable(path: Path, name: str) -> LimnerError:
    return TooLargeError(f"{path} has a network that cannot be applied in bands ({name}): make the picture smaller.")


def _reach(path: Path, node: Any, above: Fraction, below: Fraction) -> tuple[Fraction, Fraction]:
    """Rows of the input that are needed beyond a band, above and below it, for so many of the output's rows beyond it.

    A row of the output belongs to the row of the input with its number (times or divided by the scale), so that what is needed can be
    negative, as where rows were padded on.
    """
    name = node.get_type_name()
    if name in ELEMENTWISE or (name == "Reshape" and node.get_input_partial_shape(0) == node.get_output_partial_shape(0)):
        return above, below
    attributes = node.get_attributes()
    if name == "Pad":
        before = int(np.ravel(node.input_value(1).get_node().get_data())[2])
        return above + before, below - before
    if name in ("Convolution", "GroupConvolution", "MaxPool", "AvgPool"):
        kernel = node.input_value(1).get_partial_shape()[-2].get_length() if "Convolution" in name else attributes["kernel"][0]
        stride, before = attributes["strides"][0], attributes["pads_begin"][0]
        span = (kernel - 1) * (attributes["dilations"][0] if "dilations" in attributes else 1) + 1
        return above * stride + before, below * stride + span - before - stride
    if name in ("ConvolutionBackpropData", "GroupConvolutionBackpropData"):
        kernel, stride = node.input_value(1).get_partial_shape()[-2].get_length(), attributes["strides"][0]
        return (above + kernel) / stride + 1, (below + kernel) / stride + 1
    if name == "Interpolate":
        before, after = (node_shape.get_partial_shape()[2].get_length() for node_shape in (node.input_value(0), node.output(0)))
        more = 0 if attributes["mode"] == "nearest" else 2 if attributes["mode"] == "cubic" else 1
        shrink = Fraction(before, after)
        return math.ceil(above * shrink) + Fraction(more), math.ceil(below * shrink) + Fraction(more)
    if name in ("DepthToSpace", "SpaceToDepth"):
        block = attributes["block_size"]
        factor = Fraction(1, block) if name == "DepthToSpace" else Fraction(block)
        return Fraction(math.ceil(above * factor)), Fraction(math.ceil(below * factor))
    if name in ("Concat", "Split", "VariadicSplit", "StridedSlice", "Slice") and _same_height(node):
        return above, below
    if name == "Softmax" and attributes["axis"] == 1:
        return above, below
    raise _uncuttable(path, name)


def _same_height(node: Any) -> bool:
    """Of what it puts together or takes apart, in depth alone."""
    shapes = [value.get_partial_shape() for value in (node.input_value(0), *node.outputs())]
    return all(len(shape) == 4 and shape[2:] == shapes[0][2:] for shape in shapes)
