"""Two processes (gloo) are one process with twice the batch: the same losses and weights, and one record of the run."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from limner.methods import cyclegan
from limner.training import trainer
from tests.runs import command, lines, options, small, weights

STEPS = 3


def torchrun(words: list[str]) -> "subprocess.CompletedProcess[str]":
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "limner"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([*launch, *words], capture_output=True, text=True, env=environment, timeout=240)


@pytest.mark.slow
def test_two_processes_are_one_with_twice_the_batch(tmp_path: Path, painting: Path, many_photos: Path, vgg_file: Path) -> None:
    # A few small steps, since Adam makes large steps of the rounding of small gradients, and soon other pictures.
    config = small(painting, many_photos, vgg_file, steps=STEPS, batch_size=4, learning_rate=1e-4)
    one, two = tmp_path / "one", tmp_path / "two"
    trainer.train("fast_style", config, options(one, checkpoint_every=2))
    halved = small(painting, many_photos, vgg_file, steps=STEPS, batch_size=2, learning_rate=1e-4)
    done = torchrun(command(halved, options(two, checkpoint_every=2, device="auto")))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("style.onnx") == 1  # said once, by the first process
    assert " ".join(done.stderr.split()).count("step 3 of 3") == 1

    for name in ("metrics.jsonl", "held-out.jsonl"):
        ours, theirs = lines(one / name), lines(two / name)
        assert len(ours) == len(theirs) == (2 if name == "held-out.jsonl" else 1)
        for a, b in zip(ours, theirs, strict=True):
            for key in a.keys() - {"seconds"}:
                assert b[key] == pytest.approx(a[key], rel=1e-4, abs=2e-6), (name, key)
    half = tmp_path / "half"
    trainer.train("fast_style", halved, options(half))
    assert abs(lines(half / "metrics.jsonl")[0]["loss"] - lines(one / "metrics.jsonl")[0]["loss"]) > 1e-3  # the other half counts
    a, b = weights(one, STEPS), weights(two, STEPS)
    for name in a:
        if name.startswith(("/parts/generator", "/parts/average")) and name.endswith(
            "weight"
        ):  # a bias before a norm only collects rounding
            assert (a[name] - b[name]).abs().mean() < 1e-5, name
    assert sorted(path.name for path in (two / "checkpoints").iterdir()) == sorted(path.name for path in (one / "checkpoints").iterdir())


@pytest.mark.slow
def test_two_processes_of_a_gan_are_one_with_twice_the_batch(tmp_path: Path, many_photos: Path, vgg_file: Path) -> None:
    """Two generators, two discriminators, two pools (not full yet, so that what is shown of them is the same)."""
    small: dict[str, Any] = {"width": 8, "blocks": 1, "discriminator_width": 8, "image_size": 32, "score_layers": ("relu1_2",)}
    # The paper's discriminators; and nothing drawn by chance, which each process does for itself.
    small |= {"generator": "paper", "discriminator": "paper", "photo_size": 0, "augment": False, "clipping": 0.0}
    small |= {"adversarial_loss": "least-squares", "cycle_weight": 10.0, "identity_weight": 5.0, "discriminator_rate": 2e-4}
    config = cyclegan.Config(many_photos, many_photos, vgg=vgg_file, steps=STEPS, batch_size=4, learning_rate=1e-5, **small)
    one, two = tmp_path / "one", tmp_path / "two"
    trainer.train("cyclegan", config, options(one, checkpoint_every=2))
    halved = replace(config, batch_size=2)
    done = torchrun(command(halved, options(two, checkpoint_every=2, device="auto"), method="cyclegan"))
    assert done.returncode == 0, done.stderr
    (ours,), (theirs,) = lines(one / "metrics.jsonl"), lines(two / "metrics.jsonl")
    for key in ours.keys() - {"seconds"}:
        assert theirs[key] == pytest.approx(ours[key], rel=1e-4, abs=2e-6), key
    half = tmp_path / "half"
    trainer.train("cyclegan", halved, options(half))
    assert abs(lines(half / "metrics.jsonl")[0]["loss"] - ours["loss"]) > 1e-3  # the other half counts
    assert (two / "style.onnx").exists()
    assert (two / "style-back.onnx").exists()
