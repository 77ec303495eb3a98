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
from typing import Any

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
    "Abs", "Add", "Clamp", "Convert", "Divide", "Elu", "Exp", "FakeQuantize", "Gelu",
    "HSigmoid", "HSwish", "LeakyRelu", "Log", "Maximum", "Minimum", "Mish", "Multiply", "MVN",
    "Negative", "PRelu", "Power", "Relu", "Sigmoid", "SoftPlus", "Sqrt", "Subtract", "Swish",
    "Tanh",
])
# fmt: on


@dataclass(frozen=True)
class Layer:
    """What lies between stages: features, float16 1 x ``channels`` x H x W."""

    name: str
    channels: int
    scale: Fraction
    """Its height as a part of the picture's, and its width as well."""


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


Run = Callable[[Array | None, Sequence[NDArray[np.float16]], dict[str, tuple[Array, Array]], Sequence[Array], int], list[NDArray[Any]]]


class Stages:
    """The stages of the network in a style file. Raises ``LimnerError`` where it cannot be cut."""

    streams = min(os.cpu_count() or 1, 4)
    """Bands that are painted at a time, each by its part of the cores: what is serial about one goes on beside the others."""

    def __init__(self, path: Path, precision: str = "auto") -> None:
        self.path, self.precision = path, precision
        self._network = read(path)
        _name_squares(self._network, self._static())
        self._canvases = _canvases(self._network)
        self._analyse(self._static(), SIDE)

    def _static(self) -> Any:
        """A copy for pictures of one size, where all shapes are known."""
        model = self._network.clone()  # which keeps the names of its nodes
        model.reshape([1, 3, SIDE, SIDE])
        return model

    def _analyse(self, model: Any, side: int) -> None:
        picture = model.inputs[0].get_node()
        level: dict[str, int] = {}
        layers: dict[str, Layer | None] = {}
        reach: dict[str, float] = {}
        widest: dict[str, float] = {}  # both since the last cut
        order = [node for node in model.get_ordered_ops() if node.get_type_name() not in ("Parameter", "Constant", "Result")]
        source = _key(picture.output(0))
        level[source], reach[source], widest[source], layers[source] = 0, 0.0, 3.0, Layer(source, 3, Fraction(1))
        for node in order:
            inputs = [level[_key(value)] for value in node.input_values() if _key(value) in level]
            if not inputs or node.get_type_name() == "ShapeOf":
                continue
            for output in node.outputs():
                layers[_key(output)] = _layer(output, side)
            at, seen = max(inputs), [_key(value) for value in node.input_values() if _key(value) in level]
            far = max(reach[key] for key in seen if level[key] == at)
            wide = max(_values(layers.get(key)) for key in (*seen, _key(node.output(0))))
            wide = max(wide, *(widest[key] for key in seen if level[key] == at))
            more = _more(node, layers.get(seen[0]))
            if node.get_type_name() == "MVN" or (
                far > 0 and far + more > REACH / wide and all(_is_kept(layers.get(key)) for key in seen) and more > 0
            ):
                at, far, wide = at + 1, 0.0, _values(layers.get(_key(node.output(0))))
            for output in node.outputs():
                level[_key(output)], reach[_key(output)], widest[_key(output)] = at, far + more, wide
        self.multiple = math.lcm(*(found.scale.denominator for found in layers.values() if found is not None))
        result = model.outputs[0].get_node().input_value(0)
        count = level[_key(result)] + 1
        kept = {}
        for node in order:
            for output in node.outputs():
                found = layers.get(_key(output))
                later = any(
                    level.get(_key(value), 0) > level[_key(output)]
                    for each in output.get_target_inputs()
                    for value in each.get_node().outputs()
                    if _key(output) in level
                )
                if later and _is_kept(found):
                    kept[_key(output)] = level[_key(output)]
        norms = {}
        for node in order:
            if node.get_type_name() == "MVN":
                source = node.input_value(0)
                found = layers[_key(source)]
                if found is None or sorted(np.ravel(node.input_value(1).get_node().get_data()) % 4) != [2, 3]:
                    raise _uncuttable(self.path, "MVN")
                norms[node.get_friendly_name()] = (Norm(node.get_friendly_name(), found, float(node.get_attributes()["eps"])), source)
        self.stages = []
        for number in range(count):
            writes = [key for key, at in kept.items() if at == number]
            measures = [(norm, source) for norm, source in norms.values() if level[_key(source)] == number]
            ends = [*writes, *(_key(source) for _, source in measures)]
            ends += [_key(result)] if number == count - 1 else []
            stage = Stage(number, writes=[_sure(layers[key]) for key in writes], last=number == count - 1)
            stage.measures = [norm for norm, _ in measures]
            self._walk_back(stage, order, ends, {key for key, at in kept.items() if at < number}, layers, norms, _key(picture.output(0)))
            self.stages.append(stage)

    def _walk_back(
        self,
        stage: Stage,
        order: Sequence[Any],
        ends: Iterable[str],
        known: set[str],
        layers: dict[str, Layer | None],
        norms: dict[str, tuple[Norm, Any]],
        picture: str,
    ) -> None:
        """What the stage reads, and how far: from its results back to what is there already."""
        needed: dict[str, tuple[Fraction, Fraction]] = dict.fromkeys(ends, (Fraction(0), Fraction(0)))
        widest = Fraction(3)
        for node in reversed(order):
            name = node.get_type_name()
            wanted = [needed[_key(output)] for output in node.outputs() if _key(output) in needed]
            if not wanted or all(_key(output) in known for output in node.outputs()):
                continue
            above, below = max(each[0] for each in wanted), max(each[1] for each in wanted)
            if name == "MVN":
                stage.norms.append(norms[node.get_friendly_name()][0])
            found = layers.get(_key(node.output(0)))
            if found is not None:
                widest = max(widest, found.channels * found.scale**2)
            for value in node.input_values():
                key = _key(value)
                if key != picture and key not in layers:
                    continue  # weights, and what is computed of shapes
                reach = _reach(self.path, node, above, below)
                before = needed.get(key, reach)
                needed[key] = (max(before[0], reach[0]), max(before[1], reach[1]))
        used = [key for key in needed if key in known]
        stage.reads = [_sure(layers[key]) for key in used]
        stage.reads_picture = picture in needed
        reaches = [(needed[key], _sure(layers[key]).scale) for key in used] + (
            [(needed[picture], Fraction(1))] if stage.reads_picture else []
        )
        rows = [[math.ceil(max(each[side], Fraction(0)) / scale) for each, scale in reaches] for side in (0, 1)]
        stage.above, stage.below = (-(-max(side) // self.multiple) * self.multiple for side in rows)
        stage.bytes_each = float(widest) * 4 * 4

    def compile(self, stage: Stage, rows: int, width: int) -> Run:
        """For bands of ``rows`` x ``width`` pixels of the picture. Called with

        - the band of the picture, float32 1 x 3 x rows x width in [0, 1], if the stage reads it, and of each of ``stage.reads``;
        - the statistics of ``stage.norms``, by name: factor and summand;
        - for each of ``stage.measures`` a mask, float32 1 x 1 x H x 1, of the rows that count;
        - the number of the band's first row, for what the network repeats over the picture: a canvas;

        it returns ``stage.writes``, float16; of each of ``stage.measures`` a number near its mean, the mean of what is left when that is
        taken off, with zeros where rows do not count, and the root of the sum of its squares; then the stylized band, float32, if it is the
        last stage. The arrays are overwritten by the next band of the same thread; ``streams`` threads may run bands at a time.
        """
        model = self._network.clone()
        nodes = {node.get_friendly_name(): node for node in model.get_ordered_ops()}
        parameters: list[Any] = []

        def parameter(shape: Sequence[int], kind: Any = np.float32) -> Any:
            parameters.append(op.parameter(list(shape), kind))
            return parameters[-1]

        if stage.reads_picture:
            parameters.append(model.inputs[0].get_node())
        ends = {layer.name: _output(nodes, layer.name) for layer in stage.writes}
        ends |= {norm.layer.name: _output(nodes, norm.layer.name) for norm in stage.measures}
        result = model.outputs[0].get_node().input_value(0)
        for layer in stage.reads:
            source = parameter(_shape(layer, rows, width), np.float16)
            _output(nodes, layer.name).replace(op.convert(source, "f32").output(0))
        for norm in stage.norms:
            node = nodes[norm.name]
            factor, summand = (parameter([1, norm.layer.channels, 1, 1]) for _ in range(2))
            node.output(0).replace(op.add(op.multiply(node.input_value(0), factor), summand).output(0))
        canvases = [] if not stage.reads_picture else list(self._canvases.items())
        for name, canvas in canvases:
            nodes[name].input(0).replace_source_output(parameter(canvas.shape).output(0))
        results = [op.result(op.convert(ends[layer.name], "f16")) for layer in stage.writes]
        everywhere = op.constant(np.array([2, 3], np.int64))
        for norm in stage.measures:
            mask = parameter([1, 1, _shape(norm.layer, rows, width)[2], 1])
            centre = op.reduce_mean(ends[norm.layer.name], everywhere, keep_dims=True)
            apart = op.multiply(op.subtract(ends[norm.layer.name], centre), mask)
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
        ) -> list[NDArray[Any]]:
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
            return [mine.request.get_output_tensor(number).data for number in range(len(results))]

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


def _key(output: Any) -> str:
    return f"{output.get_node().get_friendly_name()}:{output.get_index()}"


def _output(nodes: dict[str, Any], key: str) -> Any:
    name, _, index = key.rpartition(":")
    return nodes[name].output(int(index))


def _layer(output: Any, side: int) -> Layer | None:
    """None for what is no picture, or a little larger than one: padded."""
    shape = output.get_partial_shape()
    if shape.is_dynamic or len(shape) != 4:
        return None
    _, channels, height, width = shape.to_shape()
    scale = Fraction(height, side)
    return Layer(_key(output), channels, scale) if height == width and height > 8 and scale.denominator <= 32 else None


def _shape(layer: Layer, rows: int, width: int) -> list[int]:
    return [1, layer.channels, int(rows * layer.scale), int(width * layer.scale)]


def _values(layer: Layer | None) -> float:
    """For each pixel of the picture."""
    return float(layer.channels * layer.scale**2) if layer is not None else 0.0


def _is_kept(layer: Layer | None) -> bool:
    """Whether a layer takes little enough to be kept."""
    return layer is not None and _values(layer) * 2 <= KEPT


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


def _sure(layer: Layer | None) -> Layer:
    assert layer is not None
    return layer


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
    raise _uncuttable(path, name)


def _same_height(node: Any) -> bool:
    """Of what it puts together or takes apart, in depth alone."""
    shapes = [value.get_partial_shape() for value in (node.input_value(0), *node.outputs())]
    return all(len(shape) == 4 and shape[2:] == shapes[0][2:] for shape in shapes)
