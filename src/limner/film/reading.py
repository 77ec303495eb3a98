"""Films as they are shown: frames upright, with square pixels, in sRGB, each with the time at which it appears."""

from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limner.errors import LimnerError
from limner.extras import need
from limner.pictures import formats, image
from limner.pictures.sources import film_pixels

HDR = {"smpte2084", "arib-std-b67"}
"""Names of the transfer functions of high dynamic range: PQ and HLG."""


@dataclass(frozen=True)
class Frame:
    """``time`` is in ticks of the film's ``time_base``; ``pixels`` are uint8 HWC RGB."""

    time: int
    pixels: NDArray[np.uint8]


class Film:
    """An open film. ``width`` and ``height`` are those of its frames as shown; ``rate`` is its mean number of frames a second."""

    def __init__(self, path: Path, container: Any, stream: Any) -> None:
        self.path, self.container, self.stream = path, container, stream
        self.time_base: Fraction = stream.time_base
        self.rate: Fraction = stream.average_rate or stream.guessed_rate or Fraction(25)
        if not 0 < self.rate <= 1000:
            self.rate = Fraction(25)
        self.begin = int(stream.start_time or 0)
        first = next(self.frames(), None)
        if first is None:
            raise LimnerError(f"{path} has no frame that can be decoded: copy or download it again.")
        self.height, self.width = first.pixels.shape[:2]

    @property
    def seconds(self) -> float:
        """How long it lasts, as it says itself; 0 where it does not."""
        if self.stream.duration:
            return float(self.stream.duration * self.time_base)
        return float((self.container.duration or 0) / 1e6)

    def ticks(self, seconds: float) -> int:
        """So many seconds after the first frame, in ticks."""
        return self.begin + round(Fraction(seconds) / self.time_base)

    def frames(self, after: int | None = None) -> Generator[Frame, None, None]:
        """All frames, or those later than ``after``. Those without a time follow the one before them at the film's rate."""
        tick = max(round(1 / self.rate / self.time_base), 1)
        last = self.begin - tick
        self.container.seek(self.begin if after is None else after, stream=self.stream)
        decoded = self.container.decode(self.stream)
        while True:
            with formats.decoding(str(self.path)):
                frame = next(decoded, None)
                if frame is None:
                    return
                last = last + tick if frame.pts is None else max(frame.pts, last + 1)
                found = Frame(last, film_pixels(frame, self.stream)) if after is None or last > after else None
            if found is not None:
                yield found


@contextmanager
def opened(path: Path) -> Iterator[Film]:
    """Raises ``LimnerError`` where ``path`` holds no film that can be decoded."""
    need("video", f"{path} is a film, which")
    import av

    with ExitStack() as stack:
        with formats.decoding(str(path)):
            container = stack.enter_context(av.open(f"file:{path}"))  # "file:", for ffmpeg takes "a:b.mp4" for a protocol
            stream: Any = container.streams.best("video")
            if stream is None or stream.codec_context is None:
                raise LimnerError(f"{path} has no pictures that can be decoded: copy or download it again, or leave it out.")
            if stream.width * stream.height > image.DEFAULT_MAX_PIXELS:
                raise LimnerError(f"{path} is {stream.width} x {stream.height} pixels, more than Limner reads: make it smaller.")
            stream.thread_type = "AUTO"
            film = Film(path, container, stream)
        yield film
