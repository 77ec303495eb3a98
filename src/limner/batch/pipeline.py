"""Pictures one after the other through three steps, so that the engine never waits for a disk."""

import logging
import os
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

from limner.errors import LimnerError
from limner.parallel import attempted, in_order

if TYPE_CHECKING:
    from limner.batch.planning import Job

logger = logging.getLogger("limner")

Read = TypeVar("Read")
Painted = TypeVar("Painted")


@dataclass(frozen=True)
class Result:
    """What became of one picture."""

    job: "Job"
    outcome: Literal["painted", "skipped", "failed"]
    error: LimnerError | None = None
    lost: tuple[str, ...] = ()
    """What was in the photograph's file and is not in the painting's, such as all frames but the first."""


def pipeline(
    jobs: Iterable["Job"],
    read: Callable[["Job"], Read],
    paint: Callable[["Job", Read], Painted],
    write: Callable[["Job", Painted], tuple[str, ...]],
) -> Generator[Result, None, None]:
    """``write(job, paint(job, read(job)))`` for each, results in the order of ``jobs``.

    ``paint`` runs in the caller's thread, on one picture after the other; the next ones are read and the last ones written meanwhile, a few
    at a time, so that memory does not grow with their number. ``write`` tells what was lost. Whatever goes wrong with a picture, by its
    fault or by ours, fails that picture alone.
    """
    threads = min(4, os.cpu_count() or 1)
    readers, writers = ThreadPoolExecutor(threads, "limner-read"), ThreadPoolExecutor(threads, "limner-write")

    def read_one(job: "Job") -> "tuple[Job, Future[Read]]":
        return job, attempted(read, job)

    def write_one(job: "Job", painted: Future[Painted]) -> Result:
        return _result(job, attempted(lambda: write(job, painted.result())))

    try:
        photos = in_order(readers, read_one, ((job,) for job in jobs), ahead=threads)
        paintings = ((job, attempted(lambda job, photo: paint(job, photo.result()), job, photo)) for job, photo in photos)
        yield from in_order(writers, write_one, paintings, ahead=threads, early=True)
    finally:
        readers.shutdown(cancel_futures=True)
        writers.shutdown()


def _result(job: "Job", written: Future[tuple[str, ...]]) -> Result:
    try:
        return Result(job, "painted", lost=written.result())
    except LimnerError as error:
        return Result(job, "failed", error)
    except MemoryError:
        return Result(job, "failed", LimnerError(f"{job.source} could not be painted, for memory has run out: end other programs."))
    except OSError as error:
        return Result(job, "failed", LimnerError(f"{job.source} could not be painted ({error}): check its name, and the disk."))
    except Exception as error:
        logger.debug("%s", job.source, exc_info=True)
        told = LimnerError(
            f"{job.source} could not be painted, by a mistake of Limner's ({type(error).__name__}: {error}): please report it."
        )
        told.__cause__ = error
        return Result(job, "failed", told)
