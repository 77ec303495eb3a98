"""Pictures of any size in bounded memory, without seams: the network goes over the picture in bands, stage by stage.

Bands alone would show: instance norm takes its mean and variance from all that it sees. Here it sees the whole picture: each stage of the
network ends where a norm begins, and goes on when all bands have been measured (``openvino_stages``). What a stage hands on
lies in temporary files, in half precision, so memory does not grow with the picture; disk space does
(49 bytes a pixel for the bundled styles).
"""

import math
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from limner.errors import TooLargeError, require
from limner.parallel import in_order

if TYPE_CHECKING:
    from limner.style.runtimes.openvino_stages import Layer, Measured, Norm, Run, Stage, Stages, Value

Array = NDArray[np.float32]
Rows = Callable[[int, int], Array]
"""Rows of the photograph from one number to another, float32 1 x 3 x rows x W in [0, 1]."""

MEMORY = 32e6
"""Bytes that a band's features may take, about; larger bands are slower (memory that is new has to be cleared, and caches are small)."""

SPARED, MOST = 12, 3e8
"""How many times as high as what is computed twice a band should be, and the bytes that it may take for it."""

PROGRAM = 2.5e8
"""Bytes that the program takes with its engine, about."""

SLOWER, COMPILING = 2.4, 0.5
"""How much longer a pixel takes in bands than in a picture of 512 x 512 pixels, and the seconds that the stages take at first, about."""


class Band(NamedTuple):
    """Rows ``start`` to ``stop`` of the picture are painted at once; for it, ``rows`` of them must be seen, from ``first`` on."""

    start: int
    stop: int
    first: int
    rows: int


@dataclass(frozen=True)
class Frame:
    """A photograph continued by reflection: ``border`` pixels on each side, and below and on the right what the network asks for."""

    height: int
    width: int
    border: int
    below: int
    right: int

    @property
    def whole(self) -> tuple[int, int]:
        return self.height + 2 * self.border + self.below, self.width + 2 * self.border + self.right

    def rows(self, photo: Rows, start: int, stop: int) -> Array:
        """Rows ``start`` to ``stop`` of the continued photograph."""
        wanted = np.arange(start, stop) - self.border
        period = max(2 * (self.height - 1), 1)
        wanted = np.abs(wanted) % period
        wanted = np.minimum(wanted, period - wanted)
        first, last = int(wanted.min()), int(wanted.max()) + 1
        band = photo(first, last)[:, :, wanted - first]
        return np.pad(band, ((0, 0), (0, 0), (0, 0), (self.border, self.border + self.right)), mode="reflect")


def paint(stages: "Stages", photo: Rows, frame: Frame, tell: Callable[[float], None] = lambda _: None) -> Generator[Array, None, None]:
    """The stylized photograph from top to bottom, band by band: float32 1 x 3 x rows x W in [0, 1].

    ``tell`` is told which part of the work is done. Raises ``LimnerError`` where the disk has no room for the temporary files.
    """
    needed, free = disk(stages, frame), shutil.disk_usage(place()).free
    if needed >= free:
        raise TooLargeError(
            f"A picture of {frame.width} x {frame.height} pixels needs {needed / 1e9:.1f} GB for temporary files, and {place()} has "
            f"{free / 1e9:.1f} GB: name a folder with more room in the environment variable TMPDIR, or make it smaller."
        )
    whole, width = frame.whole
    kept: dict[Value, _Kept] = {}
    statistics: dict[str, tuple[Array, Array]] = {}
    costs = [1.0 + (stage.bytes_each > 100) * 3 for stage in stages.stages]

    def compile(stage: "Stage") -> "Run":
        return stages.compile(stage, next(bands(stages, stage, whole, width)).rows, width)

    with ExitStack() as files, ThreadPoolExecutor(stages.streams, "limner-bands") as workers:
        runs = deque([workers.submit(compile, stages.stages[0])])
        for number, stage in enumerate(stages.stages):
            writes = [files.enter_context(closing(_Kept(layer, width))) for layer in stage.writes]
            sums = [_Sums(norm) for norm in stage.measures]
            cut = list(bands(stages, stage, whole, width))
            step = _Step(stage, runs.popleft().result(), frame, kept, statistics, writes, sums)
            runs.extend(workers.submit(compile, later) for later in stages.stages[number + 1 : number + 2])  # while this one runs
            seen = (frame.rows(photo, band.first, band.first + band.rows) if stage.reads_picture else None for band in cut)
            gone = in_order(workers, step, zip(cut, seen, strict=True), ahead=stages.streams)
            for band, (measured, painted) in zip(cut, gone, strict=True):
                for each in sums:
                    each.add(*measured[each.norm.name], width)
                if painted is not None:
                    yield painted
                tell((sum(costs[:number]) + costs[number] * band.stop / whole) / sum(costs))
            statistics |= {each.norm.name: each.affine() for each in sums}
            kept |= {layer.layer.value: layer for layer in writes}
            wanted = _wanted_after(stages, number)
            for value in [value for value in kept if value not in wanted]:
                kept.pop(value).close()


