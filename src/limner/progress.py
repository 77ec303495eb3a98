"""How far long work has come: a bar with speed and ETA, on stderr and only on a terminal. Rich is loaded only where it is shown."""

import sys
from functools import cache
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

SPEED_OVER = 300.0
"""Seconds over which speed and ETA are measured: some steps of a training take longer than Rich's thirty."""


@cache
def console() -> "Console":
    """Standard error. One for the bar and the log, so that a line of the log goes above the bar."""
    from rich.console import Console

    return Console(stderr=True)


class Bar:
    """A context that shows how much of some work is done, and takes the bar away at its end, also that by Ctrl-C, unless it ``stays``.

    ``unit`` is what is counted, in the plural, or %. Each may be ``each`` of something else, by the name of ``of``, in which the speed is
    told. ``done`` were done before. Where ``total`` is not known yet, the bar comes with the first ``show`` that tells it.
    """

    def __init__(
        self, unit: str, total: float = 0, *, each: int = 1, of: str = "", done: float = 0, stays: bool = False, shown: bool = True
    ) -> None:
        self.seen = shown and sys.stderr is not None and sys.stderr.isatty()
        self._unit, self._each, self._of, self._stays = unit, each, of or unit, stays
        self._total, self._done = total, done
        self._progress: Progress | None = None

    def __enter__(self) -> Self:
        self._begin("")
        return self

    def __exit__(self, *error: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def show(self, done: float, total: float = 0, words: str = "") -> None:
        """``done`` of ``total`` are done; ``words`` stand beside them until others come."""
        self._done, self._total = done, total or self._total
        if self._progress is None:
            self._begin(words)
            return
        for task in self._progress.tasks:
            self._progress.update(task.id, completed=done, total=self._total, words=words or task.fields["words"])

    def advance(self) -> None:
        """One more is done."""
        self.show(self._done + 1)

    def _begin(self, words: str) -> None:
        if not (self.seen and self._total):
            return
        from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.text import Text

        share, unit, each, of = self._unit == "%", self._unit, self._each, self._of

        class Count(ProgressColumn):
            def render(self, task: Task) -> Text:
                return Text(f"{task.percentage:.0f} %" if share else f"{task.completed:.0f}/{task.total:.0f} {unit}")

        class Speed(ProgressColumn):
            def render(self, task: Task) -> Text:
                return Text(f"{each * task.speed:.1f} {of}/s" if task.speed and not share else "")

        columns = (BarColumn(), Count(), TextColumn("{task.fields[words]}", markup=False), Speed(), TimeElapsedColumn())
        self._progress = Progress(
            *columns,
            TextColumn("ETA"),
            TimeRemainingColumn(compact=True),
            console=console(),
            transient=not self._stays,
            speed_estimate_period=SPEED_OVER,
            # Lines that are printed meanwhile go above the bar; those of an stdout that leads elsewhere go there.
            redirect_stdout=sys.stdout is not None and sys.stdout.isatty(),
        )
        self._progress.add_task("", total=self._total, completed=self._done, words=words)  # type: ignore[arg-type]  # a float everywhere else in Rich
        self._progress.start()
