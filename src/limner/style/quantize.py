"""Quantize: a style file whose convolutions compute in int8, faster on CPUs that have instructions for it (VNNI, AMX).

What comes out is one plain .onnx file again, with QuantizeLinear and DequantizeLinear around the convolutions, that any ONNX program runs.
Instance norm stays in float: it divides by a deviation of the very picture at hand, which no calibration can know.
"""

import contextlib
import functools
import logging
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray
from PIL import Image

from limner import extras, files, privacy
from limner.errors import LimnerError, require
from limner.gallery import bundled, card
from limner.pictures import image
from limner.pictures.sources import Source, open_source
from limner.ranges import CountOrZero, Positive, check
from limner.style.runtimes import opening

logger = logging.getLogger("limner")

WORST = 2.0
"""By what factor a single picture may be further off than the pictures are on the whole."""


@dataclass(frozen=True)
class Options:
    """Options of ``limner quantize``."""

    photos: Path
    """Folder of photographs (searched recursively): three quarters of those taken set the ranges of int8, the others check the result."""
    count: Annotated[int, Ge(4)] = 64
    """How many photographs are taken, at random."""
    size: Annotated[int, Ge(64)] = 320
    """Longer side, in pixels, to which they are scaled."""
    tolerance: Positive = 2.0
    """How far the pictures may be from those of the given file, in 255ths: the mean absolute difference over all photographs of the
    check, and twice as much for any one of them. What JPEG of quality 95 changes in a painting is about 2."""
    seed: CountOrZero = 0
    """Which photographs are taken."""

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class Distance:
    """How far apart two style files paint: mean absolute difference, in 255ths, over ``count`` photographs."""

    mean: float
    worst: float
    count: int

    def __str__(self) -> str:
        return f"{self.mean:.2f}/255 from float32 in the mean, {self.worst:.2f}/255 in the worst of {self.count} photographs"


def quantize(style: str | Path, out: Path, options: Options) -> Distance:
    """Write the int8 form of ``style``, a bundled one's name or a style file, to ``out``; returns how far its pictures are from before.

    Raises ``LimnerError`` where that is further than ``options.tolerance``, and then writes nothing.
    """
    extras.need("int8", "Quantizing")
    require(out.suffix == ".onnx", f"A style file ends in .onnx, which {out} does not: give it that ending.")
    files.check_place(out)
    path = bundled.find(style)
    about = card.read(path)
    require(not about.quantized, f"{path} computes in int8 already: give the file that it was made from.")
    photographs = list(_photographs(options, about.multiple_of, about.min_side))
    require(out.resolve() != path.resolve(), f"{out} is the style file itself: name another `out`, such as {path.stem}.int8.onnx.")
    require(len(photographs) >= 4, f"There are too few pictures in {options.photos}: give at least 4, better 64.")
    split = len(photographs) * 3 // 4
    model = _quantized(path, photographs[:split])
    with files.trial() as trial:
        trial.write_bytes(_with_card(model, about))
        distance = measure(path, trial, photographs[split:])
    if not (distance.mean <= options.tolerance and distance.worst <= WORST * options.tolerance):
        raise LimnerError(
            f"In int8 {path} would paint too differently: {distance}; {options.tolerance:g} and {WORST * options.tolerance:g} are allowed. "
            "Keep the file as it is, or raise `tolerance`."
        )
    with files.replacing(out) as beside:
        beside.write_bytes(_with_card(model, replace(about, tier=_tier(out, about), quantized=str(distance))))
    return distance


def measure(before: Path, after: Path, photographs: list[NDArray[np.float32]]) -> Distance:
    """Compare two style files on ``photographs``, float32 NCHW RGB in [0, 1]; what is not int8 computes in float32.

    They are painted as pictures of 8 bits, as most are: OpenVINO compiles another network for those.
    """
    engines = [opening.open_style(path, runtime="openvino", precision="float32") for path in (before, after)]
    differences = []
    for photograph in photographs:
        pixels = image.from_float(photograph, np.uint8)[None]
        pictures = [engine(pixels).astype(np.float32) for engine in engines]
        differences.append(float(np.abs(pictures[0] - pictures[1]).mean()))
    return Distance(float(np.mean(differences)), max(differences), len(differences))


def _tier(out: Path, about: card.Card) -> str:
    return "int8" if about.tier == "standard" else about.tier


def _photographs(options: Options, multiple: int, min_side: int) -> Iterator[NDArray[np.float32]]:
    """Photographs at random, float32 NCHW RGB in [0, 1], the longer side ``options.size``, cut to what the network takes."""
    source = open_source(options.photos)
    taken = 0
    for number in np.random.default_rng(options.seed).permutation(len(source)):
        photograph = _read(source, int(number), options.size)
        if photograph is None:
            continue
        height, width = (side // multiple * multiple for side in photograph.shape[:2])
        if min(height, width) < min_side:
            continue
        yield np.ascontiguousarray(photograph[:height, :width].transpose(2, 0, 1)[None], np.float32) / np.float32(255)
        taken += 1
        if taken == options.count:
            return


def _read(source: Source, number: int, size: int) -> NDArray[np.uint8] | None:
    try:
        picture = Image.fromarray(source[number])
    except LimnerError as error:
        logger.warning("%s", error)
        return None
    picture.thumbnail((size, size), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def _quantized(path: Path, photographs: list[NDArray[np.float32]]) -> Any:
    privacy.mute_openvino()
    import nncf
    import onnx

    logging.getLogger("nncf").setLevel(logging.ERROR)
    model = onnx.shape_inference.infer_shapes(_with_float_weights(onnx.load(path)))
    dataset = nncf.Dataset(photographs, lambda photograph: {"image": photograph})
    # Quantized, a ramp of colours at the end (``limner.blocks.unet.Ramp``) comes out black in OpenVINO.
    ramp = [node.name for node in model.graph.node if any(name.startswith("tint.") for name in node.input)]
    ignored = nncf.IgnoredScope(names=ramp, types=["InstanceNormalization"], validate=False)
    with contextlib.redirect_stdout(sys.stderr):  # its progress bars; standard output is for results
        return nncf.quantize(model, dataset, subset_size=len(photographs), ignored_scope=ignored)


def _with_float_weights(model: Any) -> Any:
    """The model with float32 weights in the place of smaller ones, their casts and scales: what is quantized must stand there plainly."""
    from onnx import numpy_helper

    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in list(model.graph.node):  # casts stand before what scales them
        if node.op_type not in ("Cast", "Mul") or not all(name in constants for name in node.input):
            continue
        values = [numpy_helper.to_array(constants[name]).astype(np.float32) for name in node.input]
        for name in node.input:
            model.graph.initializer.remove(constants.pop(name))
        constants[node.output[0]] = numpy_helper.from_array(functools.reduce(np.multiply, values), node.output[0])
        model.graph.initializer.append(constants[node.output[0]])
        model.graph.node.remove(node)
    return model


def _with_card(model: Any, about: card.Card) -> bytes:
    from onnx import helper

    helper.set_model_props(model, {card.KEY: about.to_json()})
    data: bytes = model.SerializeToString()
    return data
