"""A run that was stopped, killed or moved on goes on exactly: every tensor of its last checkpoint is that of a run in one go."""

import logging
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from limner.errors import LimnerError
from limner.gallery import card
from limner.training import checkpoint, trainer
from tests import toy
from tests.runs import STEPS, command, lines, options, same, small, wait_for_step, weights

MAIN = "import torch; torch.set_num_threads(2); from limner.cli.main import main; main()"


def test_interrupted_and_resumed_equals_uninterrupted(tmp_path: Path, painting: Path, photos: Path, vgg_file: Path) -> None:
    config = small(painting, photos, vgg_file)
    assert trainer.train("fast_style", config, options(tmp_path / "whole")) is not None

    broken = tmp_path / "broken"
    words = command(config, options(broken, workers=1))
    process = subprocess.Popen([sys.executable, "-c", MAIN, *words], stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_for_step(broken, 30, process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "limner train --resume" in " ".join(errors.split())
    assert "Traceback" not in errors
    state = checkpoint.load(broken / "checkpoints")
    assert state is not None
    assert 30 <= state["step"] < STEPS
    assert not (broken / "style.onnx").exists()

    method, config, run_options = trainer.load(broken)
    assert trainer.train(method, config, run_options, resume=True) is not None
    same(weights(tmp_path / "whole"), weights(broken))
    assert [line["step"] for line in lines(broken / "metrics.jsonl")] == list(range(10, STEPS + 1, 10))
    assert card.read(broken / "style.onnx").weights_sha256 == card.read(tmp_path / "whole" / "style.onnx").weights_sha256


def test_killed_at_a_random_moment_and_resumed_equals_uninterrupted(
    tmp_path: Path, painting: Path, many_photos: Path, vgg_file: Path
) -> None:
    """SIGKILL, as often as it takes: also while a checkpoint, the held-out number or the report is written."""
    config = small(painting, many_photos, vgg_file)
    every = {"checkpoint_every": 12}
    assert trainer.train("fast_style", config, options(tmp_path / "whole", **every)) is not None
    broken = tmp_path / "broken"
    seed = random.randrange(1 << 30)
    logging.getLogger("tests").warning("seed %d", seed)  # shown if the test fails
    moments = random.Random(seed)
    words = command(config, options(broken, **every))
    for _ in range(2):
        process = subprocess.Popen([sys.executable, "-c", MAIN, *words], stderr=subprocess.PIPE, text=True)
        known = len(list((broken / "checkpoints").glob("step-*.pt"))) and max((broken / "checkpoints").glob("step-*.pt"))
        wait_until_newer(broken, known, process)
        time.sleep(moments.uniform(0, 0.5))
        process.kill()
        process.communicate()
        words = ["train", "--resume", str(broken)]
    with (broken / "metrics.jsonl").open("a") as file:
        file.write('{"step": 40, "lo')
    (broken / "checkpoints" / f".{16 * 'a'}.tmp").write_bytes(b"half a checkpoint")
    method, config, run_options = trainer.load(broken)
    assert trainer.train(method, config, run_options, resume=True) is not None
    same(weights(tmp_path / "whole"), weights(broken))
    for name in ("metrics.jsonl", "held-out.jsonl"):
        whole, resumed = lines(tmp_path / "whole" / name), lines(broken / name)
        for line in (*whole, *resumed):
            line.pop("seconds", None)
        assert whole == resumed
    assert not list(broken.rglob("*.tmp"))
    best = [checkpoint.load(run / "checkpoints", "best") for run in (tmp_path / "whole", broken)]
    assert best[0] is not None
    assert best[1] is not None
    assert best[0]["step"] == best[1]["step"]
    assert card.read(broken / "style.onnx").weights_sha256 == card.read(tmp_path / "whole" / "style.onnx").weights_sha256


def wait_until_newer(run: Path, known: object, process: "subprocess.Popen[str]") -> None:
    while max((run / "checkpoints").glob("step-*.pt"), default=0) == known:
        assert process.poll() in (None, 0), process.stderr.read() if process.stderr else ""
        if process.poll() == 0:  # a fast machine was done before
            return
        time.sleep(0.002)


def test_pools_and_random_numbers_are_resumed(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two networks, two optimizers, an image pool with random numbers of its own, and the global ones."""
    config = toy.Config(photos)
    trainer.train("toy", config, options(tmp_path / "whole"))
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "save", failing_at(40, checkpoint.save))
        with pytest.raises(KeyboardInterrupt):
            trainer.train("toy", config, options(tmp_path / "broken", checkpoint_every=20))
    torch.manual_seed(12345)  # whatever was drawn in between
    trainer.train("toy", config, options(tmp_path / "broken", checkpoint_every=20), resume=True)
    whole = weights(tmp_path / "whole")
    assert sum("pool/pictures" in name for name in whole) == 5
    same(whole, weights(tmp_path / "broken"))


def failing_at(step: int, save):  # type: ignore[no-untyped-def]
    def failing(folder, at, state, *, keep):  # type: ignore[no-untyped-def]
        if at == step:
            raise KeyboardInterrupt
        return save(folder, at, state, keep=keep)

    return failing


def test_a_full_disk_loses_nothing(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = toy.Config(photos)
    trainer.train("toy", config, options(tmp_path / "whole"))
    run = tmp_path / "run"
    saved = torch.save

    def full_disk(state, file):  # type: ignore[no-untyped-def]
        if state["step"] == 40:
            file.write(b"half of it")
            raise OSError(28, "No space left on device")
        saved(state, file)

    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", full_disk)
        with pytest.raises(LimnerError, match=r"No space left on device.*limner train --resume"):
            trainer.train("toy", config, options(run, checkpoint_every=20))
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step-00000020.pt"]
    trainer.train("toy", config, options(run, checkpoint_every=20), resume=True)
    same(weights(tmp_path / "whole"), weights(run))


def test_resuming_with_other_options_is_refused(tmp_path: Path, photos: Path) -> None:
    run = tmp_path / "run"
    trainer.train("toy", toy.Config(photos, steps=10), options(run))
    with pytest.raises(LimnerError, match=r"were made with other options than its config\.toml has now"):
        trainer.train("toy", toy.Config(photos, steps=20), options(run), resume=True)
    assert (run / "config.toml").exists()


def test_resuming_with_other_pictures_warns(tmp_path: Path, many_photos: Path, caplog: pytest.LogCaptureFixture) -> None:
    import shutil

    photos = tmp_path / "photos"
    shutil.copytree(many_photos, photos)
    trainer.train("toy", toy.Config(photos, steps=10), options(tmp_path / "run"))
    next(photos.iterdir()).unlink()
    with caplog.at_level("WARNING", "limner"):
        trainer.train("toy", toy.Config(photos, steps=10), options(tmp_path / "run"), resume=True)
    assert any("not the same as before" in record.getMessage() for record in caplog.records)
