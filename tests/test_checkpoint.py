"""Checkpoints: whole or absent, the newest and the best, never code."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from limner.errors import LimnerError
from limner.training import checkpoint


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_checkpoints_are_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in (1, 2, 3):
        checkpoint.save(tmp_path, step, {"x": torch.full((3,), float(step))}, keep=2)
    assert names(tmp_path) == ["step-00000002.pt", "step-00000003.pt"]

    def full_disk(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(LimnerError, match="No space left on device"):
        checkpoint.save(tmp_path, 4, {"x": torch.zeros(3)}, keep=2)
    assert names(tmp_path) == ["step-00000002.pt", "step-00000003.pt"]
    state = checkpoint.load(tmp_path)
    assert state is not None
    assert state["step"] == 3
    assert torch.equal(state["x"], torch.full((3,), 3.0))


@pytest.mark.parametrize("links", [True, False])
def test_the_best_outlives_the_newest(tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not links:

        def refuse(*_: Any) -> None:
            raise OSError("this disk knows no second name")

        monkeypatch.setattr("os.link", refuse)
    for step in range(1, 6):
        checkpoint.save(tmp_path, step, {"x": torch.full((3,), float(step))}, keep=2)
        if step in (1, 3):
            checkpoint.mark_best(tmp_path, step)
    assert names(tmp_path) == ["best.pt", "step-00000004.pt", "step-00000005.pt"]
    best, newest = checkpoint.load(tmp_path, "best"), checkpoint.load(tmp_path)
    assert best is not None
    assert newest is not None
    assert (best["step"], newest["step"]) == (3, 5)
    assert torch.equal(best["x"], torch.full((3,), 3.0))


def test_nothing_there_is_none(tmp_path: Path) -> None:
    assert checkpoint.load(tmp_path) is None
    assert checkpoint.load(tmp_path, "best") is None


def test_a_damaged_checkpoint_is_told(tmp_path: Path) -> None:
    (tmp_path / "step-00000005.pt").write_bytes(b"cut off")
    with pytest.raises(LimnerError, match="damaged"):
        checkpoint.load(tmp_path)


def test_a_checkpoint_cannot_run_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "ran",))

    with (tmp_path / "step-00000005.pt").open("wb") as file:
        pickle.dump(Evil(), file)
    with pytest.raises(LimnerError):
        checkpoint.load(tmp_path)
    assert not (tmp_path / "ran").exists()
