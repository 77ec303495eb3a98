"""ONNX Runtime: reaches CUDA, DirectML and CoreML where its package for them is installed."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from limner.errors import LimnerError
from limner.style.runtimes.contract import Device, Engine, Image, Precision, check_range

GPU_PROVIDERS = ("CUDAExecutionProvider", "ROCMExecutionProvider", "DmlExecutionProvider", "CoreMLExecutionProvider")


def has_gpu() -> bool:
    return any(name in GPU_PROVIDERS for name in onnxruntime.get_available_providers())


def open_style(path: Path, device: Device, precision: Precision) -> Engine:  # it computes in float32 in any case
    providers = [name for name in GPU_PROVIDERS if name in onnxruntime.get_available_providers()] if device == "gpu" else []
    if device == "gpu" and not providers:
        raise LimnerError("ONNX Runtime finds no GPU here: pip install onnxruntime-gpu (or -directml on Windows), or leave `device` out.")
    try:
        session = onnxruntime.InferenceSession(path, providers=[*providers, "CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no public base class
        raise LimnerError(f"{path} is damaged, or not a style file: make it anew with `limner export`.") from error

    def run(image: Image) -> Image:
        pixels = image.dtype == np.uint8
        photo = np.ascontiguousarray(image.transpose(0, 3, 1, 2), np.float32) / np.float32(255) if pixels else image
        try:
            stylized: Any = session.run(None, {"image": photo})[0]
        except Exception as error:  # as above; no memory is left, mostly
            raise RuntimeError(str(error)) from error
        if pixels:
            check_range(path, float(np.abs(stylized - stylized.clip(0, 1)).mean()))
            stylized = (stylized.clip(0, 1) * 255 + 0.5).astype(np.uint8).transpose(0, 2, 3, 1)
        result: Image = stylized
        return result

    return run
