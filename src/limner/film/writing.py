"""Writing films: painted frames become segments, and the segments one film with the sound, subtitles and chapters of the first."""

import heapq
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limner.errors import LimnerError, require
from limner.film.options import CODECS, FilmOptions
from limner.film.reading import Film

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
"""ffmpeg's names of the formats that are written, by suffix."""

BT709 = 1


class Segment:
    """Frames of one size, encoded without any that were encoded before: a film of its own, whose times begin with 0."""

    def __init__(self, path: Path, film: Film, size: tuple[int, int], options: FilmOptions, suffix: str) -> None:
        import av

        codec = CODECS[options.codec_for(suffix)]
        height, width = size
        self.time_base = film.time_base
        self.container = av.open(str(path), "w", format="mp4", options={"video_track_timescale": str(film.time_base.denominator)})
        stream: Any = self.container.add_stream(codec.encoder, rate=film.rate)
        # Chroma has half the size; an odd side goes on by a pixel.
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt, stream.time_base, stream.codec_context.time_base = "yuv420p", film.time_base, film.time_base
        stream.codec_context.color_range, stream.codec_context.colorspace = 1, BT709
        stream.codec_context.color_primaries = stream.codec_context.color_trc = BT709
        # Without frames that look ahead, those of two segments never lie across one another.
        stream.options = {codec.quality: str(options.crf if options.crf is not None else codec.usual)} | codec.options
        self.stream, self.first = stream, -1

    def add(self, time: int, pixels: NDArray[np.uint8]) -> None:
        """A frame, uint8 HWC RGB, with its time in ticks of the film."""
        import av

        height, width = pixels.shape[:2]
        pixels = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame: Any = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p", dst_colorspace="itu709")
        self.first = time if self.first < 0 else self.first
        frame.pts, frame.time_base = time - self.first, self.time_base
        self.container.mux(self.stream.encode(frame))

    def close(self) -> None:
        self.container.mux(self.stream.encode())
        self.container.close()


def join(segments: Sequence[tuple[Path, int]], film: Film, out: Path, suffix: str, span: tuple[int, int | None]) -> list[str]:
    """Put the segments together into ``out``, and copy what belongs to the pictures of the film from ``span[0]`` ticks to ``span[1]``.

    With each segment goes the time of its first frame. Returns what could not be copied, for people.
    """
    import av

    lost: list[str] = []
    with ExitStack() as stack:
        first = stack.enter_context(av.open(str(segments[0][0])))
        source = stack.enter_context(av.open(f"file:{film.path}"))
        target: Any = stack.enter_context(av.open(str(out), "w", format=CONTAINERS[suffix], options=_options(suffix)))
        target.metadata.update(source.metadata)
        pictures = target.add_stream_from_template(first.streams.video[0])
        pictures.time_base = film.time_base
        copies = {}
        for stream in source.streams:
            if stream.type in ("audio", "subtitle"):
                if stream.codec_context is not None and stream.codec_context.name in _names(target):
                    copies[stream.index] = target.add_stream_from_template(stream)
                    copies[stream.index].metadata.update(stream.metadata)
                else:
                    name = stream.codec_context.name if stream.codec_context is not None else "unknown"
                    lost.append(f"{'sound' if stream.type == 'audio' else 'subtitles'} ({name}), which {suffix[1:].upper()} cannot hold")
        begin, end = (None if tick is None else tick * film.time_base for tick in span)
        assert begin is not None
        if chapters := _chapters(source.chapters(), begin, end):
            target.set_chapters(chapters)
        both = heapq.merge(_painted(segments, pictures, film.time_base), _copied(source, copies, begin, end), key=lambda each: each[0])
        for _, packet in both:
            target.mux(packet)
    return lost


def _options(suffix: str) -> dict[str, str]:
    return {"movflags": "+faststart"} if suffix in (".mp4", ".m4v", ".mov") else {}


def _names(container: Any) -> set[str]:
    return set(container.supported_codecs)


def _painted(segments: Sequence[tuple[Path, int]], stream: Any, time_base: Fraction) -> Iterator[tuple[Fraction, Any]]:
    import av

    for path, first in segments:
        with av.open(str(path)) as container:
            for packet in container.demux(video=0):
                if packet.size and packet.dts is not None:
                    own = packet.time_base
                    packet.pts, packet.dts = (first + round(each * own / time_base) for each in (packet.pts, packet.dts))
                    packet.duration, packet.time_base = round(packet.duration * own / time_base), time_base
                    packet.stream = stream
                    yield packet.dts * time_base, packet


def _copied(source: Any, copies: dict[int, Any], begin: Fraction, end: Fraction | None) -> Iterator[tuple[Fraction, Any]]:
    if not copies:
        return
    source.seek(int(begin * 1_000_000), backward=True)
    for packet in source.demux([source.streams[index] for index in copies]):
        if not packet.size or packet.dts is None:
            continue
        time = packet.dts * packet.time_base
        over = time + (packet.duration or 0) * packet.time_base
        if over <= begin or (end is not None and time >= end):
            continue
        packet.stream = copies[packet.stream.index]
        yield time, packet


def _chapters(chapters: list[Any], begin: Fraction, end: Fraction | None) -> list[Any]:
    """Those of the part that is painted."""
    found = []
    for chapter in chapters:
        start, stop = chapter["start"] * chapter["time_base"], chapter["end"] * chapter["time_base"]
        if stop > begin and (end is None or start < end):
            found.append(chapter)
    return found


def check_suffix(path: Path) -> None:
    """Raise ``LimnerError`` where a film of this name cannot be written."""
    require(
        path.suffix.lower() in CONTAINERS,
        f"{path} is no name of a film that Limner writes: end it with {', '.join(CONTAINERS)}, or name a folder for single frames.",
    )


def closed_early(path: Path, error: Exception) -> LimnerError:
    reason = " ".join(str(getattr(error, "strerror", None) or error).split())
    return LimnerError(f"{path} could not be written ({reason}): make room on the disk, or write elsewhere; what is painted is kept.")
