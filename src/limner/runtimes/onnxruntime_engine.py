"""ONNX Runtime: reaches CUDA, DirectML and CoreML where its package for them is installed."""

from pathlib import Path

import onnxruntime

from limner.errors import LimnerError
from limner.runtimes import Array, Device, Engine, Precision

GPU_PROVIDERS = ("CUDAExecutionProvider", "ROCMExecutionProvider", "DmlExecutionProvider", "CoreMLExecutionProvider")


def has_gpu() -> bool:
    return any(name in GPU_PROVIDERS for name in onnxruntime.get_available_providers())


def open_style(path: Path, device: Device, precision: Precision) -> Engine:  # it computes in float32 in any case
    providers = [name for name in GPU_PROVIDERS if name in onnxruntime.get_available_providers()] if device == "gpu" else []
    if device == "gpu" and not providers:
        raise LimnerError("ONNX Runtime finds no GPU here: pip install onnxruntime-gpu (or -directml on Windows), or leave --device out.")
    try:
        session = onnxruntime.InferenceSession(path, providers=[*providers, "CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no public base class
        raise LimnerError(f"{path} is damaged, or not a style file: make it anew with `limner export`.") from error

    def run(image: Array) -> Array:
        stylized: Array = session.run(None, {"image": image})[0]
        return stylized

    return run
