"""What a run writes down: losses, held-out numbers and alarms as lines of JSON, trackers, and the report made of them."""

import json
import logging
import math
import tomllib
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from limner import journal
from limner.errors import LimnerError
from limner.files import replacing
from limner.journal import Journal
from limner.training import report
from limner.training.alarms import Alarm

logger = logging.getLogger("limner")

METRICS, HELD_OUT, ALARMS = "metrics.jsonl", "held-out.jsonl", "alarms.jsonl"


class Record:
    """The written record of a run in ``folder``. Only the main process keeps one; every other's is silent."""

    def __init__(self, folder: Path, accelerator: Accelerator) -> None:
        self.folder, self.accelerator, self.writes = folder, accelerator, accelerator.is_main_process

    def resume_at(self, step: int) -> None:
        """Drop what a killed run wrote of steps after its last checkpoint (they will be done again), and a line cut in two."""
        for name in (METRICS, HELD_OUT, ALARMS):
            path = self.folder / name
            if self.writes and path.exists():
                kept = [line for line in journal.read(path) if _step(line) <= step]
                with replacing(path) as beside:
                    beside.write_bytes(b"".join(line + b"\n" for line in kept))

    def losses(self, step: int, values: dict[str, float], *, seconds: float, pictures: int) -> None:
        self._append(METRICS, {"step": step, "seconds": round(seconds, 3), "pictures": pictures, **values})
        self._track(step, {**values, "pictures_per_second": pictures / max(seconds, 1e-9)})

    def held_out(self, step: int, values: dict[str, float]) -> None:
        self._append(HELD_OUT, {"step": step, **values})
        self._track(step, {f"held-out/{name}": value for name, value in values.items()})

    def alarm(self, step: int, alarm: Alarm) -> None:
        self._append(ALARMS, {"step": step, "alarm": alarm.kind, "saw": alarm.saw, "try": alarm.advice})
        if self.writes:
            logger.warning("ALARM at step %d, %s: %s %s", step, alarm.kind, alarm.saw, alarm.advice)

    def table(self, name: str, table: dict[str, Any]) -> None:
        """A file of facts, such as data.json."""
        if self.writes:
            with replacing(self.folder / name) as beside:
                beside.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")

    def report(self, *, stopped: bool = False) -> None:
        if self.writes:
            try:
                report.write(self.folder, stopped=stopped)
            except (OSError, LimnerError) as error:  # a report that cannot be written is no reason to lose a training
                logger.warning("report.html was not written: %s", error)

    def start_trackers(self, names: tuple[str, ...], *, first: int) -> None:
        """Accelerate's trackers, going on at step ``first``. Where one is not installed or refuses, the run goes on without it."""
        # TensorBoard would make a second file of a configuration; W&B shows it beside the curves.
        config = tomllib.loads((self.folder / "config.toml").read_text(encoding="utf-8")) if "wandb" in names else None
        about = {"tensorboard": {"purge_step": first + 1}, "wandb": {"name": self.folder.resolve().name}}
        known = [str(getattr(tracker, "value", tracker)) for tracker in self.accelerator.log_with]
        for name in names:
            if name != "none" and name not in known:
                logger.warning("%s is not installed (pip install %s): the run goes on without it", name, name)
        try:
            self.accelerator.init_trackers("limner", config, {name: about[name] for name in known})
        except Exception as error:  # what may go wrong is each tracker's own: no network, no login, a broken installation
            self._lose_trackers(error)

    def _track(self, step: int, values: dict[str, float]) -> None:
        try:
            self.accelerator.log(values, step=step)
        except Exception as error:
            self._lose_trackers(error)

    def _lose_trackers(self, error: Exception) -> None:
        self.accelerator.trackers = []
        logger.warning("no tracker any more (%s): the run goes on; metrics.jsonl and report.html have it all", error)

    def _append(self, name: str, line: dict[str, Any]) -> None:
        if not self.writes:
            return
        path = self.folder / name
        try:
            with Journal(path) as file:
                # What is no number has no place in JSON.
                file.append({key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in line.items()})
        except OSError as error:
            again = f"limner train --resume {self.folder}"
            raise LimnerError(f"{path} cannot be written ({error.strerror}): free some space and go on with `{again}`.") from error


def _step(line: bytes) -> float:
    """The step of a line; infinite for a line that is none."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")
