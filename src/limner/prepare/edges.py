"""Cartoons without their clear edges, for CartoonGAN's discriminator: Canny's edges, widened, and the picture blurred there alone.

The definition is that of the paper's ports (OpenCV's Canny at 100 and 200, squares of 5 x 5), at the pictures' own size and for all pixels
at once. `limner.methods.cartoongan` does the same on the fly, for what it has just cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
from cyclopts import Parameter
from numpy.typing import NDArray
from PIL import Image

from limner import image, prepare
from limner.errors import LimnerError, require
from limner.prepare import parts
from limner.prepare.parts import Manifest
from limner.sources import Source

Pixels: TypeAlias = NDArray[np.uint8]
Plane: TypeAlias = NDArray[np.float32]
Mask: TypeAlias = NDArray[np.bool_]

SHOWN = 4
"""Cartoons on the preview sheet."""
SHOWN_HEIGHT = 320


@dataclass(frozen=True)
class EdgeOptions:
    """Options of `limner prepare edges`."""

    out: Annotated[Path, Parameter(alias="-o")]
    """Where to write: a new folder; a preview sheet lies beside it. The same command again goes on with a run that was ended."""
    low: int = 100
    """Canny's lower threshold, of 255: weaker edges never count."""
    high: int = 200
    """Canny's upper threshold: edges between the two count where they lead on from one that is stronger."""
    widen: int = 5
    """Side, in pixels, of the square that edges are widened by; odd."""
    kernel: int = 5
    """Side, in pixels, of the square that is blurred over; odd."""
    blur: Literal["gaussian", "mean"] = "gaussian"
    """How edges are blurred."""
    every: float = 1.0
    """Seconds between two frames that are taken from a film."""
    workers: Annotated[int | None, Parameter(show_default=False)] = None
    """Threads that work; by default one for each core. The result does not depend on it."""

    def __post_init__(self) -> None:
        require(0 <= self.low <= self.high, f"--low must be from 0 to --high ({self.high}), not {self.low}.")
        for name in ("widen", "kernel"):
            value = getattr(self, name)
            require(value >= 1 and value % 2 == 1, f"--{name} must be odd and at least 1, not {value}.")


def edges(sources: Sequence[Path], options: EdgeOptions, progress: prepare.Progress = lambda done, total: None) -> prepare.Summary:
    """Write edge-smoothed copies of the pictures of `sources` as PNG files into the folder `options.out`, all of them, at their own size.

    Beside it appears `<out>-sheet.jpg`: a few cartoons, their copies, and where they differ. Raises LimnerError where none can be used.
    """
    require(bool(sources), "Nothing to prepare was named: give folders, pictures, films, .tar shards or .npz files.")
    whole = prepare.Options(options.out, size=1 << 30, crops=0, every=options.every, distance=-1, workers=options.workers)
    sets = prepare._open_sets({"images": sources}, whole)
    asked = {name: value for name, value in asdict(options).items() if name not in ("out", "workers")}
    about = {name: value for name, value in prepare._header("edges", sets, whole).items() if name in ("prepare", "sources", "pictures")}
    manifest = Manifest(options.out, {**about, **asked})
    writer = prepare._Writer(
        partial(parts.files, options.out, suffix=".png"), lambda part: part.read >= prepare.PART, partial(_encode, options=options)
    )
    summary = prepare._run(sets, whole, manifest, progress, writer)
    _write_sheet(sets["images"], options)
    return summary


# ------------------------------------------------------------------------------------------------------------ one picture


