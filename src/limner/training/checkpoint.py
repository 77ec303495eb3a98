"""Checkpoints: written whole or not at all, and never code (``weights_only``)."""

import os
import re
from pathlib import Path
from typing import Any

import torch

from limner.errors import LimnerError
from limner.files import replacing


def save(folder: Path, step: int, state: dict[str, Any], *, keep: int) -> Path:
    """Write ``state`` (tensors and plain values) as the checkpoint of ``step``, then delete all but the newest ``keep``.

    Raises ``LimnerError`` where it cannot be written; what was there stays.
    """
    path = folder / f"step-{step:08d}.pt"
    try:
        with replacing(path) as beside, beside.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
    except (LimnerError, RuntimeError) as error:  # torch.save reports a full disk as a RuntimeError, too
        again = f"limner train --resume {folder.parent}"
        raise LimnerError(f"The checkpoint could not be written ({error}) Free some space and go on with `{again}`.") from error
    for _, old in _all(folder)[:-keep]:
        old.unlink(missing_ok=True)
    return path


def load_newest(folder: Path) -> tuple[int, dict[str, Any]] | None:
    """(step, state) of the newest checkpoint, on the CPU; None where there is none. Raises ``LimnerError`` where it is damaged."""
    found = _all(folder)
    if not found:
        return None
    step, path = found[-1]
    try:
        return step, torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file shows itself in many ways: zip, key, end of file, unpickling
        raise LimnerError(f"The checkpoint {path} is damaged: delete it and resume again, from the one before.") from error


def _all(folder: Path) -> list[tuple[int, Path]]:
    named = ((re.fullmatch(r"step-(\d+)\.pt", path.name), path) for path in folder.glob("step-*.pt"))
    return sorted((int(match[1]), path) for match, path in named if match)
