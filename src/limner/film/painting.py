"""Painting films: decoding, painting and encoding side by side, in segments that outlive the process.

Beside the film that is being written lies a folder with finished segments. A call that was ended goes on after the last of them. What a
segment hands on to the next is kept beside it, so the film is the same as if the call had never been ended.
"""

import hashlib
import json
import shutil
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from limner import files
from limner.errors import LimnerError, require
from limner.film import animations, kinds, reading, writing
from limner.film.calm import Along, Calm, Floats, Motion, PaintAlong
from limner.film.options import LOSSLESS, Encoder, FilmOptions, check
from limner.film.reading import Film, Frame
from limner.film.writing import Part, Segment
from limner.pictures import image
from limner.pictures.image import Picture

SECONDS = 10
"""Of film in a segment: the most that is painted again after an end."""

AHEAD = 2
"""Frames that are decoded while one is painted."""


@dataclass(frozen=True)
class Painted:
    """What came of a film, and what of it is not in the painting."""

    frames: int
    lost: list[str] = field(default_factory=list)


class _Done(NamedTuple):
    """A frame that is painted, and what the next one needs of it where it is kept from flickering."""

    frame: Frame
    motion: Motion | None
    statistics: Floats | None


def paint(
    source: Path,
    target: Path,
    paint_frame: Callable[[Picture], Picture],
    options: FilmOptions,
    *,
    identity: Mapping[str, Any],
    paint_along: PaintAlong | None = None,
    strip: bool = False,
    quality: int = 95,
    watch: Callable[[float], None] = lambda _: None,
) -> Painted:
    """Paint ``source`` into ``target``, a film by its suffix, with ``paint_frame``, which takes and gives pictures of 8 bits.

    ``paint_along`` paints instead where ``calm`` is statistics, and must be given then. ``identity`` is what else decides how frames are
    painted: finished segments of a call that was ended are used again only where it is the same. ``watch`` is told which part is done,
    from 0 to 1. Without ``strip`` the film's metadata go along; ``quality`` is for animated WebP. Raises ``LimnerError`` where the film
    cannot be read, painted or written; what is painted is kept, and the same call goes on.
    """
    check(options)
    require(
        options.calm != "statistics" or paint_along is not None,
        "`calm` statistics is for styles, and this painter is none: set `calm` to flow.",
    )
    kinds.check_suffix(target)
    encoder = writing.encoder_for(options, target)
    film = reading.opened(source)
    span = _ticks(film, options.start), None if options.end is None else _ticks(film, options.end)
    seconds = (options.end if options.end is not None else film.seconds) - options.start
    calm = None if options.calm == "off" else Calm()
    along = Along(paint_along) if options.calm == "statistics" and paint_along is not None else None
    with _Segments(target, _mark(source, options, identity), film, calm, along) as segments:
        wanted = _within(film, span, options.fps, segments.last)
        with closing(_painted(wanted, film, paint_frame, calm, along)) as frames:
            for number, some in _by_segment(frames, film, span[0]):
                with segments.write(number, encoder, options) as add:
                    for done in some:
                        add(done)
                        watch(min(float((done.frame.time - span[0]) * film.time_base) / seconds, 1.0) if seconds > 0 else 0.0)
        require(bool(segments.parts), f"{source} has no frame between the start and the end that were asked for: name others.")
        lost = _finish(segments.parts, film, target, span, strip=strip, quality=quality)
        segments.finished = True
    return Painted(sum(len(part.times) for part in segments.parts), [*film.lost, *lost])


