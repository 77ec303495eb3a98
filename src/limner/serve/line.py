"""A line of bounded length before a few workers: whoever finds it full is told when to come again."""

import asyncio
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from limner.serve.problems import Problem

Result = TypeVar("Result")


class StoppedError(Exception):
    """Raised inside work whose client has gone, or whose time is over."""


class Line:
    """``workers`` threads, and places for ``waiting`` more. First come, first served."""

    def __init__(self, workers: int, waiting: int) -> None:
        self.workers, self.places = workers, workers + waiting
        self.taken = self.running = 0
        self._pool = ThreadPoolExecutor(workers, "limner-paint")
        self._lock = threading.Lock()
        self._usual = 1.0

    def enter(self) -> "Place":
        """Take a place, before the picture is even received. Raises ``Problem`` where there is none."""
        with self._lock:
            full = self.taken >= self.places
            self.taken += not full
        if full:
            raise self.busy("The line is full")
        return Place(self)

    def busy(self, what: str) -> Problem:
        """503, and when it may be better."""
        wait = max(1, math.ceil(self.taken * self._usual / self.workers))
        return Problem(503, f"{what}: try again in about {wait} seconds.", {"Retry-After": str(wait)})

    def submit(self, work: Callable[[], Result]) -> "Future[Result]":
        """Have ``work`` done after what was submitted before."""

        def run() -> Result:
            start = time.perf_counter()
            with self._lock:
                self.running += 1
            try:
                return work()
            finally:
                with self._lock:
                    self.running -= 1
                    self._usual += 0.1 * (time.perf_counter() - start - self._usual)

        return self._pool.submit(run)

    def leave(self) -> None:
        with self._lock:
            self.taken -= 1

    def close(self) -> None:
        """Wait for what is running; what waits is not begun any more."""
        self._pool.shutdown(cancel_futures=True)


class Place:
    """A place in the line, given back when the block ends and the work that was begun has ended, too."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._work: Future[Any] | None = None

    def __enter__(self) -> "Place":
        return self

    def __exit__(self, *_: object) -> None:
        if self._work is None:
            self._line.leave()
        else:
            self._work.add_done_callback(lambda _: self._line.leave())  # at once, where it is done

    async def work(self, work: Callable[[], Result]) -> Result:
        """What ``work`` gives. Cancelled before its turn, it is never begun; later, it goes on until it looks up."""
        self._work = future = self._line.submit(work)
        return await asyncio.wrap_future(future)
