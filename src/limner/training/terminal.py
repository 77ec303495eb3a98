"""What a training shows on a terminal, and how Ctrl-C reaches it."""

import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

logger = logging.getLogger("limner")

LINE_EVERY = 100
console = Console(stderr=True)
"""One for the bar and the log, so that a line of the log goes above the bar."""


@contextmanager
def progress(first: int, total: int, pictures_per_step: int, *, shown: bool) -> Iterator[Callable[[int, str], None]]:
    """A bar with losses, pictures/s and ETA on a terminal; a line now and then in a log. Call what it gives with (step, losses)."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[losses]}"))
    times = (TextColumn("{task.fields[speed]}"), TimeElapsedColumn(), TextColumn("ETA"), TimeRemainingColumn(compact=True))
    started = time.monotonic()
    with Progress(*columns, *times, disable=not (shown and sys.stderr.isatty()), console=console) as bar:
        task = bar.add_task("training", total=total, completed=first, losses="", speed="")

        def show(step: int, losses: str) -> None:
            rate = (step - first) / max(time.monotonic() - started, 1e-9)
            shown_losses = losses or bar.tasks[0].fields["losses"]
            bar.update(task, completed=step, losses=shown_losses, speed=f"{rate * pictures_per_step:.1f} pictures/s")
            if shown and bar.disable and (step % LINE_EVERY == 0 or step == total):
                left = (total - step) / rate / 60
                logger.info("step %d of %d: %s (%.1f pictures/s, %.0f min left)", step, total, losses, rate * pictures_per_step, left)

        yield show


@contextmanager
def interrupts() -> Iterator[threading.Event]:
    """An event that Ctrl-C (or SIGTERM) sets: the step under way is finished and saved. A second Ctrl-C ends at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # only the main thread may handle signals
        yield asked
        return

    when = 0.0

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal when
        if asked.is_set():
            # A launcher passes on what its whole process group has heard already: only a person comes again after a while.
            if number == signal.SIGINT and time.monotonic() - when > 1:
                raise KeyboardInterrupt
            return
        asked.set()
        when = time.monotonic()
        logger.info("stopping after this step; Ctrl-C again ends at once, without saving")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