def smoothed(pixels: Pixels, options: EdgeOptions) -> tuple[Pixels, Mask]:
    """The picture, uint8 HWC RGB, blurred near its edges and untouched elsewhere; and where that is, HW."""
    mask = widened(canny(luma(pixels), options.low, options.high), options.widen)
    if not mask.any():
        return pixels, mask
    line = np.ones(options.kernel, np.float32)
    if options.blur == "gaussian":
        sigma = 0.3 * (options.kernel / 2 - 1.5) + 0.8  # OpenCV's for a kernel of this size
        line = np.exp(-0.5 * ((np.arange(options.kernel) - options.kernel // 2) / sigma) ** 2).astype(np.float32)
    blurred = pixels.astype(np.float32)
    for axis in (0, 1):
        blurred = sum(weight * part for weight, part in zip(line / line.sum(), _shifted(blurred, axis, options.kernel), strict=True))
    return np.where(mask[..., None], (blurred + 0.5).astype(np.uint8), pixels), mask


def luma(pixels: Pixels) -> Plane:
    """float32 HW in [0, 255] of uint8 HWC RGB."""
    return np.asarray(pixels @ np.array([0.299, 0.587, 0.114], np.float32), np.float32)


def canny(grey: Plane, low: float, high: float) -> Mask:
    """Edges of a float32 HW picture (John Canny, 1986): ridges of |dx| + |dy| by Sobel, as in OpenCV, not blurred before.

    Ridges above `high` count, and those above `low` that are joined to one, in any of eight directions.
    """
    x, y = _sobel(grey)
    strength = np.abs(x) + np.abs(y)
    height, width = grey.shape
    around = np.pad(strength, 1)

    def beside(down: int, right: int) -> Plane:
        return around[1 + down : 1 + down + height, 1 + right : 1 + right + width]

    flat, steep = np.abs(y) < 0.4142 * np.abs(x), np.abs(y) > 2.4142 * np.abs(x)
    falling = x * y >= 0
    kinds = [flat, steep, falling]
    before = np.select(kinds, [beside(0, -1), beside(-1, 0), beside(-1, -1)], beside(-1, 1))
    after = np.select(kinds, [beside(0, 1), beside(1, 0), beside(1, 1)], beside(1, -1))
    weak = (strength > low) & (strength > before) & (strength >= after)
    return _joined(weak & (strength > high), weak)


def widened(mask: Mask, side: int) -> Mask:
    """The mask, HW, dilated by a square."""
    for axis in (0, 1):
        mask = np.logical_or.reduce(list(_shifted(mask, axis, side, mode="constant")))
    return mask


def _sobel(grey: Plane) -> tuple[Plane, Plane]:
    """Slopes to the right and downwards."""
    p = np.pad(grey, 1, mode="edge")
    across, down = p[:, 2:] - p[:, :-2], p[2:] - p[:-2]
    return across[:-2] + 2 * across[1:-1] + across[2:], down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:]


def _joined(strong: Mask, weak: Mask) -> Mask:
    """What of `weak` is joined to `strong`: from the strong pixels outwards, each pixel looked at once."""
    width = weak.shape[1] + 2
    around = np.array([-width - 1, -width, -width + 1, -1, 1, width - 1, width, width + 1])
    waiting, reached = np.pad(weak & ~strong, 1).ravel(), np.pad(strong, 1).ravel()
    newest = np.flatnonzero(reached)
    while newest.size:
        near = (newest[:, None] + around).ravel()
        newest = np.unique(near[waiting[near]])
        waiting[newest], reached[newest] = False, True
    return reached.reshape(-1, width)[1:-1, 1:-1]


def _shifted(array: NDArray[Any], axis: int, side: int, mode: Literal["reflect", "constant"] = "reflect") -> Iterator[NDArray[Any]]:
    """The array as each pixel of a line of `side` pixels along `axis` sees it."""
    length = array.shape[axis]
    margins = [(side // 2, side // 2) if n == axis else (0, 0) for n in range(array.ndim)]
    padded = np.pad(array, margins, mode=mode)
    for k in range(side):
        yield padded[:, k : k + length] if axis else padded[k : k + length]


# --------------------------------------------------------------------------------------------------------------- in and out


def _encode(photo: Image.Image, size: int, *, options: EdgeOptions) -> bytes:
    # PNG: what is not blurred stays exactly as it is.
    return image.encode(image.Picture(smoothed(np.asarray(photo), options)[0]), ".png")


def _write_sheet(sources: list[Source], options: EdgeOptions) -> None:
    """Rows of a cartoon, its copy, and where they differ. Not in the folder, where it would be taken for one more picture."""
    places = [(source, n) for source in sources for n in range(len(source))]
    rows = []
    for k in np.linspace(0, len(places) - 1, min(SHOWN, len(places))).round().astype(int):
        try:
            pixels = places[k][0][places[k][1]]
        except LimnerError:  # told already
            continue
        copy, mask = smoothed(pixels, options)
        rows.append(np.hstack([pixels, copy, np.repeat(255 * mask[..., None].astype(np.uint8), 3, 2)]))
    if rows:
        shown = [Image.fromarray(row).resize((row.shape[1] * SHOWN_HEIGHT // row.shape[0], SHOWN_HEIGHT)) for row in rows]
        sheet = Image.new("RGB", (max(row.width for row in shown), SHOWN_HEIGHT * len(shown)), "white")
        for n, row in enumerate(shown):
            sheet.paste(row, (0, n * SHOWN_HEIGHT))
        image.write(image.from_pil(sheet), options.out.with_name(options.out.name + "-sheet.jpg"))
