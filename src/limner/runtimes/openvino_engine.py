"""OpenVINO: the default. It reads .onnx directly and computes in bf16 by itself where the CPU has matrix units for it (AMX)."""

from functools import cache
from pathlib import Path
from typing import Any

import openvino

from limner.errors import LimnerError
from limner.runtimes import Array, Device, Engine, Precision


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
    compiled: dict[tuple[int, ...], openvino.CompiledModel] = {}

    def run(image: Array) -> Array:
        # Compiled for the size at hand: faster than with open sizes, even with the compilation, and only the last one is kept.
        if image.shape not in compiled:
            compiled.clear()
            network.reshape(list(image.shape))
            compiled[image.shape] = core().compile_model(network, target, settings(precision))
        stylized: Array = compiled[image.shape](image)[0]
        return stylized

    return run
