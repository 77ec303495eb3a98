"""OpenVINO: the default. It reads .onnx directly and computes in bf16 by itself where the CPU has matrix units for it (AMX)."""

import math
from functools import cache
from pathlib import Path
from typing import Any

import openvino

from limner.errors import LimnerError
from limner.runtimes import Array, Device, Engine, Precision

SMALL = 512 * 512
"""Pictures of up to so many pixels run in one network of open sizes: compiling takes longer than painting them. The size alone decides, so
that a picture is painted in the same way whatever came before it."""

KEPT = 3_000_000
"""Networks compiled for one size are kept while these sizes have at most so many pixels together: each holds some 170 bytes a pixel."""


@cache
def core() -> openvino.Core:
    """One for the whole process, and never given back: of several, each sets up a stack for signals, and the first to go leaves the others'
    pointing at memory that is there no more. The next Ctrl-C is then a crash."""
    return openvino.Core()


def read(path: Path) -> Any:
    """The network of a style file. Raises ``LimnerError`` where there is none in it."""
    try:
        return core().read_model(path)
    except RuntimeError as error:
        raise LimnerError(f"{path} is damaged, or not a style file: make it anew with `limner export`.") from error


def settings(precision: str) -> dict[str, str]:
    """For one picture at a time; bf16 where the processor has it, unless ``precision`` is float32."""
    return {"PERFORMANCE_HINT": "LATENCY"} | ({"INFERENCE_PRECISION_HINT": "f32"} if precision == "float32" else {})


def open_style(path: Path, device: Device, precision: Precision) -> Engine:
    target = "GPU" if device == "gpu" else "CPU"
    if target == "GPU" and not any(name.startswith("GPU") for name in core().available_devices):
        raise LimnerError(
            "No GPU was found: leave --device out to use the CPU, or install an engine that reaches yours (pip install onnxruntime-gpu)."
        )
    network = read(path)
    open_size = network.inputs[0].get_partial_shape()
    compiled: dict[tuple[int, ...], openvino.CompiledModel] = {}  # the one used last at the end

    def network_for(shape: tuple[int, ...]) -> openvino.CompiledModel:
        small = math.prod(shape) <= 3 * SMALL
        key = () if small else shape
        if key not in compiled:
            while compiled and sum(math.prod(kept) for kept in (*compiled, shape) if kept) > 3 * KEPT:
                del compiled[next(iter(compiled))]
            network.reshape(open_size if small else list(shape))
            compiled[key] = core().compile_model(network, target, settings(precision))
        compiled[key] = compiled.pop(key)
        return compiled[key]

    def run(image: Array) -> Array:
        stylized: Array = network_for(image.shape)(image)[0]
        return stylized

    return run
