"""Many files, one style: what is there already is skipped, a bad file never stops the rest, and the engine never waits for a disk."""

import logging
import os
import shutil
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from limner import files, limits
from limner.errors import LimnerError, require
from limner.files import clear_leftovers, replacing
from limner.gallery.bundled import Tier
from limner.gallery.card import WorkingSize
from limner.style.runtimes.contract import Device, Runtime

if TYPE_CHECKING:
    from limner.batch.planning import Job
    from limner.pictures.image import Metadata, Picture
    from limner.pictures.manifest import Entry, Record
    from limner.style.style import Style

logger = logging.getLogger("limner")

Format = Literal["jpg", "png", "webp", "tif", "avif", "bmp", "gif"]
Executor = Literal["local", "ray"]
Read = TypeVar("Read")
Painted = TypeVar("Painted")


@dataclass(frozen=True)
class Options:
    """Options of ``limner apply``."""

    style: str = ""
    """Name of a bundled style (see `limner styles`), or a style file; the first bundled one that has the tier if left out."""
    tier: Tier = "standard"
    """The style's network itself, the same in int8 (faster), or a small one for video (many times faster, and coarser)."""
    strength: float = 1.0
    """From 0, the photograph itself, to 1, the style."""
    keep_colors: bool = False
    """Keep the photograph's own colours under the style's strokes."""
    working_size: WorkingSize | None = None
    """Short side, in pixels, at which larger pictures are painted, to be enlarged to their own size afterwards: strokes and lines grow with
    the picture. 0 or full is the picture's own size; left out, it is what the style's card says."""
    max_size: int | None = None
    """Scale pictures down so that the longer side has at most this many pixels; strokes then look larger."""
    runtime: Runtime = "auto"
    """Engine to run the style with."""
    device: Device = "auto"
    """Where to run it; auto is the CPU, and with the torch runtime a GPU where there is one."""
    executor: Executor = "local"
    """Who does the work: this program, or Ray Data, here or on the cluster of RAY_ADDRESS (with ray: `s3://...` and .parquet files too)."""
    overwrite: bool = False
    """Paint again what is there already."""
    format: Format | None = None
    """Format of the paintings; by default that of each photograph, and PNG where Limner only reads it."""
    strip: bool = False
    """Write no metadata (camera, place, time, colour profile)."""
    quality: int = 95
    """Quality of JPEG, WebP and AVIF, from 1 to 100."""
    max_pixels: int = 200_000_000
    """Refuse pictures with more pixels than this."""


NOT_SEEN = ("style", "runtime", "device", "executor", "overwrite", "format", "max_pixels")
"""Options that leave no trace in a painting, or one that its name or its style's weights tell."""


@dataclass(frozen=True)
class Result:
    """What became of one picture."""

    job: "Job"
    outcome: Literal["painted", "skipped", "failed"]
    error: LimnerError | None = None
    lost: tuple[str, ...] = ()
    """What was in the photograph's file and is not in the painting's, such as all frames but the first."""


