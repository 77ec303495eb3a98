"""What the commands say, and where."""

import importlib.util
import sys
from typing import TYPE_CHECKING, Any

from limner.errors import LimnerError

if TYPE_CHECKING:
    from rich.console import Console


def say(text: str) -> None:
    print(text)


def complain(sentence: str) -> None:
    print(f"limner: {sentence}", file=sys.stderr)


def stderr() -> "Console":
    from rich.console import Console

    return Console(stderr=True)


def need_torch(what: str = "Training") -> None:
    packages = ("torch", "accelerate", "safetensors", "onnx", "onnxscript", "tomli_w", "psutil", "jinja2")
    if any(importlib.util.find_spec(package) is None for package in packages):
        raise LimnerError(f"{what} needs the extra packages of limner[train]: pip install 'limner[train]'.")


def log_to_stderr() -> None:
    import logging

    from rich.logging import RichHandler

    from limner.training.terminal import console

    plain: dict[str, Any] = {"show_time": True, "show_level": False, "show_path": False, "markup": False, "highlighter": None}
    logger = logging.getLogger("limner")
    logger.setLevel(logging.INFO)
    logger.handlers = [RichHandler(console=console, **plain)]
