"""Many files, one style: what is there already is skipped, and a bad file never stops the rest.

A batch is put together of three parts that know nothing of one another: where the photographs lie, where the paintings go, and who paints.
"""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Protocol

from limner import files
from limner.batch.options import Options, seen, working_size
from limner.batch.painter import Painter, open_for
from limner.batch.pipeline import Result, pipeline
from limner.batch.planning import Job, plan
from limner.errors import LimnerError
from limner.files import clear_leftovers
from limner.pictures import image
from limner.pictures.image import Picture
from limner.pictures.manifest import AnyManifest, Entry, Manifest, missing
from limner.style.style import Style

Tell = Callable[[str], None]


class Photographs(Protocol):
    """Where the photographs lie."""

    def plan(self, out: Path | None, style: str, format: str | None, tell: Tell) -> list[Job]:
        """What becomes what. Raises ``LimnerError`` where there is no photograph, or two would become one file."""

    def stat(self, job: Job) -> tuple[int, int]:
        """(bytes, nanoseconds since 1970 of the last change) of a photograph; zeros where that is not known."""


class Paintings(Protocol):
    """Where the paintings go."""

    @property
    def out(self) -> Path | None:
        """The folder, or the one file; None: beside the photographs."""

    def hold(self, folder: Path, tell: Tell) -> AnyManifest:
        """The manifest of the output folder. Raises ``LimnerError`` where another Limner holds it, or something else is there."""

    def clear(self, jobs: Sequence[Job]) -> None:
        """Delete what killed runs left half-written where these are to be written."""

    def is_there(self, target: Path) -> bool:
        """Whether a painting is there."""


class Worker(Protocol):
    """Who paints."""

    def open(self) -> None:
        """Raise ``LimnerError`` now where nothing can be painted, and not at the first picture."""

    def results(
        self, jobs: Sequence[Job], lines: Mapping[Path, str], done: Callable[[Job], None], watch: Callable[[float], None]
    ) -> Generator[Result, None, None]:
        """Paint ``jobs``: a result for each. ``lines`` has the manifest's line for each target; ``done`` is called for each painting that
        is written, and ``watch`` with the part of a big picture that is done.
        """


class LocalPhotographs:
    """Pictures, folders and patterns of this machine."""

    def __init__(self, inputs: Iterable[str], frame: float | None = None) -> None:
        """With ``frame``, a second, one frame of each film among them."""
        self._inputs, self._frame = [Path(name) for name in inputs], frame

    def plan(self, out: Path | None, style: str, format: str | None, tell: Tell) -> list[Job]:
        return plan(self._inputs, out, style, format, tell, self._frame)

    def stat(self, job: Job) -> tuple[int, int]:
        try:
            found = job.source.stat()
        except OSError:  # told when it is read
            return 0, 0
        return found.st_size, found.st_mtime_ns


class LocalPaintings:
    """A folder or a file of this machine, or beside the photographs."""

    def __init__(self, out: str | None) -> None:
        self.out = Path(out) if out is not None else None

    def hold(self, folder: Path, tell: Tell) -> AnyManifest:
        return Manifest(folder, tell)

    def clear(self, jobs: Sequence[Job]) -> None:
        clear_leftovers({job.target.parent for job in jobs})

    def is_there(self, target: Path) -> bool:
        return files.exists(target)


class Here:
    """This process: one picture is painted while others are read and written."""

    def __init__(self, style: Style, options: Options, tell: Tell) -> None:
        self._style, self._options, self._tell = style, options, tell

    def open(self) -> None:
        open_for(self._style, self._options)

    def results(
        self, jobs: Sequence[Job], lines: Mapping[Path, str], done: Callable[[Job], None], watch: Callable[[float], None]
    ) -> Generator[Result, None, None]:
        """In the order of the jobs."""
        painter = Painter(self._style, self._options, tell=self._tell, watch=watch)

        def write(job: Job, painted: tuple[Picture | None, tuple[str, ...]]) -> tuple[str, ...]:
            painter.write(job, painted[0])
            done(job)
            return painted[1]

        return pipeline(jobs, painter.read, painter.paint, write)


class Batch:
    """Pictures that are to be painted: planned, checked, and compared with what is there. Iterating paints them.

    ``len`` is how many are still to be painted. In an output folder a manifest says what was made, so that a batch that was ended at any
    moment goes on where it was. ``tell`` takes remarks for people; ``watch`` may be set, and is told which part of a big picture is done.
    Raises ``LimnerError`` before anything is painted where the call as a whole cannot work.
    """

    def __init__(
        self, photographs: Photographs, paintings: Paintings, worker: Worker, style: Style, options: Options, tell: Tell = lambda _: None
    ) -> None:
        self.watch: Callable[[float], None] = lambda _: None
        self._worker = worker
        self.jobs = photographs.plan(paintings.out, style.card.name, options.format, tell)
        folder = None if self.jobs[0].target == paintings.out else paintings.out
        check_writable(job.target for job in self.jobs if not job.film)
        short = style.working_size(working_size(options, style.card))
        self._entries = {
            job.target: Entry(
                source=job.place,
                size=size,
                mtime_ns=time,
                target=(job.target.relative_to(folder) if folder else job.target).as_posix(),
                style=style.card.name,
                weights=style.card.weights_sha256,
                options=seen(options, short, film=job.film or job.frame is not None),
            )
            for job in self.jobs
            for size, time in (photographs.stat(job),)
        }
        self._record = paintings.hold(folder, tell) if folder else None
        try:
            paintings.clear(self.jobs)
            done = self._record.entries if self._record else {}
            # A frame is painted to be looked at, with one set of options after the other.
            anew = options.overwrite or options.film.frame is not None
            self._todo = set(self._entries) if anew else missing(self._entries, done, paintings.is_there, seen(Options()), tell)
            if self._todo:
                worker.open()
        except BaseException:
            self._close()
            raise

    def __len__(self) -> int:
        return len(self._todo)

    def __iter__(self) -> Generator[Result, None, None]:
        """Results in the worker's order, what is skipped among them. Where the caller ends it early, what is painted is still written."""
        todo = [job for job in self.jobs if job.target in self._todo]
        lines = {job.target: self._entries[job.target].line() for job in todo}
        try:
            with closing(self._worker.results(todo, lines, self._done, lambda part: self.watch(part))) as results:
                for job in self.jobs:
                    yield next(results) if job.target in self._todo else Result(job, "skipped")
        finally:
            self._close()

    def _done(self, job: Job) -> None:
        if self._record:
            self._record.add(self._entries[job.target])

    def _close(self) -> None:
        if self._record:
            self._record.close()


def check_writable(targets: Iterable[Path]) -> None:
    """Raise ``LimnerError`` where a target's suffix names no format that Limner writes."""
    for target in targets:
        if target.suffix.lower() not in image.WRITABLE:
            raise LimnerError(f"{target} cannot be written: Limner writes {', '.join(image.WRITABLE)}, not {target.suffix!r}.")
