"""Cartoons without their clear edges, for CartoonGAN's discriminator: Canny's edges, widened, and the picture blurred there alone.

At the pictures' own size; `limner train cartoongan` does the same on the fly, to what it has just cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from limner.blocks.edge_smoothing import Blur, Mask, Pixels, edge_smoothed
from limner.errors import require
from limner.prepare import resumable
from limner.prepare.copies import copies


@dataclass(frozen=True)
class EdgeOptions:
    """Options of `limner prepare edges`."""

    out: Path
    """Where to write: a new folder; a preview sheet lies beside it. The same command again goes on with a run that was ended."""
    low: int = 100
    """Canny's lower threshold, of 255: weaker edges never count."""
    high: int = 200
    """Canny's upper threshold: edges between the two count where they lead on from one that is stronger."""
    widen: int = 5
    """Side, in pixels, of the square that edges are widened by; odd."""
    kernel: int = 5
    """Side, in pixels, of the square that is blurred over; odd."""
    blur: Blur = "gaussian"
    """How edges are blurred."""
    every: float = 1.0
    """Seconds between two frames that are taken from a film."""
    workers: int | None = None
    """Threads that work; by default one for each core. The result does not depend on it."""

    def __post_init__(self) -> None:
        require(0 <= self.low <= self.high, f"`low` must be from 0 to `high` ({self.high}), not {self.low}.")
        for name in ("widen", "kernel"):
            value = getattr(self, name)
            require(value >= 1 and value % 2 == 1, f"`{name}` must be odd and at least 1, not {value}.")


def edges(sources: Sequence[Path], options: EdgeOptions, progress: resumable.Progress = lambda done, total: None) -> resumable.Summary:
    """Write edge-smoothed copies of the pictures of `sources` as PNG files into the folder `options.out`, all of them, at their own size.

    Beside it appears `<out>-sheet.jpg`: a few cartoons, their copies, and where they differ. Raises LimnerError where none can be used.
    """
    about = {name: value for name, value in asdict(options).items() if name not in ("out", "workers")}
    whole = resumable.Options(options.out, size=1 << 30, crops=0, every=options.every, distance=-1, workers=options.workers)
    return copies(
        "edges", sources, whole, about, lambda pixels: smoothed(pixels, options)[0], lambda pixels: _row(pixels, options), progress
    )


def smoothed(pixels: Pixels, options: EdgeOptions) -> tuple[Pixels, Mask]:
    """`edge_smoothed` as the options say."""
    return edge_smoothed(pixels, low=options.low, high=options.high, widen=options.widen, kernel=options.kernel, blur=options.blur)


def _row(pixels: Pixels, options: EdgeOptions) -> list[Pixels]:
    copy, mask = smoothed(pixels, options)
    return [pixels, copy, np.repeat(255 * mask[..., None].astype(np.uint8), 3, 2)]
