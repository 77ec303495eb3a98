"""Packages that not everyone needs, and what to install where one of them is missing."""

import importlib.util

from limner.errors import LimnerError

PACKAGES = {
    "train": ("torch", "accelerate", "safetensors", "onnx", "onnxscript", "tomli_w", "psutil", "jinja2"),
    "int8": ("nncf", "onnx", "onnxruntime"),
    "onnxruntime": ("onnxruntime",),
    "ray": ("ray", "pyarrow"),
    "video": ("av", "cv2"),
    "web": ("fastapi", "uvicorn", "python_multipart", "prometheus_client"),
}
"""Of each extra, what is imported."""


def has(extra: str) -> bool:
    return installed(*PACKAGES[extra])


def installed(*packages: str) -> bool:
    return all(importlib.util.find_spec(package) is not None for package in packages)


def need(extra: str, what: str) -> None:
    """Raise ``LimnerError`` where the packages of an extra are missing. ``what`` needs them."""
    if not has(extra):
        raise LimnerError(f"{what} needs the extra packages of limner[{extra}]: pip install 'limner[{extra}]'.")
