"""Writing films: painted frames become segments, and the segments one film with the sound, subtitles and chapters of the first."""

import heapq
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from limner.errors import LimnerError, require
from limner.film.kinds import CONTAINERS
from limner.film.options import CODECS, LOSSLESS, Codec, Encoder, FilmOptions
from limner.film.reading import Film, is_chapters, told

BT709 = 1


class Part(NamedTuple):
    """A finished segment. Times are in ticks of the film."""

    path: Path
    times: tuple[int, ...]
    """When its frames appear."""
    until: int
    """When the last of them ends."""


def encoder_for(options: FilmOptions, target: Path) -> Encoder:
    """That of the segments of ``target``. Raises ``LimnerError`` where it is not there, or cannot be in such a file."""
    suffix = target.suffix.lower()
    if suffix not in CONTAINERS:
        return LOSSLESS
    codec = options.codec_for(suffix)
    format, _, _ = codec.partition("-")
    require(suffix != ".webm" or format in ("vp9", "av1"), f"{target} cannot hold {codec}: set `codec` to vp9 or av1, or name a .mkv.")
    require(suffix != ".mov" or format in ("h264", "hevc"), f"{target} cannot hold {codec}: set `codec` to h264, or name a .mkv.")
    return encoder(codec)


def encoder(codec: Codec) -> Encoder:
    """That of a codec. Raises ``LimnerError`` where this build of PyAV lacks it, or the machine has no chip for it."""
    import av

    found = CODECS[codec]
    software, _, chip = codec.partition("-")
    os.environ.setdefault("SVT_LOG", "0")  # the encoder of av1 prints what it is going to do
    require(
        found.encoder in av.codecs_available,
        f"The encoder for {codec} is missing in this build of PyAV: set `codec` to {software if chip else 'another'}.",
    )
    if chip:
        trial: Any = av.CodecContext.create(found.encoder, "w")
        trial.width, trial.height, trial.pix_fmt, trial.time_base = 1280, 720, found.pixels, Fraction(1, 25)
        trial.options = options_of(found, found.usual)
        try:
            trial.open()
        except av.FFmpegError as error:
            raise LimnerError(
                f"{codec} needs a graphics chip and a driver that are not found here: set `codec` to {software}, which needs none."
            ) from error
    return found


def options_of(encoder: Encoder, crf: float) -> dict[str, str]:
    return {name: value.format(crf=crf) for name, value in encoder.options.items()}


class Segment:
    """Frames of one size, encoded without any that were encoded before: a film of its own, whose times begin with 0."""

    def __init__(self, path: Path, film: Film, encoder: Encoder, crf: float | None) -> None:
        import av

        self.film, self.encoder = film, encoder
        self.crf = encoder.usual if crf is None else crf
        lossless = encoder is LOSSLESS
        options = {"video_track_timescale": str(film.time_base.denominator)}
        self.container = av.open(f"file:{path}", "w", format="mov" if lossless else "mp4", options=options)
        self.stream: Any = None
        self.times, self.until = list[int](), 0
        self.usual = _Usual()

    def add(self, time: int, duration: int, pixels: NDArray[np.uint8]) -> None:
        """A frame, uint8 HWC RGB or RGBA, with its time in ticks of the film."""
        import av

        if self.stream is None:
            self.stream = self._open(*pixels.shape[:2])
        self.times.append(time)
        self.until = time + duration
        kind = "rgb24" if pixels.shape[2] == 3 else "rgba"
        if self.encoder is not LOSSLESS:  # chroma has half the size: an odd side goes on by a pixel
            pixels = np.pad(pixels, ((0, len(pixels) % 2), (0, pixels.shape[1] % 2), (0, 0)), mode="edge")
        frame: Any = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format=kind)
        frame = frame.reformat(format=self.encoder.pixels, dst_colorspace=None if self.encoder is LOSSLESS else "itu709")
        frame.pts, frame.time_base = time - self.times[0], self.film.time_base
        packets = self.stream.encode(frame)
        self.usual()
        self.container.mux(packets)

    def close(self) -> None:
        self.container.mux(self.stream.encode())
        self.container.close()

    def give_up(self) -> None:
        with suppress(Exception):
            self.container.close()

    def _open(self, height: int, width: int) -> Any:
        import av

        stream: Any = self.container.add_stream(self.encoder.encoder, rate=self.film.rate)
        stream.pix_fmt, stream.time_base, stream.codec_context.time_base = self.encoder.pixels, self.film.time_base, self.film.time_base
        stream.width, stream.height = width, height
        if self.encoder is not LOSSLESS:
            stream.width, stream.height = width + width % 2, height + height % 2
            stream.codec_context.color_range, stream.codec_context.colorspace = 1, BT709
            stream.codec_context.color_primaries = stream.codec_context.color_trc = BT709
            stream.options = options_of(self.encoder, self.crf)
        try:
            stream.codec_context.open()
        except av.FFmpegError as error:
            raise LimnerError(
                f"{self.encoder.encoder} does not encode frames of {width} x {height} pixels ({error}): set `codec` to another."
            ) from error
        self.usual()
        return stream


class _Usual:
    """Threads as they are scheduled usually. Opened by root, the encoder of av1 makes its threads and the one that calls it real-time ones
    (SCHED_FIFO, 99). What these start is so too, and nothing else on the machine runs beside it: so, called, they go back to what they were
    when this was made, and new ones to the usual. Some of its threads come up later than others: it is called for each frame.
    """

    def __init__(self) -> None:
        self.before = dict(_policies())

    def __call__(self) -> None:
        for task, policy in _policies():
            if policy == os.SCHED_FIFO != self.before.get(task):
                with suppress(ProcessLookupError):
                    os.sched_setscheduler(task, os.SCHED_OTHER, os.sched_param(0))


