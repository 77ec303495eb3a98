"""Painter: a style and its options, and the three small steps that every picture takes, wherever it is painted."""

import io
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from limner import limits
from limner.batch.options import Options, seen, working_size
from limner.batch.planning import Job
from limner.errors import LimnerError, TooLargeError
from limner.files import replacing
from limner.pictures import image, scanlines
from limner.pictures.image import Metadata, Picture
from limner.style.runtimes.contract import Statistics
from limner.style.style import Style


class Files(Protocol):
    """How the files of pictures are read and written."""

    def path(self, job: Job) -> Path | None:
        """The photograph, where it and its painting are files of this machine, which can be read and written row by row."""

    def read(self, job: Job, max_pixels: int) -> Picture:
        """Raises ``LimnerError`` for whatever is wrong with the photograph's file."""

    def copy(self, job: Job) -> bool:
        """Let the painting's file be the photograph's, byte by byte, and say whether that was possible."""

    def write(self, job: Job, painted: Picture, options: Options) -> None:
        """Write the painting's file, whole or not at all."""


class LocalFiles:
    """Those of this machine."""

    def path(self, job: Job) -> Path | None:
        return job.source if job.frame is None else None

    def read(self, job: Job, max_pixels: int) -> Picture:
        if job.frame is not None:
            from limner.film import reading

            return reading.still(job.source, job.frame)
        return image.read(job.source, max_pixels=max_pixels)

    def copy(self, job: Job) -> bool:
        if not job.source.is_file():  # what came out of a pipe comes once
            return False
        with replacing(job.target) as beside:
            shutil.copyfile(job.source, beside)
        return True

    def write(self, job: Job, painted: Picture, options: Options) -> None:
        image.write(painted, job.target, strip=options.strip, quality=options.quality)


@dataclass(frozen=True)
class Elsewhere:
    """Those that lie elsewhere, in object stores and tables: whole files, in bytes."""

    get: Callable[[Path], bytes]
    put: Callable[[Path, bytes], None]

    def path(self, job: Job) -> Path | None:
        return None

    def read(self, job: Job, max_pixels: int) -> Picture:
        return image.decode(io.BytesIO(self.get(job.source)), str(job.source), max_pixels=max_pixels)

    def copy(self, job: Job) -> bool:
        self.put(job.target, self.get(job.source))
        return True

    def write(self, job: Job, painted: Picture, options: Options) -> None:
        self.put(job.target, image.encode(painted, job.target.suffix, strip=options.strip, quality=options.quality))


def open_for(style: Style, options: Options) -> None:
    """Raise ``LimnerError`` now where a style cannot paint with these options, and not at the first picture."""
    if options.film.calm == "statistics":
        style.open_along()
    style.open()


