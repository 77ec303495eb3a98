"""Long work: many photographs, or large ones. A job goes on when its client hangs up, and is fetched later."""

import asyncio
import secrets
import shutil
import tempfile
import time
import zipfile
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from limner.batch.options import Options
from limner.serve.line import Line, StoppedError
from limner.serve.problems import Problem
from limner.serve.studio import Painting, Photo, Studio
from limner.serve.uploads import Order

KEPT = 900.0
"""Seconds for which a job is kept after its end."""

FINISHED = 64
"""Finished jobs that are kept, at most."""

QUIET = 15.0
"""Seconds after which a stream of events that has nothing to tell says that it is there."""

State = Literal["waiting", "painting", "done", "failed", "cancelled"]


class Status(BaseModel):
    """How a job stands."""

    id: str
    state: State
    done: int
    """Photographs that are finished, well or badly."""
    total: int
    part: float
    """Which part of all the work is done, from 0 to 1."""
    errors: list[str]
    """A sentence for each photograph that could not be painted."""


@dataclass(eq=False)
class Job:
    """Photographs that lie in a folder until they are painted, and then their paintings."""

    id: str
    folder: Path
    names: list[str]
    """What the photographs were called."""
    options: Options
    own: bytes | None
    state: State = "waiting"
    done: int = 0
    part: float = 0.0
    errors: list[str] = field(default_factory=list)
    result: Path | None = None
    name: str = ""
    media_type: str = ""
    ended: float | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def status(self) -> Status:
        total = len(self.names)
        return Status(
            id=self.id, state=self.state, done=self.done, total=total, part=min((self.done + self.part) / total, 1), errors=self.errors
        )

    @property
    def is_over(self) -> bool:
        return self.state not in ("waiting", "painting")

    def tell(self) -> None:
        """Wake everybody who watches."""
        self.changed.set()
        self.changed = asyncio.Event()


class Jobs:
    """The jobs of a server. They share its line with the requests, one picture after the other."""

    def __init__(self, studio: Studio, line: Line, most: int, count: Callable[[Painting], None]) -> None:
        self._studio, self._line, self._most, self._count = studio, line, most, count
        self._jobs: dict[str, Job] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="limner-jobs-")

    def __len__(self) -> int:
        return len(self._tasks)

    def check(self) -> None:
        """Raise ``Problem`` where there is no room for one more."""
        if len(self._tasks) >= self._most:
            raise self._line.busy("There are too many jobs")

    async def start(self, order: Order) -> Job:
        self.check()
        self._forget()
        id = secrets.token_urlsafe(12)
        job = Job(id, Path(self._folder.name) / id, [photo.name for photo in order.photos], order.options, order.own)
        self._jobs[id] = job
        self._tasks[id] = task = asyncio.create_task(self._run(job, order.photos), name=f"job {id}")
        task.add_done_callback(lambda _: self._tasks.pop(job.id, None))
        return job

    def find(self, id: str) -> Job:
        self._forget()
        if id not in self._jobs:
            raise Problem(404, f"There is no job {id[:40]!r}: it was never given, was cancelled, or ended long ago.")
        return self._jobs[id]

    async def drop(self, id: str) -> None:
        """Cancel it, and forget it."""
        job = self.find(id)
        if task := self._tasks.get(id):
            task.cancel()
            await asyncio.wait([task])
        self._jobs.pop(id, None)
        shutil.rmtree(job.folder, ignore_errors=True)

    async def events(self, job: Job) -> AsyncIterator[bytes]:
        """Server-sent events: its status whenever it changes, until it is over."""
        told = None
        while True:
            changed, status = job.changed, job.status
            if status != told:
                told = status.model_copy(deep=True)
                yield f"event: {status.state}\ndata: {status.model_dump_json()}\n\n".encode()
            if job.is_over:
                return
            try:
                await asyncio.wait_for(changed.wait(), QUIET)
            except TimeoutError:
                yield b": still there\n\n"

    async def close(self) -> None:
        """Give up what is not done."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def clear(self) -> None:
        self._folder.cleanup()

    def _forget(self) -> None:
        over = sorted((job for job in self._jobs.values() if job.ended is not None), key=lambda job: job.ended or 0)
        old = [job for job in over if time.monotonic() - (job.ended or 0) > KEPT]
        for job in {*old, *over[: max(len(over) - FINISHED, 0)]}:
            del self._jobs[job.id]
            shutil.rmtree(job.folder, ignore_errors=True)

    async def _run(self, job: Job, photos: Sequence[Photo]) -> None:
        stop = False

        def watch(part: float) -> None:
            if stop:
                raise StoppedError
            loop.call_soon_threadsafe(progress, part)

        def progress(part: float) -> None:
            job.part = part
            job.tell()

        loop = asyncio.get_running_loop()
        try:
            await asyncio.to_thread(_lay_down, job, photos)
            del photos
            with zipfile.ZipFile(job.folder / "paintings.zip", "w", zipfile.ZIP_STORED) as archive:
                for number in range(len(job.names)):
                    await self._one(job, number, archive, watch)
            job.state = "done" if job.result else "failed"
        except asyncio.CancelledError:
            stop, job.state = True, "cancelled"
        except Exception as error:
            job.errors.append(f"The job was given up, by a mistake of Limner's or a full disk ({type(error).__name__}: {error}).")
            job.state = "failed"
        finally:
            job.ended, job.part, job.own = time.monotonic(), 0.0, None
            job.tell()

    async def _one(self, job: Job, number: int, archive: zipfile.ZipFile, watch: Callable[[float], None]) -> None:
        """Paint one photograph of a job, and lay it down."""
        several = len(job.names) > 1

        def work() -> Painting:
            watch(0.0)
            place = job.folder / str(number)
            painting = self._studio.paint(Photo(place.read_bytes(), job.names[number]), job.options, job.own, watch)
            place.unlink()
            if several:
                archive.writestr(_free(painting.name, set(archive.namelist())), painting.data)
            else:
                (job.folder / "painting").write_bytes(painting.data)
            return painting

        job.state = "painting"
        try:
            painting = await asyncio.wrap_future(self._line.submit(work))
        except Problem as problem:
            job.errors.append(str(problem))
        else:
            self._count(painting)
            job.result = job.folder / ("paintings.zip" if several else "painting")
            job.name = f"paintings.{painting.style}.zip" if several else painting.name
            job.media_type = "application/zip" if several else painting.media_type
        job.done, job.part = job.done + 1, 0.0
        job.tell()


def _lay_down(job: Job, photos: Sequence[Photo]) -> None:
    job.folder.mkdir()
    for number, photo in enumerate(photos):
        (job.folder / str(number)).write_bytes(photo.data)


def _free(name: str, taken: set[str]) -> str:
    """``name``, or ``photo-2.storybook.jpg`` where there is one of that name already."""
    stem, dot, rest = name.partition(".")
    number, free = 2, name
    while free in taken:
        free, number = f"{stem}-{number}{dot}{rest}", number + 1
    return free