class Painter:
    """One style and its options: the three small steps that every picture takes, wherever it is painted."""

    tell: Callable[[str], None] = staticmethod(lambda _: None)
    """Takes remarks for people: what a big picture will take."""
    watch: Callable[[float], None] = staticmethod(lambda _: None)
    """Is told which part of a big picture is done."""

    def __init__(self, style: "Style", options: Options) -> None:
        self.style, self.options = style, options

    def read(self, job: "Job") -> "Picture | None":
        """None: it is so large that nothing of it is in memory while others are painted."""
        from limner.pictures import image

        if image.count_pixels(job.source, max_pixels=self.options.max_pixels) > limits.AHEAD or self._in_rows(job):
            return None
        return self._whole(job)

    def _whole(self, job: "Job") -> "Picture":
        from limner.pictures import image

        return self.sized(image.read(job.source, max_pixels=self.options.max_pixels))

    def paint(self, job: "Job", photo: "Picture | None") -> "tuple[Picture | None, tuple[str, ...]]":
        """The painting, or None where it is written already; and what of the photograph's file is lost in it."""
        if photo is not None:
            return self.paint_whole(job, photo)
        if self._in_rows(job):
            return None, self._paint_rows(job)
        painted, lost = self.paint_whole(job, self._whole(job))
        self.write(job, painted)
        return None, lost

    def paint_whole(self, job: "Job", photo: "Picture") -> "tuple[Picture, tuple[str, ...]]":
        height, width = photo.pixels.shape[:2]
        lost = self._check(job, height, width, photo.metadata)
        self._announce(job, height, width)
        painted = self.style.paint(
            photo,
            strength=self.options.strength,
            keep_colors=self.options.keep_colors,
            working_size=self.options.working_size,
            tell=self.watch,
        )
        return painted, lost

    def _paint_rows(self, job: "Job") -> tuple[str, ...]:
        from limner.pictures import scanlines

        with scanlines.reading(job.source, max_pixels=self.options.max_pixels) as source:
            lost = self._check(job, source.height, source.width, source.metadata)
            with scanlines.writing(job.target, source, strip=self.options.strip, quality=self.options.quality) as put:
                self._announce(job, source.height, source.width)
                for band in self.style.bands(source, self.options.working_size, self.watch):
                    put(band)
        return lost

    def _check(self, job: "Job", height: int, width: int, metadata: "Metadata") -> tuple[str, ...]:
        """What the painting's file will lack. Raises ``LimnerError`` where it cannot be written: not after an hour of painting."""
        from limner.pictures import image

        try:
            image.check_side(image.WRITABLE[job.target.suffix.lower()], height, width)
        except LimnerError as error:
            raise LimnerError(f"{job.target} cannot be written: {error}") from error
        return metadata.lost if self.options.strip else (*metadata.lost, *image.left_behind(metadata, job.target.suffix))

    def _in_rows(self, job: "Job") -> bool:
        from limner.pictures import scanlines

        if self.options.strength < 1 or self.options.keep_colors or self.options.max_size is not None:
            return False
        size = scanlines.size_in_rows(job.source, max_pixels=self.options.max_pixels)
        return size is not None and self.style.in_bands(*size, self.options.working_size)

    def _announce(self, job: "Job", height: int, width: int) -> None:
        if self.style.in_bands(height, width, self.options.working_size):
            memory, disk, seconds = self.style.estimate(height, width, self.options.working_size)
            self.tell(
                f"{job.source}: {width} x {height} pixels, in bands: about {memory / 1e9:.1f} GB of memory, {disk / 1e9:.1f} GB of "
                f"temporary files, {seconds:.0f} seconds."
            )

    def write(self, job: "Job", painted: "Picture | None") -> None:
        from limner.pictures import image

        if painted is None:
            return
        if self.is_photograph(painted, job.target.suffix) and job.source.is_file():
            with replacing(job.target) as beside:
                shutil.copyfile(job.source, beside)
        else:
            image.write(painted, job.target, strip=self.options.strip, quality=self.options.quality)

    def sized(self, photo: "Picture") -> "Picture":
        from limner.pictures import image

        return photo if self.options.max_size is None else image.fit(photo, self.options.max_size)

    def is_photograph(self, painted: "Picture", suffix: str) -> bool:
        """Whether the file itself is asked for, to the bit: not even its colour profile or its JPEG blocks are worked out anew."""
        from limner.pictures import image

        same_format = image.WRITABLE.get(suffix.lower()) == painted.metadata.format
        return self.options.strength == 0 and self.options.max_size is None and not self.options.strip and same_format