def _finish(parts: list[Part], film: Film, target: Path, span: tuple[int, int | None], *, strip: bool, quality: int) -> list[str]:
    """Put the whole together; what it cannot hold, for people."""
    suffix = target.suffix.lower()
    if suffix not in kinds.CONTAINERS:
        animations.write(parts, film.time_base, target, quality=quality)
        lost = film.beside
    else:
        try:
            with files.replacing(target) as place:
                lost = writing.join(parts, film, place, suffix, span, strip=strip)
        except ValueError as error:  # ffmpeg's, of streams that do not go together
            raise LimnerError(f"{target} could not be put together ({error}): name a .mkv, which holds nearly everything.") from error
        lost = [*lost, *(["transparency"] if film.transparent else [])]
    return [f"{what}, which {suffix[1:]} cannot hold" for what in dict.fromkeys(lost)]


def _ticks(film: Film, seconds: float) -> int:
    """So many seconds after the beginning, in ticks."""
    return film.begin + round(seconds / film.time_base)


def _seconds(film: Film, ticks: int) -> float:
    """How long after the beginning."""
    return float((ticks - film.begin) * film.time_base)


def _mark(source: Path, options: FilmOptions, identity: Mapping[str, Any]) -> str:
    """Of everything that decides what the painting looks like."""
    stat = source.stat()
    facts = {"source": [str(source.resolve()), stat.st_size, stat.st_mtime_ns], **asdict(options), **identity}
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def _within(film: Film, span: tuple[int, int | None], fps: float | None, last: int | None) -> Generator[Frame, None, None]:
    """Frames of the part that is asked for, later than the ``last`` that is painted: at most ``fps`` a second, all of one size."""
    begin, end = span
    after = last if last is not None else begin - 1 if begin > film.begin else None

    def slot(time: int) -> int:
        return int((time - begin) * film.time_base * (fps or 0) + 1e-6)

    with closing(film.frames(after)) as frames:
        for frame in frames:
            if frame.time < begin and begin > film.begin:
                continue
            if end is not None and frame.time >= end:
                return
            if fps is not None and last is not None and slot(frame.time) <= slot(last):
                continue
            last = frame.time
            pixels = frame.picture.pixels
            if pixels.shape[:2] != (film.height, film.width):
                frame = replace(frame, picture=Picture(image.resized(pixels, (film.height, film.width))))
            yield frame


def _painted(
    frames: Generator[Frame, None, None], film: Film, paint_frame: Callable[[Picture], Picture], calm: Calm | None, along: Along | None
) -> Generator[_Done, None, None]:
    """Painted frames in their order. A thread paints, while the caller's decodes the next ones and encodes the last."""
    waiting = deque[tuple[Frame, Motion | None, Future[tuple[Picture, Floats | None]]]]()

    def paint_one(frame: Frame, motion: Motion | None) -> tuple[Picture, Floats | None]:
        if along is None or motion is None:
            return paint_frame(frame.picture), None
        return along.paint(frame.picture, _seconds(film, frame.time), motion)

    def first() -> _Done:
        frame, motion, painting = waiting.popleft()
        picture, statistics = painting.result()
        if calm is not None and motion is not None and along is None:
            picture = picture.with_pixels(calm.blend(picture.pixels.astype(np.uint8, copy=False), motion))
        return _Done(replace(frame, picture=picture), motion, statistics)

    with ThreadPoolExecutor(1, "limner-paint") as pool, closing(frames):
        try:
            for frame in frames:
                motion = None if calm is None else calm.watch(frame.picture.pixels.astype(np.uint8, copy=False))
                waiting.append((frame, motion, pool.submit(paint_one, frame, motion)))
                if len(waiting) > AHEAD:
                    yield first()
            while waiting:
                yield first()
        finally:
            for _, _, painting in waiting:
                painting.cancel()


def _by_segment(painted: Iterator[_Done], film: Film, begin: int) -> Iterator[tuple[int, Iterator[_Done]]]:
    """Frames by the number of the segment that their time belongs to. What a segment has not taken is lost."""
    length = max(round(SECONDS / film.time_base), 1)
    following = next(painted, None)

    def of(number: int) -> Iterator[_Done]:
        nonlocal following
        while following is not None and (following.frame.time - begin) // length == number:
            yield following
            following = next(painted, None)

    while following is not None:
        number = (following.frame.time - begin) // length
        yield number, of(number)


