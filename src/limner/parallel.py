"""Work in threads, results in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

Result = TypeVar("Result")


def in_order(
    pool: Executor, work: Callable[..., Result], items: Iterable[tuple[Any, ...]], *, ahead: int, early: bool = False
) -> Iterator[Result]:
    """``work(*item)`` for each, results in the order of ``items``. At most ``ahead`` are under way or wait beside the one that is handed
    out, so that memory does not grow with their number. With ``early`` a result is handed out as soon as it is there, and not only when
    as many others are under way.
    """
    waiting: deque[Future[Result]] = deque()
    for item in items:
        waiting.append(pool.submit(work, *item))
        while waiting and (len(waiting) > ahead or (early and waiting[0].done())):
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def attempted(work: Callable[..., Result], *arguments: Any) -> "Future[Result]":
    """What ``work`` gives or raises, to be looked at later."""
    future: Future[Result] = Future()
    try:
        future.set_result(work(*arguments))
    except Exception as error:
        future.set_exception(error)
    return future
