"""Engines that run a style file. Each module offers ``open_style(path, device, precision)``; it is imported only when it is chosen."""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from limner import extras
from limner.errors import LimnerError, require
from limner.gallery import bundled, card
from limner.style.runtimes.contract import Device, Engine, Image, Precision, Runtime, check_range

if TYPE_CHECKING:
    from limner.style.runtimes.openvino_shots import Shots

_PACKAGES = {
    "openvino": (("openvino",), "pip install openvino"),
    "onnxruntime": (("onnxruntime",), "pip install 'limner[onnxruntime]'"),
    "torch": (("torch", "safetensors"), "pip install 'limner[train]'"),
}


def open_style(path: Path, *, runtime: Runtime = "auto", device: Device = "auto", precision: Precision = "auto") -> Engine:
    """Open a style file. ``auto`` means OpenVINO on the CPU, and on a GPU whichever installed engine reaches one.

    OpenVINO and torch compute in bf16 where the hardware is made for it, unless ``precision`` is float32. Raises ``LimnerError`` where the
    engine is not installed, the device is not there, or the file is damaged, asks for too much, or paints no pictures; the last of these
    may show only when it runs.
    """
    if runtime == "auto":
        runtime = "openvino" if device != "gpu" else _for_gpu(path)
    if not _installed(runtime):
        raise LimnerError(f"The runtime {runtime} is not installed: {_PACKAGES[runtime][1]}, or leave `runtime` out.")
    if runtime != "torch" and not bundled.holds(path):
        cost(path)
    engine: Engine = importlib.import_module(f"limner.style.runtimes.{runtime}_engine").open_style(path, device, precision)

    def run(image: Image) -> Image:
        stylized = engine(image)
        if stylized.shape != image.shape:
            sizes = f"{list(stylized.shape)} for {list(image.shape)}"
            raise LimnerError(f"{path} is not a style file: its network makes a picture of another size ({sizes}).")
        if stylized.dtype == np.float32:
            check_range(path, float(np.abs(stylized - stylized.clip(0, 1)).mean()))
        return stylized

    return run


def open_shots(path: Path, *, runtime: Runtime = "auto", device: Device = "auto", precision: Precision = "auto") -> "Shots":
    """Open a style file for films whose statistics of norms are smoothed. Raises ``LimnerError`` as ``open_style`` does, and where the
    network has no such norms or is one in int8, or another engine than OpenVINO on the CPU is asked for."""
    require(
        runtime in ("auto", "openvino") and device != "gpu",
        "`calm` statistics is for OpenVINO on the CPU alone: leave `runtime` and `device` out, or set `calm` to flow.",
    )
    # OpenVINO computes such a network in another way where a norm's input is read elsewhere, too, and paints another picture.
    require(card.read(path).tier != "int8", "`calm` statistics is not for styles in int8: leave `tier` out, or set `calm` to flow.")
    if not bundled.holds(path):
        cost(path)
    from limner.style.runtimes.openvino_shots import Shots

    return Shots(path, precision)


def cost(path: Path) -> float:
    """Numbers for each pixel that the network of a style file lays into memory. Raises ``LimnerError`` where it asks for too much."""
    from limner.style.runtimes import openvino_cost

    return openvino_cost.check(path, card.read(path).multiple_of).values


def _installed(runtime: Runtime) -> bool:
    return extras.installed(*_PACKAGES[runtime][0])


def _for_gpu(path: Path) -> Runtime:
    """The first installed engine that finds a GPU; OpenVINO, which then says that there is none, where none does."""
    candidates: list[Runtime] = ["onnxruntime"]
    if path.with_suffix(".safetensors").is_file() or bundled.holds(path):
        candidates.insert(0, "torch")
    for name in candidates:
        if _installed(name) and importlib.import_module(f"limner.style.runtimes.{name}_engine").has_gpu():
            return name
    return "openvino"
