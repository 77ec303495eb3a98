"""Style: a style file that you can call."""

import copy
import math
import re
import time
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import lru_cache
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from limner import files, limits
from limner.errors import LimnerError, TooLargeError, require
from limner.gallery import bundled, card, graph
from limner.gallery.card import WorkingSize
from limner.pictures import image, scanlines
from limner.style import banding, blend, enlarge, tone
from limner.style.runtimes import contract, opening

if TYPE_CHECKING:
    from PIL import Image

    from limner.style.runtimes.openvino_shots import Shots
    from limner.style.runtimes.openvino_stages import Stages

BORDER = 16
"""Pixels by which a picture is continued, by reflection, on every side before it is painted. At its own edges a network paints weaker
strokes (a sixth to a quarter less contrast in the outermost six pixels): that is cut off again."""

WHOLE = 4_000_000
"""Pixels up to which a picture is painted at once (about 1 GB of memory with the bundled styles); larger ones in bands. Counted are those
that the network sees: with the borders, a picture of 1,000,000 x 4 pixels has ten times as many as of its own."""

EACH = 250
"""Bytes of memory that a pixel takes in a picture painted at once, about, with the bundled styles."""

Pixels = NDArray[np.uint8] | NDArray[np.uint16]


class Style:
    """A style, ready to paint. Open one with ``limner.load``.

    The engine that runs it is opened at the first picture.
    """

    def __init__(
        self,
        path: Path,
        *,
        runtime: contract.Runtime = "auto",
        device: contract.Device = "auto",
        precision: contract.Precision = "auto",
    ) -> None:
        self.path = path.absolute()  # the engine opens it later, perhaps in another folder
        self.card = card.read(path)
        self._runtime, self._device, self._precision = runtime, device, precision
        self._engine: contract.Engine | None = None
        self._stages: Stages | None = None
        self._along: tuple[Style, Shots] | None = None
        self._each: float | None = None
        self._sees_whole: bool | None = None

    def __getstate__(self) -> dict[str, Any]:
        """What goes to another process: engines are opened anew there."""
        return {**vars(self), "_engine": None, "_stages": None, "_along": None}

    def __repr__(self) -> str:
        return f"Style({self.card.name!r})"

    @overload
    def __call__(
        self, picture: "Image.Image", *, strength: float = ..., keep_colors: bool = ..., working_size: WorkingSize | None = ...
    ) -> "Image.Image": ...
    @overload
    def __call__(
        self, picture: Path, *, strength: float = ..., keep_colors: bool = ..., working_size: WorkingSize | None = ...
    ) -> Path: ...
    @overload
    def __call__(self, picture: str, *, strength: float = ..., keep_colors: bool = ..., working_size: WorkingSize | None = ...) -> str: ...
    @overload
    def __call__(
        self, picture: NDArray[Any], *, strength: float = ..., keep_colors: bool = ..., working_size: WorkingSize | None = ...
    ) -> NDArray[Any]: ...
    def __call__(
        self,
        picture: "Image.Image | Path | str | NDArray[Any]",
        *,
        strength: float = 1.0,
        keep_colors: bool = False,
        working_size: WorkingSize | None = None,
    ) -> "Image.Image | Path | str | NDArray[Any]":
        """Paint ``picture``; the same type comes back: a PIL image, an array (uint8 or uint16, HWC RGB or RGBA), or a path.

        A path gives the path of a file beside it, ``photo.starry-night.jpg`` for ``photo.jpg``, written anew if it is there. Size, alpha
        and bit depth are kept. ``strength`` goes from 0, the photograph itself, to 1; ``keep_colors`` keeps the photograph's colours under
        the style's strokes. Where the short side has more pixels than ``working_size``, the picture is painted with as many, and its
        painting enlarged: strokes grow with the picture. ``None`` is what the card says, ``"full"`` or 0 the picture's own size.
        Raises ``LimnerError`` where the picture cannot be read or painted.
        """
        if isinstance(picture, np.ndarray):
            return self._paint_array(picture, strength, keep_colors, working_size)
        if isinstance(picture, str | PathLike):
            source = Path(picture)
            target = default_output(source, self.card.name)
            painted = self.paint(image.read(source), strength=strength, keep_colors=keep_colors, working_size=working_size)
            image.write(painted, target)
            return str(target) if isinstance(picture, str) else target
        if not hasattr(picture, "getbands"):  # of a PIL image; Pillow itself is not imported for this
            raise LimnerError(
                f"A {type(picture).__name__} is nothing that a style paints: give a path, a PIL image (bytes and open files: "
                "PIL.Image.open), or an array of uint8 or uint16 (tensors: height x width x 3, .numpy())."
            )
        opened = image.from_pil(picture)
        return image.to_pil(self.paint(opened, strength=strength, keep_colors=keep_colors, working_size=working_size))

    def open(self) -> contract.Engine:
        """Open the engine now, and not at the first picture. Raises ``LimnerError`` where it is not installed or cannot read the file."""
        if self._engine is None:
            self._engine = opening.open_style(self.path, runtime=self._runtime, device=self._device, precision=self._precision)
        return self._engine

    def paint(
        self,
        picture: image.Picture,
        *,
        strength: float = 1.0,
        keep_colors: bool = False,
        working_size: WorkingSize | None = None,
        tell: Callable[[float], None] = lambda _: None,
    ) -> image.Picture:
        """Paint a picture that ``image.read`` gave; metadata and alpha go along. ``tell`` is told which part of a big one is done."""
        return picture.with_pixels(self._paint(picture.pixels, strength, keep_colors, working_size, tell))

    def open_along(self) -> "tuple[Style, Shots]":
        """Open the engine of ``paint_along`` now; this style on it, and the engine. Raises ``LimnerError`` where the style's network has no
        instance norms or is one in int8, or another engine than OpenVINO on the CPU is to run it."""
        if self._along is None:
            shots = opening.open_shots(self.path, runtime=self._runtime, device=self._device, precision=self._precision)
            painter = copy.copy(self)
            painter._engine = shots
            self._along = painter, shots
        return self._along

    def paint_along(
        self,
        frame: image.Picture,
        before: contract.Statistics | None,
        keep: float,
        *,
        strength: float = 1.0,
        keep_colors: bool = False,
        working_size: WorkingSize | None = None,
    ) -> tuple[image.Picture, contract.Statistics]:
        """Paint a frame of a film, 8 bits, as ``paint`` does, but with a share ``keep``, from 0 to 1, of the frame ``before`` in its norms'
        statistics; None begins a shot. The statistics for the next frame come with the painting.

        Raises ``LimnerError`` as ``open_along`` does, and where frames are so large that they would be painted in bands.
        """
        painter, shots = self.open_along()
        height, width = frame.pixels.shape[:2]
        require(
            not self._network_in_bands(*self._size(height, width, working_size)),
            f"Frames of {width} x {height} pixels are painted in bands, whose statistics `calm` statistics does not smooth: set `calm` to "
            "flow, or make the film smaller with `max_size`.",
        )
        shots.before, shots.keep = before, keep
        return painter.paint(frame, strength=strength, keep_colors=keep_colors, working_size=working_size), shots.after

    def _paint_array(self, array: NDArray[Any], strength: float, keep_colors: bool, working_size: WorkingSize | None) -> NDArray[Any]:
        if array.dtype not in (np.uint8, np.uint16) or array.ndim != 3 or array.shape[2] not in (3, 4) or not array.size:
            raise LimnerError(
                f"An array of {array.dtype}, shape {array.shape}, is not a picture: give uint8 or uint16, height x width x 3 (or 4)."
            )
        painted = self._paint(array[..., :3], strength, keep_colors, working_size)
        return painted if array.shape[2] == 3 else np.concatenate([painted, array[..., 3:]], axis=2)

    def _paint(
        self,
        pixels: Pixels,
        strength: float,
        keep_colors: bool,
        working_size: WorkingSize | None,
        tell: Callable[[float], None] = lambda _: None,
    ) -> Pixels:
        if not 0 <= strength <= 1:
            raise LimnerError(f"A strength of {strength:g} is not possible: give a number from 0 (the photograph) to 1 (the style).")
        size = self._size(pixels.shape[0], pixels.shape[1], working_size)
        if strength == 0:
            return pixels.copy()
        painted = self._stylized(pixels, size, tell)
        if not keep_colors and strength == 1:
            return painted
        before, after = (image.to_float(each)[0].transpose(1, 2, 0) for each in (pixels, painted))
        if keep_colors:
            after = blend.keep_colors(before, after)
        return image.from_float(blend.strength(before, after, strength).transpose(2, 0, 1)[None], pixels.dtype)

    def working_size(self, asked: WorkingSize | None = None) -> int:
        """The short side, in pixels, at which larger pictures are painted: what the card says, unless ``asked``; 0 is their own size.

        Raises ``LimnerError`` where it is no size.
        """
        if asked is None:
            return self.card.working_size
        if asked != "full" and (not isinstance(asked, int) or asked < 0):
            raise LimnerError(f"A working size of {asked!r} is not possible: give the short side in pixels, or 'full'.")
        return 0 if asked == "full" else asked

    def _size(self, height: int, width: int, working_size: WorkingSize | None) -> tuple[int, int]:
        """Height and width at which a picture of this size is painted."""
        short, own = self.working_size(working_size), min(height, width)
        if not 0 < short < own:
            return height, width
        return round(height * short / own), round(width * short / own)

    def _stylized(self, pixels: Pixels, size: tuple[int, int], tell: Callable[[float], None]) -> Pixels:
        """The network's picture as it is, painted at ``size``, in the same size and depth."""
        if size != pixels.shape[:2] or self._network_in_bands(*size):
            painted, done = np.empty_like(pixels), 0
            for band in self._bands(scanlines.of(image.Picture(pixels)), size, tell):
                painted[done : done + len(band)] = band
                done += len(band)
            return painted
        height = len(pixels)
        if wanted := self._tones_wanted(pixels, height):
            pixels = np.concatenate([pixels, tone.below(pixels[-tone.GAP - 1 :], wanted)])
        if pixels.dtype == np.uint8:
            return np.ascontiguousarray(self._run(pixels[None], axes=(1, 2))[0])[:height]
        return image.from_float(self._run(image.to_float(pixels), axes=(2, 3)), pixels.dtype)[:height]

    def in_bands(self, height: int, width: int, working_size: WorkingSize | None = None) -> bool:
        """Whether a picture of this size is a large one, and is painted in bands of rows."""
        size = self._size(height, width, working_size)
        return self._seen(height, width) > WHOLE and (size != (height, width) or self._network_in_bands(height, width))

    def _seen(self, height: int, width: int) -> int:
        """Pixels that the network sees of a picture."""
        return math.prod(self._frame(height, width).whole)

    def _network_in_bands(self, height: int, width: int) -> bool:
        """Whether the network goes over the picture in bands (``banding``), by OpenVINO on the CPU. What cannot be cut does not."""
        if self._seen(height, width) <= WHOLE or self._runtime not in ("auto", "openvino") or self._device == "gpu":
            return False
        try:
            self._cut()
        except LimnerError:
            return False
        return True

    def bands(
        self, source: scanlines.RowPicture, working_size: WorkingSize | None = None, tell: Callable[[float], None] = lambda _: None
    ) -> Generator[Pixels, None, None]:
        """The stylized picture from top to bottom, some rows at a time, in the picture's own depth; memory does not grow with its size.

        ``tell`` is told which part of the work is done. Raises ``LimnerError`` where the network cannot be cut into stages.
        """
        return self._bands(source, self._size(source.height, source.width, working_size), tell)

    def _bands(self, source: scanlines.RowPicture, size: tuple[int, int], tell: Callable[[float], None]) -> Generator[Pixels, None, None]:
        if size == (source.height, source.width):
            yield from self._network_bands(source, tell)
            return
        small = enlarge.reduced(source, size)
        painted, done = self._stylized(small, size, lambda part: tell(part / 2)), 0
        live = self.card.tier == "live"
        for band in enlarge.plainly(painted, source) if live else enlarge.enlarged(painted, small, source):
            yield band
            done += len(band)
            tell(0.5 + done / source.height / 2)

    def _network_bands(self, source: scanlines.RowPicture, tell: Callable[[float], None]) -> Generator[Pixels, None, None]:
        height = source.height
        with closing(self._network_bands_of(self._with_reference(source), tell)) as painted:
            for band in painted:
                yield band[:height]
                height -= len(band)
                if height <= 0:  # what follows is the reference
                    tell(1.0)
                    return

    def _tones_wanted(self, sample: Pixels, height: int) -> int:
        """Rows of tone reference (``tone``): none for networks without norm."""
        if self._sees_whole is None:
            self._sees_whole = graph.sees_whole(memoryview(self.path.read_bytes()))
        return tone.rows_wanted(sample, height) if self._sees_whole else 0

    def _with_reference(self, source: scanlines.RowPicture) -> scanlines.RowPicture:
        """A picture with a tone reference below it, where it needs one."""
        tops = np.linspace(0, max(source.height - 8, 0), min(64, source.height)).astype(int)
        sample = np.concatenate([source.rows(int(top), min(int(top) + 8, source.height)) for top in tops])
        wanted = self._tones_wanted(sample, source.height)
        if not wanted:
            return source
        more = tone.below(source.rows(max(source.height - tone.GAP - 1, 0), source.height), wanted)

        def get(start: int, stop: int) -> Pixels:
            own = [source.rows(start, min(stop, source.height))] if start < source.height else []
            return np.concatenate([*own, more[max(start - source.height, 0) : max(stop - source.height, 0)]])

        return replace(source, height=source.height + len(more), rows=get, picture=None)

    def _network_bands_of(self, source: scanlines.RowPicture, tell: Callable[[float], None]) -> Generator[Pixels, None, None]:
        photo, frame = lambda start, stop: image.to_float(source.rows(start, stop)), self._frame(source.height, source.width)
        limits.painting(
            banding.memory(self._cut(), frame),
            f"A picture of {source.width} x {source.height} pixels",
            "it is too wide; turn it upright, cut it, or make it smaller.",
        )
        with closing(banding.paint(self._cut(), photo, frame, tell)) as painted:
            while True:
                with _failing(source.height, source.width):
                    band = next(painted, None)
                if band is None:
                    return
                some = band[:, :, ::4]
                contract.check_range(self.path, float(np.abs(some - some.clip(0, 1)).mean()))
                yield image.from_float(band, source.dtype)

    def estimate(self, height: int, width: int, working_size: WorkingSize | None = None) -> tuple[float, float, float]:
        """About how many bytes of memory and of temporary files, and how many seconds, a big picture will take on this machine."""
        probe, engine = np.zeros((1, 3, 512, 512), np.float32), self.open()
        engine(probe)
        size = self._size(height, width, working_size)
        start = time.perf_counter()
        engine(probe)
        seconds = (time.perf_counter() - start) * math.prod(size) / 512**2
        memory, disk = banding.PROGRAM + 200 * math.prod(size), 0.0
        if self._network_in_bands(*size):
            stages, frame = self._cut(), self._frame(*size)
            memory, disk = banding.memory(stages, frame), banding.disk(stages, frame)
            seconds = seconds * banding.SLOWER + banding.COMPILING
        if size != (height, width):
            more = enlarge.estimate((height, width), size)
            memory, seconds = memory + more[0], seconds + more[1]
        return memory, disk, seconds

    def _cut(self) -> "Stages":
        if self._stages is None:
            from limner.style.runtimes.openvino_stages import Stages

            self._stages = Stages(self.path, self._precision)
        return self._stages

    def _frame(self, height: int, width: int) -> banding.Frame:
        return banding.Frame(height, width, BORDER, self._padding(height), self._padding(width))

    def _run(self, photo: contract.Image, axes: tuple[int, int]) -> contract.Image:
        """The network on a photo of any size, height and width on these ``axes``: padded by reflection to what it takes, cropped back."""
        engine, more, own = self.open(), [(0, 0)] * 4, [slice(None)] * 4
        for axis in axes:
            side = photo.shape[axis]
            more[axis], own[axis] = (BORDER, BORDER + self._padding(side)), slice(BORDER, BORDER + side)
        height, width = (photo.shape[axis] for axis in axes)
        self._check_memory(height, width)
        padded = np.pad(photo, more, mode="reflect")
        with _failing(height, width):
            return engine(padded)[tuple(own)]  # type: ignore[return-value]

    def _check_memory(self, height: int, width: int) -> None:
        """Of a picture that is painted at once. Engines without bands may take half of what the machine has."""
        if self._each is None:
            self._each = EACH if bundled.holds(self.path) else max(4 * opening.cost(self.path), EACH)
        pixels = self._seen(height, width)
        most = limits.PAINTING if pixels <= WHOLE else max(limits.PAINTING, limits.memory() / 2)
        limits.painting(pixels * self._each, f"A picture of {width} x {height} pixels", "make it smaller, or cut it.", most)

    def _padding(self, side: int) -> int:
        """What ``side``, with its borders, lacks to a size that the network takes."""
        multiple, whole = self.card.multiple_of, side + 2 * BORDER
        return max(-(-whole // multiple), -(-self.card.min_side // multiple)) * multiple - whole


def load(
    style: str | PathLike[str] = "",
    *,
    tier: bundled.Tier = "standard",
    runtime: contract.Runtime = "auto",
    device: contract.Device = "auto",
) -> Style:
    """Open a style: the name of a bundled one, or the path of a style file; the default one if nothing is named.

    ``tier`` ``int8`` is the same network, faster, and ``live`` a small one for video, many times faster; for ``mine.onnx`` they lie beside
    it as ``mine.int8.onnx`` and ``mine.live.onnx``.
    Raises ``LimnerError`` where there is no such style or tier, or the file is not one.
    """
    return Style(bundled.find(str(style) or bundled.default(tier), tier), runtime=runtime, device=device)


@contextmanager
def _failing(height: int, width: int) -> Iterator[None]:
    """What the engines raise when memory ends becomes ``TooLargeError``. All else is a fault, and stays what it is."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not isinstance(error, MemoryError) and not _OUT_OF_MEMORY.search(str(error)):
            raise
        raise TooLargeError(
            f"A picture of {width} x {height} pixels could not be painted here ({_first_line(error)}): "
            "make it smaller, or use a machine with more memory."
        ) from error


_OUT_OF_MEMORY = re.compile("alloc|out of memory", re.IGNORECASE)
"""In words of engines, whose exceptions are RuntimeErrors whatever went wrong: std::bad_alloc, Failed to allocate memory."""


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__


@lru_cache(maxsize=8)
def _loaded(style: str, stamp: tuple[int, ...]) -> Style:
    """``stamp`` tells one file from another that has taken its place."""
    return load(style)


def _stamp(path: Path) -> tuple[int, ...]:
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


@overload
def stylize(
    picture: "Image.Image", style: str = ..., *, strength: float = ..., keep_colors: bool = ..., working_size: WorkingSize | None = ...
) -> "Image.Image": ...
@overload
def stylize(
    picture: Path, style: str = ..., *, strength: float = ..., keep_colors: bool = ..., working_size: WorkingSize | None = ...
) -> Path: ...
@overload
def stylize(
    picture: str, style: str = ..., *, strength: float = ..., keep_colors: bool = ..., working_size: WorkingSize | None = ...
) -> str: ...
@overload
def stylize(
    picture: NDArray[Any], style: str = ..., *, strength: float = ..., keep_colors: bool = ..., working_size: WorkingSize | None = ...
) -> NDArray[Any]: ...
def stylize(
    picture: "Image.Image | Path | str | NDArray[Any]",
    style: str = "",
    *,
    strength: float = 1.0,
    keep_colors: bool = False,
    working_size: WorkingSize | None = None,
) -> "Image.Image | Path | str | NDArray[Any]":
    """Paint one picture: ``load(style)(picture, ...)`` in one call. Styles stay open for the next call, until their file is replaced."""
    loaded = _loaded(style, _stamp(bundled.find(style or bundled.default())))
    return loaded(picture, strength=strength, keep_colors=keep_colors, working_size=working_size)


def default_output(picture: Path, style_name: str, format: str | None = None, writable: Collection[str] = image.WRITABLE) -> Path:
    """``photo.starry-night.jpg`` beside ``photo.jpg``, with another suffix where a ``format`` ("png") is asked for.

    Formats that Limner reads but does not write become PNG. A name that would be too long is shortened.
    """
    suffix = picture.suffix if picture.suffix.lower() in writable else image.BECOMES.get(picture.suffix.lower(), ".png")
    return picture.with_name(files.shortened(picture.stem, f".{style_name}.{format}" if format else f".{style_name}{suffix}"))
