"""What a training shows on a terminal, and how Ctrl-C reaches it."""

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from limner.progress import Bar

logger = logging.getLogger("limner")

LINE_EVERY = 100


@contextmanager
def progress(first: int, total: int, pictures_per_step: int, *, shown: bool) -> Iterator[Callable[[int, str], None]]:
    """A bar with losses, pictures/s and ETA on a terminal; a line now and then in a log. Call what it gives with (step, losses)."""
    started = time.monotonic()
    with Bar("steps", total, each=pictures_per_step, of="pictures", done=first, stays=True, shown=shown) as bar:

        def show(step: int, losses: str) -> None:
            bar.show(step, words=losses)
            if shown and not bar.seen and (step % LINE_EVERY == 0 or step == total):
                rate = (step - first) / max(time.monotonic() - started, 1e-9)
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
