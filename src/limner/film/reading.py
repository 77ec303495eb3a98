"""Films as they are shown: frames upright, with square pixels, in sRGB, each with the time at which it appears."""

import math
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from limner import files, limits
from limner.errors import LimnerError, require
from limner.extras import need
from limner.film import kinds
from limner.film.interlacing import deinterlaced
from limner.pictures import formats, image, tones
from limner.pictures.image import Metadata, Picture
from limner.pictures.sources import film_pixels


@dataclass(frozen=True)
class Frame:
    """``time`` and ``duration`` are in ticks of the film's ``time_base``."""

    time: int
    duration: int
    picture: Picture
    """8 bits."""


class Film(Protocol):
    """A film that can be read as often as one likes."""

    path: Path
    time_base: Fraction
    """Seconds of a tick."""
    rate: Fraction
    """Its mean number of frames a second."""
    begin: int
    """When it begins, in ticks."""
    seconds: float
    """How long it lasts, as it says itself; 0 where it does not."""
    height: int
    width: int
    """Of its frames as shown."""
    lost: list[str]
    """What of it is not in its frames, for people; complete when all frames were read."""
    beside: list[str]
    """What goes with its pictures, for people: sound, subtitles, ..."""
    transparent: bool

    def frames(self, after: int | None = None) -> Generator[Frame, None, None]:
        """All frames, or those later than ``after``, which is the time of one. Raises ``LimnerError`` where they cannot be decoded."""

    def at(self, tick: int) -> Frame | None:
        """The frame that is shown at a tick; None where the film is over by then. Raises ``LimnerError`` where it cannot be decoded."""


class Clip:
    """A film, read by PyAV."""

    def __init__(self, path: Path) -> None:
        self.path, self.lost, self.transparent = path, list[str](), False
        with formats.decoding(str(path)), self._open() as (container, stream):
            self.time_base: Fraction = stream.time_base
            self.rate: Fraction = stream.average_rate or stream.guessed_rate or Fraction(25)
            if not 0 < self.rate <= 1000:
                self.rate = Fraction(25)
            self.begin = int(stream.start_time or 0)
            self.own_seconds = float((stream.duration or 0) * self.time_base)
            self.seconds = self.own_seconds or float((container.duration or 0) / 1e6)
            self.beside = [told(each) for each in container.streams if each.type != "video" and not is_chapters(each)]
            if len(container.streams.video) > 1:
                self.lost.append("all but one of its streams of pictures")
            if transfer := tones.HDR.get(stream.codec_context.color_trc):
                self.lost.append(f"high dynamic range ({transfer}), which is tone-mapped to that of an ordinary film (BT.709)")
        with closing(self.frames()) as frames:
            first = next(frames, None)
        if first is None:
            raise LimnerError(f"{path} has no frame that can be decoded: copy or download it again.")
        self.height, self.width = first.picture.pixels.shape[:2]

    def frames(self, after: int | None = None) -> Generator[Frame, None, None]:
        """Frames without a time follow the one before them at the film's rate; damaged ones are left out, and that is told."""
        with formats.decoding(str(self.path)), closing(self._timed(after)) as timed:
            for each in timed:
                if after is None or each.time > after:
                    yield _converted(each)

    def at(self, tick: int) -> Frame | None:
        shown: _Timed | None = None
        with formats.decoding(str(self.path)), closing(self._timed(tick)) as timed:
            for each in timed:
                if shown is not None and each.time > tick:
                    return _converted(shown)
                shown = each
            return _converted(shown) if shown is not None and tick < shown.time + shown.duration else None

    def _timed(self, seek: int | None) -> Generator["_Timed", None, None]:
        """Frames with their times, from a key frame before the tick ``seek`` on, so those after ``seek`` have a neighbour before them."""
        tick = max(round(1 / self.rate / self.time_base), 1)
        last, bad = self.begin - tick, list[str]()
        with ExitStack() as stack:
            decoded = stack.enter_context(closing(deinterlaced(stack.enter_context(closing(self._decoded(seek, bad))))))
            first = next(decoded, None)
            if seek is not None and (first is None or first[0].pts is None or first[0].pts > seek):
                # A container without a table of places, or with a wrong one.
                decoded = stack.enter_context(closing(deinterlaced(stack.enter_context(closing(self._decoded(None, bad))))))
                first = next(decoded, None)
            while first is not None:
                frame, stream = first
                last = last + tick if frame.pts is None else max(frame.pts, last + 1)
                yield _Timed(last, int(frame.duration or tick), frame, stream)
                first = next(decoded, None)
        self._tell_damage(len(bad), float((last + tick - self.begin) * self.time_base))

    def _decoded(self, seek: int | None, bad: list[str]) -> Generator[tuple[Any, Any], None, None]:
        """PyAV's frames and their stream, from the key frame before the tick ``seek`` on. ``bad`` gets what a decoder says of damage."""
        import av

        with self._open() as (container, stream):
            if seek is not None:
                with suppress(av.FFmpegError):
                    container.seek(seek, stream=stream)
            packets = container.demux(stream)
            while True:
                try:
                    packet = next(packets, None)
                    frames = [] if packet is None else packet.decode()
                except av.error.InvalidDataError as error:
                    bad.append(str(error))
                    continue
                yield from ((frame, stream) for frame in frames)
                if packet is None:
                    break
            with suppress(av.FFmpegError):  # what the decoder holds still, where damage has ended the packets
                yield from ((frame, stream) for frame in stream.decode(None))

    def _tell_damage(self, bad: int, seconds: float) -> None:
        if seconds < self.own_seconds - 1:
            self.lost.append(f"its end, for it is cut short after {seconds:.1f} of {self.own_seconds:.1f} seconds")
        elif bad:
            self.lost.append(f"{bad:,} damaged frames")

    @contextmanager
    def _open(self) -> Iterator[tuple[Any, Any]]:
        import av

        with av.open(f"file:{self.path}") as container:  # "file:", for ffmpeg takes "a:b.mp4" for a protocol
            stream: Any = container.streams.best("video")  # not the cover that some files carry
            require(
                stream is not None and stream.codec_context is not None,
                f"{self.path} has no pictures that can be decoded: copy or download it again, or leave it out.",
            )
            require(
                stream.width * stream.height <= limits.PIXELS,
                f"{self.path} is {stream.width} x {stream.height} pixels, more than Limner reads: make it smaller.",
            )
            stream.thread_type = "AUTO"
            yield container, stream


