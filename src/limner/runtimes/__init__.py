"""Engines that run a style file. Each module offers ``open_style(path, device, precision)``; it is imported only when it is chosen."""

import importlib
import importlib.util
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from limner.errors import LimnerError

Array = NDArray[np.float32]
Image = TypeVar("Image", bound=NDArray[Any])


class Engine(Protocol):
    """What runs a network."""

    def __call__(self, image: Image, /) -> Image:
        """float32 NCHW RGB in [0, 1] to the same, or uint8 NHWC RGB to the same, rounded half up; height and width as the card asks."""


Runtime = Literal["auto", "openvino", "onnxruntime", "torch"]
Device = Literal["auto", "cpu", "gpu"]
Precision = Literal["auto", "float32"]

_PACKAGES = {
    "openvino": (("openvino",), "pip install openvino"),
    "onnxruntime": (("onnxruntime",), "pip install 'limner[onnxruntime]'"),
    "torch": (("torch", "safetensors"), "pip install 'limner[train]'"),
}


def open_style(path: Path, *, runtime: Runtime = "auto", device: Device = "auto", precision: Precision = "auto") -> Engine:
    """Open a style file. ``auto`` means OpenVINO on the CPU, and on a GPU whichever installed engine reaches one.

    OpenVINO and torch compute in bf16 where the hardware is made for it, unless ``precision`` is float32. Raises ``LimnerError`` where the
    engine is not installed, the device is not there, or the file is damaged.
    """
    if runtime == "auto":
        runtime = "openvino" if device != "gpu" else _for_gpu(path)
    if not _installed(runtime):
        raise LimnerError(f"The runtime {runtime} is not installed: {_PACKAGES[runtime][1]}, or leave --runtime out.")
    engine: Engine = importlib.import_module(f"limner.runtimes.{runtime}_engine").open_style(path, device, precision)
    return engine


def _installed(runtime: Runtime) -> bool:
    return all(importlib.util.find_spec(package) is not None for package in _PACKAGES[runtime][0])


def _for_gpu(path: Path) -> Runtime:
    """The first installed engine that finds a GPU; OpenVINO, which then says that there is none, where none does."""
    candidates: list[Runtime] = ["onnxruntime"]
    if path.with_suffix(".safetensors").is_file():
        candidates.insert(0, "torch")
    for name in candidates:
        if _installed(name) and importlib.import_module(f"limner.runtimes.{name}_engine").has_gpu():
            return name
    return "openvino"