@dataclass(frozen=True)
class _Step:
    """One stage for one picture: what its bands have in common. They go through it in several threads."""

    stage: "Stage"
    run: "Run"
    frame: Frame
    kept: dict["Value", "_Kept"]
    statistics: dict[str, tuple[Array, Array]]
    writes: list["_Kept"]
    sums: list["_Sums"]

    def __call__(self, band: Band, picture: Array | None) -> "tuple[dict[str, tuple[Measured, Array]], Array | None]":
        """What the band tells of each norm, by name, with the mask of the rows that count; and the stylized rows, where there are any."""
        start, stop, first, rows = band
        reads = [self.kept[layer.value].read(first, first + rows) for layer in self.stage.reads]
        masks = [each.mask(start, stop, first, rows) for each in self.sums]
        found = self.run(picture, reads, self.statistics, masks, first)
        for layer in self.writes:
            layer.write(found.written[layer.layer.value], first, start, stop)
        measured = {each.norm.name: (found.measured[each.norm.name], mask) for each, mask in zip(self.sums, masks, strict=True)}
        border, height, width = self.frame.border, self.frame.height, self.frame.width
        top, bottom = max(start, border), min(stop, border + height)
        if found.stylized is None or top >= bottom:  # a band of nothing but border
            return measured, None
        return measured, found.stylized[:, :, top - first : bottom - first, border : border + width].copy()


def _wanted_after(stages: "Stages", number: int) -> "set[Value]":
    return {layer.value for later in stages.stages[number + 1 :] for layer in later.reads}


def disk(stages: "Stages", frame: Frame) -> float:
    """Bytes that the temporary files take, where they take most."""
    sizes: dict[Value, float] = {}
    most, pixels = 0.0, math.prod(frame.whole)
    for number, stage in enumerate(stages.stages):
        sizes |= {layer.value: float(layer.channels * layer.scale**2) * 2 * pixels for layer in stage.writes}
        most = max(most, sum(sizes.values()))
        sizes = {value: size for value, size in sizes.items() if value in _wanted_after(stages, number)}
    return most


def memory(stages: "Stages", frame: Frame) -> float:
    """Bytes of memory, about: the program with its engine, and the features of a band."""
    whole, width = frame.whole
    most = 0.0
    for stage in stages.stages:
        most = max(most, stage.bytes_each * next(bands(stages, stage, whole, width)).rows * width)
    return PROGRAM + 0.6 * stages.streams * most


def place() -> Path:
    """Where temporary files go: TMPDIR, or what the system has for large ones (/tmp may be memory)."""
    large = Path("/var/tmp")
    return Path(tempfile.gettempdir()) if "TMPDIR" in os.environ or not os.access(large, os.W_OK) else large