class _Timed(NamedTuple):
    """PyAV's frame, not yet made into a picture, and its stream. Times are in ticks."""

    time: int
    duration: int
    frame: Any
    stream: Any


def _converted(timed: _Timed) -> Frame:
    return Frame(timed.time, timed.duration, Picture(film_pixels(timed.frame, timed.stream)))


class Animation:
    """A picture of several frames, read by Pillow. Its ticks are milliseconds."""

    time_base = Fraction(1, 1000)
    begin = 0

    def __init__(self, path: Path) -> None:
        self.path, self.lost, self.beside, self.transparent = path, list[str](), list[str](), False
        self.height = self.width = 0
        count, last = 0, 0
        for frame in self.frames():
            self.height, self.width = frame.picture.pixels.shape[:2]
            self.transparent |= frame.picture.alpha is not None and bool(frame.picture.alpha.min() < 255)
            count, last = count + 1, frame.time + frame.duration
        self.seconds, self.rate = last / 1000, Fraction(1000 * count, last)

    def frames(self, after: int | None = None) -> Generator[Frame, None, None]:
        time = 0
        with formats.decoding(str(self.path)), limits.open_file(self.path) as file:
            opened = formats.open_header(file, str(self.path), limits.PIXELS)
            assert opened is not None  # no TIFF
            for number in range(min(getattr(opened, "n_frames", 1), limits.MEMBERS)):
                opened.seek(number)
                stored = image.from_pil(opened)
                picture = Picture(_eight(stored.pixels), None if stored.alpha is None else _eight(stored.alpha))
                # Viewers show frames without a time, or of 10 ms, for a tenth of a second.
                duration = round(opened.info.get("duration") or 0)
                duration = duration if duration > 10 else 100
                if after is None or time > after:
                    yield Frame(time, duration, picture)
                time += duration

    def at(self, tick: int) -> Frame | None:
        with closing(self.frames()) as frames:
            return next((frame for frame in frames if tick < frame.time + frame.duration), None)


def is_chapters(stream: Any) -> bool:
    """Whether a stream of PyAV's is only the form that MP4 gives to a film's chapters, which are no stream elsewhere."""
    return stream.type == "data" and stream.codec_context is None and bool(stream.container.chapters())


def told(stream: Any) -> str:
    """What a stream of PyAV's is, for people: "sound (aac)"."""
    names = {"audio": "sound", "subtitle": "subtitles", "data": "data", "attachment": "attached files"}
    codec = stream.codec_context.name if stream.codec_context is not None else "of an unknown kind"
    return f"{names.get(stream.type, 'a stream')} ({codec})"


def _eight(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    return pixels if pixels.dtype == np.uint8 else (pixels >> 8).astype(np.uint8)


def opened(path: Path) -> Film:
    """Raises ``LimnerError`` where ``path`` holds no film that can be decoded."""
    require(files.exists(path), f"{path} does not exist: check the name and the folder.")
    if kinds.kind(path) == "animation":
        return Animation(path)
    need("video", f"{path} is a film, which")
    with formats.decoding(str(path)):
        limits.open_file(path).close()  # a sentence for what is missing, and no waiting for a pipe
    return Clip(path)


def still(path: Path, seconds: float) -> Picture:
    """The frame, of 8 bits, that a film shows so many seconds after its beginning.

    Raises ``LimnerError`` where it is over by then, or cannot be decoded.
    """
    film = opened(path)
    frame = film.at(film.begin + math.floor(seconds / film.time_base + 1e-6))
    lasts = f"lasts {film.seconds:.2f} s" if film.seconds else "is shorter"
    if frame is None:
        raise LimnerError(f"{path} {lasts}, so no frame is shown at {seconds:g} s: give an earlier `frame`.")
    return replace(frame.picture, metadata=Metadata(lost=tuple(film.lost)))
