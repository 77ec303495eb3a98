"""Small trainings that several tests share."""

import json
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from limner.methods.fast_style import Config
from limner.training import checkpoint, trainer

STEPS = 60


def small(painting: Path, photos: Path, vgg_file: Path, **changes: Any) -> Config:
    config = Config(
        painting,
        photos,
        vgg=vgg_file,
        steps=STEPS,
        batch_size=2,
        image_size=32,
        width="quarter",
        style_size=64,
        style_layers=("relu1_1", "relu1_2"),
        content_layer="relu2_1",
        pyramid=2,
    )
    return replace(config, **changes)


def options(out: Path, **changes: Any) -> trainer.Options:
    """Float32, so that every machine computes the same."""
    quick = {"compile": "no", "workers": 0, "checkpoint_every": 1000, "preview_every": 1e9, "trackers": ("none",)}
    return trainer.Options(out, **{"device": "cpu", "precision": "float32", **quick, **changes})


def command(config: Any, options: trainer.Options, method: str = "fast-style") -> list[str]:
    """The command line that says the same."""
    words = ["train", method]
    for part in (config, options):
        for name, value in vars(part).items():
            for each in value if isinstance(value, tuple) else [value]:
                if each is True:
                    words.append(f"--{name.replace('_', '-')}")
                elif each is False:
                    words.append(f"--{name.replace('_', '-')}=false")
                elif each not in (None, ""):
                    words += [f"--{name.replace('_', '-')}", str(each)]
    return words


def weights(run: Path, step: int = STEPS) -> dict[str, torch.Tensor]:
    """Every tensor of the newest checkpoint, which must be of ``step``."""
    state = checkpoint.load(run / "checkpoints")
    assert state is not None
    assert state["step"] == step
    return dict(_tensors("", {"parts": state["parts"], "own": state["own"]}))


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    for name, value in a.items():
        assert torch.equal(value, b[name]), name


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def wait_for_step(run: Path, step: int, process: "subprocess.Popen[Any]") -> None:
    metrics = run / "metrics.jsonl"
    while not (metrics.exists() and f'"step": {step},' in metrics.read_text()):
        assert process.poll() is None, process.stderr.read() if process.stderr else "ended early"
        time.sleep(0.005)


def _tensors(prefix: str, value: Any) -> list[tuple[str, torch.Tensor]]:
    if isinstance(value, torch.Tensor):
        return [(prefix, value)]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    return [found for key, each in items for found in _tensors(f"{prefix}/{key}", each)]