class _Segments:
    """The folder of finished segments of a film. What another call left there, for another painting, is thrown away."""

    def __init__(self, target: Path, mark: str, film: Film, calm: Calm | None, along: Along | None) -> None:
        self.target, self.mark, self.film, self.calm, self.along = target, mark, film, calm, along
        self.folder = target.with_name(files.shortened(f".{target.name}", ".limner-film"))
        self.parts = list[Part]()
        self.finished = False

    def __enter__(self) -> "_Segments":
        self._held = files.holding(self.folder, f"Another Limner is painting {self.target}: wait until it is done, or name another file.")
        self._held.__enter__()
        try:
            with self._told():
                self._find()
        except BaseException:
            self._held.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self.finished or not self.parts:
            shutil.rmtree(self.folder, ignore_errors=True)
        self._held.__exit__(None, None, None)

    @property
    def last(self) -> int | None:
        """Time of the last frame that is painted."""
        return self.parts[-1].times[-1] if self.parts else None

    @contextmanager
    def write(self, number: int, encoder: Encoder, options: FilmOptions) -> Iterator[Callable[[_Done], None]]:
        """A segment on its way: it counts when it is whole."""
        place, state = self.folder / f"{number:06}.part", self.folder / f"{number:06}.npz"
        last: _Done | None = None

        def add(done: _Done) -> None:
            nonlocal last
            segment.add(done.frame.time, done.frame.duration, _samples(done.frame.picture, encoder))
            last = done

        with self._told():
            segment = Segment(place, self.film, encoder, options.crf)
            try:
                yield add
                segment.close()
            except BaseException:
                segment.give_up()
                raise
            if last is not None and last.motion is not None:
                kept = last.frame.picture.pixels if last.statistics is None else last.statistics
                np.savez(state, small=last.motion.small, kept=kept)
            part = Part(place.with_suffix(".done"), tuple(segment.times), segment.until)
            place.replace(part.path)
            self._record([*self.parts, part])
            for old in self.folder.glob("*.npz"):
                if old != state:
                    old.unlink()

    def _record(self, parts: list[Part]) -> None:
        table = {"mark": self.mark, "parts": [[part.path.name, part.times, part.until] for part in parts]}
        with files.replacing(self.folder / "segments.json") as beside:
            beside.write_text(json.dumps(table), encoding="utf-8")
        self.parts = parts

    def _find(self) -> None:
        """What is there of the same painting."""
        with suppress(ValueError, KeyError, TypeError, EOFError, OSError, BadZipFile):  # what is damaged is painted anew
            table = json.loads((self.folder / "segments.json").read_text(encoding="utf-8"))
            parts = [Part(self.folder / Path(name).name, tuple(map(int, times)), int(until)) for name, times, until in table["parts"]]
            if table["mark"] == self.mark and parts and all(part.path.is_file() for part in parts):
                if self.calm is not None:
                    with np.load(parts[-1].path.with_suffix(".npz")) as state:
                        self.calm.go_on(state["small"], state["kept"] if self.along is None else None)
                        if self.along is not None:
                            self.along.go_on(_seconds(self.film, parts[-1].times[-1]), state["kept"])
                self.parts = parts
        if not self.parts:
            for path in self.folder.iterdir():
                path.unlink()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turns what a full disk or an encoder throws into one sentence."""
        try:
            yield
        except OSError as error:
            raise writing.closed_early(self.target, error) from error


def _samples(picture: Picture, encoder: Encoder) -> NDArray[np.uint8]:
    """uint8 HWC as the encoder takes it: RGB, or RGBA where nothing of it may be lost."""
    if encoder is not LOSSLESS or picture.alpha is None:
        return image.flat(picture)
    return np.dstack((picture.pixels, picture.alpha)).astype(np.uint8, copy=False)
