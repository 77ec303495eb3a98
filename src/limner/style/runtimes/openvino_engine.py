"""OpenVINO: the default. It reads .onnx directly and computes in bf16 by itself where the CPU has matrix units for it (AMX)."""

import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino import opset13 as op

from limner.errors import LimnerError
from limner.style.runtimes.contract import Device, Engine, Image, Precision, check_range

SMALL = 512 * 512
"""Pictures of up to so many pixels run in one network of open sizes: compiling takes longer than painting them. The size alone decides, so
that a picture is painted in the same way whatever came before it."""

FLOATS, PIXELS = [-1, 3, -1, -1], [-1, -1, -1, 3]
"""Open sizes: NCHW and NHWC."""

KEPT = 3_000_000
"""Networks compiled for one size are kept while these sizes have at most so many pixels together: each holds some 170 bytes a pixel."""


KERNELS = 200
"""Compiled kernels that a network of open sizes keeps, some 60 for each size: with OpenVINO's 5,000, a process that sees ever new sizes
would grow by 0.7 MB with each."""


@cache
def core() -> openvino.Core:
    """One for the whole process, and never given back: of several, each sets up a stack for signals, and the first to go leaves the others'
    pointing at memory that is there no more. The next Ctrl-C is then a crash."""
    return openvino.Core()


def has_bf16() -> bool:
    """Whether networks are computed in bf16 here, unless float32 is asked for."""
    return "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def read(path: Path) -> Any:
    """The network of a style file. Raises ``LimnerError`` where there is none in it."""
    try:
        return core().read_model(path)
    except RuntimeError as error:
        raise LimnerError(f"{path} is damaged, or not a style file: make it anew with `limner export`.") from error


def settings(precision: str) -> dict[str, str]:
    """For one picture at a time; bf16 where the processor has it, unless ``precision`` is float32."""
    return {"PERFORMANCE_HINT": "LATENCY", "CPU_RUNTIME_CACHE_CAPACITY": str(KERNELS)} | (
        {"INFERENCE_PRECISION_HINT": "f32"} if precision == "float32" else {}
    )


def open_style(path: Path, device: Device, precision: Precision) -> Engine:
    target = "GPU" if device == "gpu" else "CPU"
    if target == "GPU" and not any(name.startswith("GPU") for name in core().available_devices):
        raise LimnerError(
            "No GPU was found: leave `device` out to use the CPU, or install an engine that reaches yours (pip install onnxruntime-gpu)."
        )
    network = read(path)
    infer = of_any_size(cache(lambda kind: on_pixels(network) if kind == np.uint8 else network), target, precision)

    def run(image: Image) -> Image:
        found = infer(image)
        if len(found) > 1:
            check_range(path, float(found[1]))
        stylized: Image = found[0]
        return stylized

    return run


def of_any_size(network_for: Callable[[np.dtype[Any]], Any], target: str, precision: Precision) -> Callable[..., Any]:
    """What runs the network for a type of pixels, compiled for the sizes that come. Called with a picture, uint8 NHWC or float32 NCHW, and
    what the network takes beside it; returns what it gives, by number."""
    compiled: dict[tuple[np.dtype[Any], tuple[int, ...]], openvino.CompiledModel] = {}  # the one used last at the end

    def compiled_for(image: NDArray[Any]) -> openvino.CompiledModel:
        key = image.dtype, () if image.size <= 3 * SMALL else image.shape
        if key not in compiled:
            while compiled and sum(math.prod(shape) for _, shape in (*compiled, key) if shape) > 3 * KEPT:
                del compiled[next(iter(compiled))]
            chosen = network_for(image.dtype)
            chosen.reshape({chosen.inputs[0]: list(key[1]) or (PIXELS if image.dtype == np.uint8 else FLOATS)})
            compiled[key] = core().compile_model(chosen, target, settings(precision))
        compiled[key] = compiled.pop(key)
        return compiled[key]

    one_at_a_time = Lock()  # it takes all cores for one picture

    def infer(image: NDArray[Any], *beside: NDArray[Any]) -> Any:
        with one_at_a_time:
            return compiled_for(image)([image, *beside])

    return infer


def on_pixels(network: Any) -> Any:
    """A copy of a style's network from uint8 NHWC to the same, rounded half up; and how far it was outside of [0, 1], in the mean.

    In numpy the conversions take a fifth of a small network's time, and next to none here.
    """
    network = network.clone()
    pixels = op.parameter(PIXELS, np.uint8)
    image = op.divide(op.convert(op.transpose(pixels, [0, 3, 1, 2]), "f32"), np.float32(255))
    for user in network.inputs[0].get_target_inputs():
        user.replace_source_output(image.output(0))
    stylized = network.outputs[0].get_node().input_value(0)
    rounded = op.convert(op.clamp(op.add(op.multiply(stylized, np.float32(255)), np.float32(0.5)), 0.0, 255.0), "u8")
    outside = op.reduce_mean(op.abs(op.subtract(stylized, op.clamp(stylized, 0.0, 1.0))), np.array([0, 1, 2, 3], np.int64))
    return openvino.Model([op.result(op.transpose(rounded, [0, 2, 3, 1])), op.result(outside)], [pixels], "pixels")