class Painter:
    """Reads, paints and writes. ``tell`` takes remarks for people: what a big picture will take; ``watch`` which part of it is done."""

    def __init__(
        self,
        style: Style,
        options: Options,
        *,
        files: Files | None = None,
        tell: Callable[[str], None] = lambda _: None,
        watch: Callable[[float], None] = lambda _: None,
    ) -> None:
        self.style, self.options, self.files = style, options, files or LocalFiles()
        self.tell, self.watch = tell, watch
        self.size = working_size(options, style.card)

    def read(self, job: Job) -> Picture | None:
        """None: it is so large that nothing of it is in memory while others are painted."""
        path = self.files.path(job)
        if job.film:
            return None
        if path is not None and (image.count_pixels(path, max_pixels=self.options.max_pixels) > limits.AHEAD or self._in_rows(path)):
            return None
        return self._whole(job)

    def paint(self, job: Job, photo: Picture | None) -> tuple[Picture | None, tuple[str, ...]]:
        """The painting, or None where it is written already; and what of the photograph's file is lost in it."""
        if photo is not None:
            return self.paint_whole(job, photo)
        path = self.files.path(job)
        if path is not None and job.film:
            return None, self._paint_film(job, path)
        if path is not None and self._in_rows(path):
            return None, self._paint_rows(job, path)
        painted, lost = self.paint_whole(job, self._whole(job))
        self.write(job, painted)
        return None, lost

    def paint_whole(self, job: Job, photo: Picture) -> tuple[Picture, tuple[str, ...]]:
        height, width = photo.pixels.shape[:2]
        lost = self._check(job, height, width, photo.metadata)
        self._announce(job, height, width)
        return self._painted(photo, self.watch), lost

    def write(self, job: Job, painted: Picture | None) -> None:
        if painted is not None and not (self.is_photograph(painted, job.target.suffix) and self.files.copy(job)):
            self.files.write(job, painted, self.options)

    def sized(self, photo: Picture) -> Picture:
        return photo if self.options.max_size is None else image.fit(photo, self.options.max_size)

    def is_photograph(self, painted: Picture, suffix: str) -> bool:
        """Whether the file itself is asked for, to the bit: not even its colour profile or its JPEG blocks are worked out anew."""
        same_format = image.WRITABLE.get(suffix.lower()) == painted.metadata.format
        return self.options.strength == 0 and self.options.max_size is None and not self.options.strip and same_format

    def _whole(self, job: Job) -> Picture:
        return self.sized(self.files.read(job, self.options.max_pixels))

    def _painted(self, photo: Picture, watch: Callable[[float], None]) -> Picture:
        options = self.options
        try:
            return self.style.paint(photo, strength=options.strength, keep_colors=options.keep_colors, working_size=self.size, tell=watch)
        except TooLargeError as error:
            raise _with_way_out(error) from error

    def _painted_along(self, frame: Picture, before: Statistics | None, keep: float) -> tuple[Picture, Statistics]:
        options, frame = self.options, self.sized(frame)
        try:
            return self.style.paint_along(
                frame, before, keep, strength=options.strength, keep_colors=options.keep_colors, working_size=self.size
            )
        except TooLargeError as error:
            raise _with_way_out(error) from error

    def _paint_film(self, job: Job, path: Path) -> tuple[str, ...]:
        from limner.film import painting

        options, style = self.options, self.style
        painted = painting.paint(
            path,
            job.target,
            lambda frame: self._painted(self.sized(frame), lambda _: None),
            options.film,
            paint_along=self._painted_along,
            identity={
                **seen(options, style.working_size(self.size), film=True),
                **{"weights": style.card.weights_sha256, "runtime": options.runtime, "device": options.device},
            },
            strip=options.strip,
            quality=options.quality,
            watch=self.watch,
        )
        return tuple(painted.lost)

    def _paint_rows(self, job: Job, path: Path) -> tuple[str, ...]:
        with scanlines.reading(path, max_pixels=self.options.max_pixels) as source:
            lost = self._check(job, source.height, source.width, source.metadata)
            try:
                with scanlines.writing(job.target, source, strip=self.options.strip, quality=self.options.quality) as put:
                    self._announce(job, source.height, source.width)
                    for band in self.style.bands(source, self.size, self.watch):
                        put(band)
            except TooLargeError as error:
                raise _with_way_out(error) from error
        return lost

    def _check(self, job: Job, height: int, width: int, metadata: Metadata) -> tuple[str, ...]:
        """What the painting's file will lack. Raises ``LimnerError`` where it cannot be written: not after an hour of painting."""
        try:
            image.check_side(image.WRITABLE[job.target.suffix.lower()], height, width)
        except LimnerError as error:
            raise LimnerError(f"{job.target} cannot be written: {error}") from error
        return metadata.lost if self.options.strip else (*metadata.lost, *image.left_behind(metadata, job.target.suffix))

    def _in_rows(self, path: Path) -> bool:
        if self.options.strength < 1 or self.options.keep_colors or self.options.max_size is not None:
            return False
        size = scanlines.size_in_rows(path, max_pixels=self.options.max_pixels)
        return size is not None and self.style.in_bands(*size, self.size)

    def _announce(self, job: Job, height: int, width: int) -> None:
        if self.style.in_bands(height, width, self.size):
            memory, disk, seconds = self.style.estimate(height, width, self.size)
            self.tell(
                f"{job.source}: {width} x {height} pixels, in bands: about {memory / 1e9:.1f} GB of memory, {disk / 1e9:.1f} GB of "
                f"temporary files, {seconds:.0f} seconds."
            )


def _with_way_out(error: TooLargeError) -> TooLargeError:
    return TooLargeError(f"{error} (`max_size` makes pictures smaller as they are read.)")
