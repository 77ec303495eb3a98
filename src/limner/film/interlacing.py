"""Interlaced films, whose odd and even rows are of two moments: frames of one moment are made of them by ffmpeg's bwdif.

A frame is made of its own rows and of those of its two neighbours in the film, and nothing else: reading that begins later in a film gives
the same frames from its second one on.
"""

from collections import deque
from collections.abc import Generator, Iterable
from typing import Any

Decoded = tuple[Any, Any]
"""PyAV's frame and its stream."""


def deinterlaced(decoded: Iterable[Decoded]) -> Generator[Decoded, None, None]:
    """The frames of a film in their order, each at its time; those flagged as interlaced made progressive, all others untouched."""
    bwdif: _Bwdif | None = None
    before: Any = None
    for frame, stream in decoded:
        if bwdif is not None and not bwdif.takes(frame):
            yield from bwdif.end()
            bwdif = None
        if bwdif is None and frame.interlaced_frame:
            bwdif = _Bwdif(frame, before)
        if bwdif is None:
            yield frame, stream
        else:
            yield from bwdif.put(frame, stream)
        before = frame
    if bwdif is not None:
        yield from bwdif.end()


class _Bwdif:
    """The filter for frames of one size and format, from ``frame`` on, which comes after ``before``. It hands on a frame when it has seen
    the next one."""

    def __init__(self, frame: Any, before: Any) -> None:
        from av.filter import Graph

        self._kind = _kind(frame)
        self._graph = Graph()
        source = self._graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base)
        # One frame for each, and not for each of its two moments: the number of frames and their times stay.
        filter = self._graph.add("bwdif", "mode=send_frame:deint=interlaced")
        source.link_to(filter)
        filter.link_to(self._graph.add("buffersink"))
        self._graph.configure()
        self._waiting = deque[Decoded]()
        # The first frame that it makes is made without neighbours: so let that be one which nobody sees.
        for unseen in (frame, before if before is not None and self.takes(before) else frame):
            deque(self.put(unseen, None), 0)

    def takes(self, frame: Any) -> bool:
        return _kind(frame) == self._kind

    def put(self, frame: Any, stream: Any) -> Generator[Decoded, None, None]:
        """What is ready after another frame; without its ``stream`` this one is only a neighbour."""
        self._waiting.append((frame, stream))
        self._graph.push(frame)
        yield from self._ready()

    def end(self) -> Generator[Decoded, None, None]:
        self._graph.push(None)
        yield from self._ready()

    def _ready(self) -> Generator[Decoded, None, None]:
        while True:
            try:
                made: Any = self._graph.pull()
            except (BlockingIOError, EOFError):
                return
            frame, stream = self._waiting.popleft()
            made.pts, made.time_base, made.duration = frame.pts, frame.time_base, frame.duration
            made.colorspace, made.color_range = frame.colorspace, frame.color_range
            if stream is not None:
                yield made, stream


def _kind(frame: Any) -> tuple[int, int, str]:
    return frame.width, frame.height, frame.format.name
