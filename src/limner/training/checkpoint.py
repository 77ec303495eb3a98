"""Checkpoints: written whole or not at all, and never code (``weights_only``)."""

import os
import re
import shutil
from pathlib import Path
from typing import Any

import torch

from limner.errors import LimnerError
from limner.files import replacing

BEST = "best.pt"


def save(folder: Path, step: int, state: dict[str, Any], *, keep: int) -> Path:
    """Write ``state`` (tensors and plain values) as the checkpoint of ``step``, then delete all but the newest ``keep``; the best stays.

    Raises ``LimnerError`` where it cannot be written; what was there stays.
    """
    path = folder / f"step-{step:08d}.pt"
    try:
        with replacing(path) as beside, beside.open("wb") as file:
            torch.save({**state, "step": step}, file)
            file.flush()
            os.fsync(file.fileno())
    except (LimnerError, RuntimeError) as error:  # torch.save reports a full disk as a RuntimeError, too
        again = f"limner train --resume {folder.parent}"
        raise LimnerError(f"The checkpoint could not be written ({error}) Free some space and go on with `{again}`.") from error
    for _, old in _all(folder)[:-keep]:
        old.unlink(missing_ok=True)
    return path


def mark_best(folder: Path, step: int) -> None:
    """Let best.pt be the checkpoint of ``step``: the same file under a second name, where the disk knows such a thing."""
    with replacing(folder / BEST) as beside:
        beside.unlink()
        try:
            os.link(folder / f"step-{step:08d}.pt", beside)
        except OSError:
            shutil.copyfile(folder / f"step-{step:08d}.pt", beside)


def load(folder: Path, which: str = "newest") -> dict[str, Any] | None:
    """State of the newest or, with ``which="best"``, the best checkpoint, on the CPU; None where there is none.

    ``state["step"]`` tells its step. Raises ``LimnerError`` where it is damaged.
    """
    found = [path for _, path in _all(folder)] if which == "newest" else [path for path in (folder / BEST,) if path.exists()]
    if not found:
        return None
    try:
        state: dict[str, Any] = torch.load(found[-1], map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file shows itself in many ways: zip, key, end of file, unpickling
        raise LimnerError(f"The checkpoint {found[-1]} is damaged: delete it and resume again, from the one before.") from error
    return state


def _all(folder: Path) -> list[tuple[int, Path]]:
    named = ((re.fullmatch(r"step-(\d+)\.pt", path.name), path) for path in folder.glob("step-*.pt"))
    return sorted((int(match[1]), path) for match, path in named if match)