def _policies() -> Iterator[tuple[int, int]]:
    """Each thread of this process, by the number that the system has for it, and the policy by which it is scheduled; on Linux."""
    if sys.platform != "linux":
        return
    for entry in Path("/proc/self/task").iterdir():
        with suppress(ProcessLookupError):
            yield int(entry.name), os.sched_getscheduler(int(entry.name))


def join(parts: Sequence[Part], film: Film, out: Path, suffix: str, span: tuple[int, int | None], *, strip: bool) -> list[str]:
    """Put segments together into ``out``, a film of the format ``suffix``, and copy what belongs to the pictures of ``film`` from
    ``span[0]`` ticks to ``span[1]``: sound, subtitles, chapters and, unless ``strip``, metadata.

    Returns what could not be copied, for people.
    """
    import av

    lost: list[str] = []
    with ExitStack() as stack:
        first = stack.enter_context(av.open(f"file:{parts[0].path}"))
        fast = {"movflags": "+faststart"} if suffix in (".mp4", ".m4v", ".mov") else {}
        target: Any = stack.enter_context(av.open(f"file:{out}", "w", format=CONTAINERS[suffix], options=fast))
        pictures = target.add_stream_from_template(first.streams.video[0], opaque=True)
        pictures.time_base = film.time_base
        # A film that is painted from its beginning keeps its times, and those of its sound, which may begin before its pictures.
        begin = span[0] * film.time_base if span[0] > film.begin else None
        end = None if span[1] is None else span[1] * film.time_base
        packets = [_painted(parts, pictures, film.time_base, begin or Fraction(0))]
        source = _container(film, stack)
        if source is not None:
            if not strip:
                target.metadata.update(source.metadata)
            copies = {}
            for stream in source.streams:
                if stream.type == "video" or is_chapters(stream):
                    continue
                if stream.type in ("audio", "subtitle") and stream.codec_context is not None and _fits(stream, target):
                    copy = copies[stream.index] = target.add_stream_from_template(stream)
                    copy.disposition = stream.disposition
                    copy.metadata.update(stream.metadata)
                else:
                    lost.append(told(stream))
            if chapters := _chapters(source.chapters(), begin or Fraction(0), end):
                target.set_chapters(chapters)
            packets.append(_copied(source, copies, begin, end))
        for _, packet in heapq.merge(*packets, key=lambda each: each[0]):
            target.mux(packet)
    return list(dict.fromkeys(lost))


def _container(film: Film, stack: ExitStack) -> Any:
    """What sound and the like come from; animated pictures have none."""
    import av

    with suppress(av.FFmpegError):
        return stack.enter_context(av.open(f"file:{film.path}"))
    return None


def _fits(stream: Any, target: Any) -> bool:
    return stream.codec_context.name in target.supported_codecs


def _painted(parts: Sequence[Part], stream: Any, time_base: Fraction, begin: Fraction) -> Iterator[tuple[Fraction, Any]]:
    """Packets of the segments, at their places in the whole, which begins at the second ``begin`` of the film."""
    import av

    shift = round(begin / time_base)
    for number, part in enumerate(parts):
        with av.open(f"file:{part.path}") as container:
            waiting: list[Any] = [packet for packet in container.demux(video=0) if packet.size and packet.dts is not None]
            for packet in waiting:
                own = packet.time_base
                packet.pts, packet.dts = (part.times[0] - shift + round(each * own / time_base) for each in (packet.pts, packet.dts))
                packet.duration, packet.time_base = round(packet.duration * own / time_base), time_base
                if packet is waiting[-1]:
                    following = parts[number + 1].times[0] if number + 1 < len(parts) else part.until
                    packet.duration = max(following - shift - packet.pts, 1)
                packet.stream = stream
                yield packet.dts * time_base, packet


def _copied(source: Any, copies: dict[int, Any], begin: Fraction | None, end: Fraction | None) -> Iterator[tuple[Fraction, Any]]:
    if not copies:
        return
    if begin is not None:
        source.seek(int(begin * 1_000_000), backward=True)
    for packet in source.demux([source.streams[index] for index in copies]):
        if not packet.size or packet.dts is None or _is_gap(packet):
            continue
        time = packet.dts * packet.time_base
        over = time + (packet.duration or 0) * packet.time_base
        if (begin is not None and over <= begin) or (end is not None and time >= end):
            continue
        if begin is not None:
            shift = round(begin / packet.time_base)
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
        packet.stream = copies[packet.stream.index]
        yield time - (begin or 0), packet


def _is_gap(packet: Any) -> bool:
    """Whether it is the text that MP4 has where there is none, which is written again by itself."""
    return packet.stream.type == "subtitle" and packet.stream.codec_context.name == "mov_text" and bytes(packet) == b"\0\0"


def _chapters(chapters: list[Any], begin: Fraction, end: Fraction | None) -> list[Any]:
    """Those of the part that is painted, as it will be counted there."""
    found = []
    for chapter in chapters:
        unit = chapter["time_base"]
        start, stop = chapter["start"] * unit, chapter["end"] * unit
        if stop > begin and (end is None or start < end):
            inside = max(start, begin) - begin, (stop if end is None else min(stop, end)) - begin
            found.append({**chapter, "start": round(inside[0] / unit), "end": round(inside[1] / unit)})
    return found


def closed_early(path: Path, error: Exception) -> LimnerError:
    reason = " ".join(str(getattr(error, "strerror", None) or error).split())
    return LimnerError(f"{path} could not be written ({reason}): make room on the disk, or write elsewhere; what is painted is kept.")