class Batch:
    """Pictures that are to be painted: planned, checked, and compared with what is there. Iterating paints them.

    ``len`` is how many are still to be painted. In an output folder a manifest says what was made, so that a batch that was ended at any
    moment goes on where it was. ``tell`` takes remarks for people. Raises ``LimnerError`` before anything is painted where the call as a
    whole cannot work.
    """

    def __init__(self, inputs: Sequence[str], out: str | None, options: Options, tell: Callable[[str], None]) -> None:
        from limner.style import style

        check(options)
        self.options, self.tell = options, tell
        self.watch: Callable[[float], None] = lambda _: None  # told which part of a big picture is done
        self.style = style.load(options.style, tier=options.tier, runtime=options.runtime, device=options.device)
        self._seen = seen(self.options, self.style.working_size(options.working_size))
        self.jobs, folder = self.plan(inputs, out)
        check_writable(job.target for job in self.jobs)
        self._entries = {job.target: self._entry(job, folder) for job in self.jobs}
        self._manifest = self.hold(folder) if folder else None
        try:
            self.clear()
            self._todo = self._missing(tell)
            if self._todo:
                self.open()
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        return len(self._todo)

    def __iter__(self) -> Generator[Result, None, None]:
        """Results in the order of the plan. Where the caller ends it early, what is painted is still written."""
        try:
            with closing(self.results([job for job in self.jobs if job.target in self._todo])) as results:
                for job in self.jobs:
                    yield next(results) if job.target in self._todo else Result(job, "skipped")
        finally:
            self.close()

    def results(self, jobs: Sequence["Job"]) -> Generator[Result, None, None]:
        """Paint ``jobs``; a result for each, in their order."""
        painter = Painter(self.style, self.options)
        painter.tell, painter.watch = self.tell, self.watch

        def write(job: "Job", painted: "tuple[Picture | None, tuple[str, ...]]") -> tuple[str, ...]:
            painter.write(job, painted[0])
            self.record(job)
            return painted[1]

        return pipeline(jobs, painter.read, painter.paint, write)

    # What a batch that is spread over many machines does in another way.

    def plan(self, inputs: Sequence[str], out: str | None) -> "tuple[list[Job], Path | None]":
        """The jobs, and the output folder where there is one."""
        from limner.batch import planning

        folder = Path(out) if out is not None else None
        jobs = planning.plan([Path(name) for name in inputs], folder, self.style.card.name, self.options.format, self.tell)
        return jobs, None if jobs[0].target == folder else folder

    def hold(self, folder: Path) -> "Record":
        """The manifest of the output folder."""
        from limner.pictures.manifest import Manifest

        return Manifest(folder, self.tell)

    def clear(self) -> None:
        """Delete what killed runs left half-written where this one is to write."""
        clear_leftovers({job.target.parent for job in self.jobs})

    def stat(self, job: "Job") -> tuple[int, int]:
        """(bytes, nanoseconds since 1970 of the last change) of a photograph."""
        try:
            found = job.source.stat()
        except OSError:  # told when it is read
            return 0, 0
        return found.st_size, found.st_mtime_ns

    def is_there(self, target: Path) -> bool:
        return files.exists(target)

    def open(self) -> None:
        self.style.open()

    def record(self, job: "Job") -> None:
        """Put a painting that is finished into the manifest."""
        if self._manifest:
            self._manifest.add(self._entries[job.target])

    def close(self) -> None:
        if self._manifest:
            self._manifest.close()

    def _entry(self, job: "Job", folder: Path | None) -> "Entry":
        from limner.pictures.manifest import Entry

        target = job.target.relative_to(folder) if folder else job.target
        card = self.style.card
        return Entry(job.place, *self.stat(job), target.as_posix(), card.name, card.weights_sha256, self._seen)

    def _missing(self, tell: Callable[[str], None]) -> set[Path]:
        from limner.pictures.manifest import missing

        if self.options.overwrite:
            return set(self._entries)
        entries = self._manifest.entries if self._manifest else {}
        return missing(self._entries, entries, self.is_there, seen(Options()), tell)


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
    reading: deque[tuple[Job, Future[Read]]] = deque()
    writing: deque[tuple[Job, Future[tuple[str, ...]]]] = deque()
    coming = iter(jobs)
    try:
        while True:
            reading.extend((job, readers.submit(read, job)) for job in islice(coming, 1 + threads - len(reading)))
            if not reading:
                break
            job, photo = reading.popleft()
            try:
                written = writers.submit(write, job, paint(job, photo.result()))
            except Exception as error:
                written = Future()
                written.set_exception(error)
            writing.append((job, written))
            while writing and (writing[0][1].done() or len(writing) > threads):
                yield _result(*writing.popleft())
        while writing:
            yield _result(*writing.popleft())
    finally:
        readers.shutdown(cancel_futures=True)
        writers.shutdown()


def _result(job: "Job", written: Future[tuple[str, ...]]) -> Result:
    try:
        return Result(job, "painted", lost=written.result())
    except LimnerError as error:
        return Result(job, "failed", error)
    except (OSError, MemoryError) as error:
        told = LimnerError(f"{job.source} could not be painted ({error or type(error).__name__}): check its name, and free memory.")
        return Result(job, "failed", told)
    except Exception as error:
        logger.debug("%s", job.source, exc_info=True)
        told = LimnerError(
            f"{job.source} could not be painted, by a mistake of Limner's ({type(error).__name__}: {error}): please report it."
        )
        told.__cause__ = error
        return Result(job, "failed", told)


def check(options: Options) -> None:
    """Raise ``LimnerError`` where an option is out of its range."""
    require(
        0 <= options.strength <= 1,
        f"A `strength` of {options.strength:g} is not possible: give a number from 0 (the photograph) to 1 (the style).",
    )
    require(
        options.max_size is None or options.max_size >= 1, f"A `max_size` of {options.max_size} is not possible: give a number of pixels."
    )
    require(
        options.working_size is None or options.working_size == "full" or options.working_size >= 0,
        f"A `working_size` of {options.working_size} is not possible: give the short side in pixels, or full.",
    )
    require(1 <= options.quality <= 100, f"A `quality` of {options.quality} is not possible: give a number from 1 to 100.")


def check_writable(targets: Iterable[Path]) -> None:
    """Raise ``LimnerError`` where a target's suffix names no format that Limner writes."""
    from limner.pictures import image

    for target in targets:
        if target.suffix.lower() not in image.WRITABLE:
            raise LimnerError(f"{target} cannot be written: Limner writes {', '.join(image.WRITABLE)}, not {target.suffix!r}.")


def seen(options: Options, working_size: int = 0) -> dict[str, Any]:
    """The options that decide what a painting looks like; the ``working_size`` is that of the style, where the options name none."""
    return {name: value for name, value in asdict(options).items() if name not in NOT_SEEN} | {"working_size": working_size}