def bands(stages: "Stages", stage: "Stage", whole: int, width: int) -> Iterator[Band]:
    """Those of one stage, from top to bottom; all see equally many rows, so that it is compiled once, and are about equally high, as many
    as the streams can share.
    """
    multiple, streams = stages.multiple, stages.streams
    twice, each = stage.above + stage.below, stage.bytes_each * width
    fitting = max(int(MEMORY / each) - twice, min(SPARED * twice, int(MOST / each) - twice))
    height = max(fitting // multiple * multiple, 2 * multiple, 32 // multiple * multiple)
    count = -(-whole // height)
    if count > 1:
        count = -(-count // streams) * streams
    height = -(-whole // (count * multiple)) * multiple
    rows = min(height + twice, whole)
    for start in range(0, whole, height):
        yield Band(start, min(start + height, whole), min(max(start - stage.above, 0), whole - rows), rows)


class _Sums:
    """Mean and variance of a layer, gathered band by band (Chan, Golub and LeVeque 1979)."""

    def __init__(self, norm: "Norm") -> None:
        self.norm, self.rows = norm, 0
        self.mean, self.squares = (np.zeros((1, norm.layer.channels, 1, 1)) for _ in range(2))

    def mask(self, start: int, stop: int, first: int, rows: int) -> Array:
        """1 for rows that count, 0 for those that are only seen."""
        scale = self.norm.layer.scale
        mask = np.zeros((1, 1, int(rows * scale), 1), np.float32)
        mask[:, :, int((start - first) * scale) : int((stop - first) * scale)] = 1
        return mask

    def add(self, found: "Measured", mask: Array, width: int) -> None:
        """What a band gave."""
        rows, more = int(mask.sum()), mask.size / mask.sum()
        left, pixels = found.left.astype(np.float64) * more, rows * int(width * self.norm.layer.scale)
        mean, squares = found.centre + left, found.length.astype(np.float64) ** 2 / pixels - left**2
        share, apart = rows / (self.rows + rows), mean - self.mean
        self.squares += share * (squares - self.squares) + share * (1 - share) * apart**2
        self.mean += share * apart
        self.rows += rows

    def affine(self) -> tuple[Array, Array]:
        """Factor and summand that normalise."""
        factor = 1 / np.sqrt(np.maximum(self.squares, 0) + self.norm.eps)
        return factor.astype(np.float32), (-self.mean * factor).astype(np.float32)


class _Kept:
    """A layer on disk, float16, row by row: H x C x W."""

    def __init__(self, layer: "Layer", width: int) -> None:
        self.layer, self.channels, self.width = layer, layer.channels, int(width * layer.scale)
        self.file: Any = tempfile.TemporaryFile(dir=place(), buffering=0)  # noqa: SIM115 (gone with the process, even if it is killed)
        self.lock = Lock()

    def write(self, features: NDArray[np.float16], first: int, start: int, stop: int) -> None:
        """Rows ``start`` to ``stop`` of the picture, of features whose own begin with ``first``."""
        scale = self.layer.scale
        own = features[0, :, int((start - first) * scale) : int((stop - first) * scale)]
        data = np.ascontiguousarray(own.transpose(1, 0, 2)).data.cast("B")
        try:
            with self.lock:
                self.file.seek(int(start * scale) * self.channels * self.width * 2)
                while data:
                    data = data[self.file.write(data) :]
        except OSError as error:
            raise TooLargeError(
                f"Temporary files could not be written to {place()} ({error.strerror}): name a folder with more room in the environment "
                "variable TMPDIR, or make the picture smaller."
            ) from error

    def read(self, start: int, stop: int) -> NDArray[np.float16]:
        """float16 1 x C x rows x W."""
        first, last = int(start * self.layer.scale), int(stop * self.layer.scale)
        rows = np.empty((last - first, self.channels, self.width), np.float16)
        data = rows.data.cast("B")
        with self.lock:
            self.file.seek(first * self.channels * self.width * 2)
            while data:
                got = self.file.readinto(data)
                require(got > 0, f"Temporary files in {place()} cannot be read again: check the disk, or name another folder in TMPDIR.")
                data = data[got:]
        return np.ascontiguousarray(rows.transpose(1, 0, 2))[None]

    def close(self) -> None:
        self.file.close()
