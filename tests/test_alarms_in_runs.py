"""Each alarm in a real run that provokes it: logged, written down, and in the report."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from limner.errors import LimnerError
from limner.training import trainer
from tests import toy
from tests.runs import lines, options


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("output equals input", {"target": "identity", "start": 1.0}),
        ("colours inverted", {"target": "inverted", "steps": 200}),
        ("collapse", {"target": "collapse", "start": 0.02, "frozen": True}),
        ("flat areas gone", {"target": "checkerboard", "steps": 100}),
        ("discriminator saturated", {"target": "checkerboard", "frozen": True, "steps": 150}),
    ],
)
def test_what_goes_wrong_raises_its_alarm(
    kind: str, config: dict[str, Any], tmp_path: Path, many_photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = tmp_path / "run"
    with caplog.at_level("WARNING", "limner"):
        trainer.train("toy", replace(toy.Config(many_photos), **config), options(run, checkpoint_every=50))
    found = lines(run / "alarms.jsonl")
    assert kind in {line["alarm"] for line in found}
    assert any(f"ALARM at step {found[0]['step']}, {found[0]['alarm']}" in record.getMessage() for record in caplog.records)
    text = (run / "report.html").read_text(encoding="utf-8")
    assert kind in text.lower()


def test_a_healthy_run_raises_none(tmp_path: Path, many_photos: Path) -> None:
    trainer.train("toy", toy.Config(many_photos, steps=200), options(tmp_path / "run", checkpoint_every=20))
    assert not (tmp_path / "run" / "alarms.jsonl").exists(), lines(tmp_path / "run" / "alarms.jsonl")


def test_a_loss_that_explodes(tmp_path: Path, many_photos: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(LimnerError, match=r"no longer a number.*`learning_rate`"):
        trainer.train("toy", toy.Config(many_photos, learning_rate=2.8, steps=400), options(run, checkpoint_every=10_000))
    kinds = [line["alarm"] for line in lines(run / "alarms.jsonl")]
    assert "loss explodes" in kinds


def test_a_loss_that_is_no_number(tmp_path: Path, many_photos: Path) -> None:
    """The step of the last checkpoint stays; the run ends within ten steps, with the alarm written down."""
    run = tmp_path / "run"
    with pytest.raises(LimnerError, match=r"no longer a number at step 40.*limner train --resume"):
        trainer.train("toy", toy.Config(many_photos, nan_at=33, steps=200), options(run, checkpoint_every=25))
    assert [line["alarm"] for line in lines(run / "alarms.jsonl")] == ["loss is not a number"]
    assert [path.stem for path in (run / "checkpoints").glob("step-*")] == ["step-00000025"]
    assert "loss is not a number" in (run / "report.html").read_text(encoding="utf-8").lower()
    with pytest.raises(LimnerError, match="no longer a number"):
        trainer.train("toy", toy.Config(many_photos, nan_at=33, steps=200), options(run, checkpoint_every=25), resume=True)
