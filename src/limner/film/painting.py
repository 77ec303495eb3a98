"""Painting films: decoding, painting and encoding side by side, in segments that outlive the process.

Beside the film that is being written lies a folder with finished segments. A call that was ended goes on after the last of them. Segments
know nothing of one another, so the film is the same as if it had never been ended.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from limner import files
from limner.errors import require
from limner.film import reading, writing
from limner.film.options import FilmOptions, check
from limner.film.reading import Film, Frame

SECONDS = 10
"""Of film in a segment: the most that is painted again after an end."""

AHEAD = 2
"""Frames that are decoded while one is painted."""

Pixels = NDArray[np.uint8]


@dataclass
class Painted:
    """What came of a film, and what of it is not in the painting."""

    frames: int
    lost: list[str] = field(default_factory=list)


def paint(
    source: Path,
    target: Path,
    paint_frame: Callable[[Pixels], Pixels],
    options: FilmOptions,
    *,
    identity: Mapping[str, Any],
    watch: Callable[[float], None] = lambda _: None,
) -> Painted:
    """Paint ``source`` into ``target``, a film by its suffix, frame by frame: ``paint_frame`` takes and gives uint8 HWC RGB.

    ``identity`` is what else decides how frames are painted: finished segments of a call that was ended are used again only where it is the
    same. ``watch`` is told which part is done. Raises ``LimnerError`` where the film cannot be read, painted or written; what is painted is
    kept, and the same call goes on.
    """
    check(options)
    writing.check_suffix(target)
    with reading.opened(source) as film, _Segments(target, _mark(source, options, identity)) as segments:
        begin, end = film.ticks(options.start), None if options.end is None else film.ticks(options.end)
        seconds = (options.end if options.end is not None else film.seconds) - options.start
        with ThreadPoolExecutor(1, "painter") as pool, closing(_within(film, begin, end, segments.last)) as frames:
            jobs = ((frame.time, pool.submit(paint_frame, frame.pixels)) for frame in frames)
            for number, some in _by_segment(_ahead(jobs), film, begin):
                with segments.write(number, film, options, target.suffix.lower()) as add:
                    for time, pixels in some:
                        add(time, pixels)
                        if seconds > 0:
                            watch(min(float((time - begin) * film.time_base) / seconds, 1.0))
        require(bool(segments.done), f"{source} has no frame between the start and the end that were asked for: name others.")
        with files.replacing(target) as place:
            lost = writing.join(segments.parts, film, place, target.suffix.lower(), (begin, end))
        segments.finished = True
        return Painted(sum(each["frames"] for each in segments.done), lost)


def _mark(source: Path, options: FilmOptions, identity: Mapping[str, Any]) -> str:
    """Of everything that decides what the painting looks like."""
    stat = source.stat()
    facts = {"source": [str(source.resolve()), stat.st_size, stat.st_mtime_ns], **asdict(options), **identity}
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def _within(film: Film, begin: int, end: int | None, last: int | None) -> Generator[Frame, None, None]:
    """Frames of the part that is asked for, later than the ``last`` that is painted; all of the first one's size."""
    with closing(film.frames(last if last is not None else begin - 1 if begin > film.begin else None)) as frames:
        for frame in frames:
            if end is not None and frame.time >= end:
                return
            if frame.pixels.shape[:2] != (film.height, film.width):
                frame = Frame(frame.time, np.asarray(Image.fromarray(frame.pixels).resize((film.width, film.height))))
            yield frame


def _ahead(jobs: Iterable[tuple[int, Any]]) -> Iterator[tuple[int, Pixels]]:
    """Times and paintings in order; some frames are decoded and wait while one is painted, and one is encoded."""
    waiting: list[tuple[int, Any]] = []
    for job in jobs:
        waiting.append(job)
        if len(waiting) > AHEAD:
            time, future = waiting.pop(0)
            yield time, future.result()
    for time, future in waiting:
        yield time, future.result()


def _by_segment(painted: Iterator[tuple[int, Pixels]], film: Film, begin: int) -> Iterator[tuple[int, Iterator[tuple[int, Pixels]]]]:
    """Frames by the number of the segment that their time belongs to. What a segment has not taken is lost."""
    length = round(SECONDS / film.time_base)
    following = next(painted, None)

    def of(number: int) -> Iterator[tuple[int, Pixels]]:
        nonlocal following
        while following is not None and (following[0] - begin) // length == number:
            yield following
            following = next(painted, None)

    while following is not None:
        number = (following[0] - begin) // length
        yield number, of(number)


class _Segments:
    """The folder of finished segments of a film. What another call left there, for another painting, is thrown away."""

    def __init__(self, target: Path, mark: str) -> None:
        self.target, self.mark = target, mark
        self.folder = target.with_name(files.shortened(f".{target.name}", ".limner-film"))
        self.finished = False

    def __enter__(self) -> "_Segments":
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.held = files.holding(
                self.folder, f"Another Limner is painting {self.target}: wait until it is done, or name another file."
            )
            self.held.__enter__()
            self.record = self.folder / "segments.jsonl"
            lines = self.record.read_text(encoding="utf-8").splitlines() if self.record.exists() else []
            found = [json.loads(line) for line in lines if line.endswith("}")]
            if not found or found[0].get("mark") != self.mark:
                for path in self.folder.glob("*.mp4*"):
                    path.unlink()
                found = [{"mark": self.mark}]
                self.record.write_text(json.dumps(found[0]) + "\n", encoding="utf-8")
        except OSError as error:
            raise files.cannot_write(self.target, error) from error
        self.done = [each for each in found[1:] if (self.folder / each["name"]).is_file()]
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self.held.__exit__(None, None, None)
            if self.finished or not self.done:
                shutil.rmtree(self.folder)

    @property
    def parts(self) -> list[tuple[Path, int]]:
        """Each with the time of its first frame."""
        return [(self.folder / each["name"], each["first"]) for each in self.done]

    @property
    def last(self) -> int | None:
        """Time of the last frame that is painted."""
        return self.done[-1]["last"] if self.done else None

    def write(self, number: int, film: Film, options: FilmOptions, suffix: str) -> "_Writing":
        return _Writing(self, number, film, options, suffix)


class _Writing:
    """One segment on its way: it counts when it is whole."""

    def __init__(self, segments: _Segments, number: int, film: Film, options: FilmOptions, suffix: str) -> None:
        self.segments, self.name = segments, f"{number:06}.mp4"
        self.place = segments.folder / f"{self.name}.part"
        self.arguments = film, (film.height, film.width), options, suffix
        self.frames = self.last = 0

    def __enter__(self) -> Callable[[int, Pixels], None]:
        with self._told():
            self.segment = writing.Segment(self.place, *self.arguments)
        return self._add

    def _add(self, time: int, pixels: Pixels) -> None:
        with self._told():
            self.segment.add(time, pixels)
        self.frames, self.last = self.frames + 1, time

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            with suppress(Exception):
                self.segment.container.close()
            return
        with self._told():
            self.segment.close()
            self.place.replace(self.segments.folder / self.name)
            entry = {"name": self.name, "frames": self.frames, "first": self.segment.first, "last": self.last}
            with self.segments.record.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
        self.segments.done.append(entry)

    def _told(self) -> "_Told":
        return _Told(self.segments.target)


class _Told:
    """Turns what a full disk or an encoder throws into one sentence."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if isinstance(error, OSError):
            raise writing.closed_early(self.target, error) from error
