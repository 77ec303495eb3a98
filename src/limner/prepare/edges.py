"""Cartoons without their clear edges, for CartoonGAN's discriminator: Canny's edges, widened, and the picture blurred there alone.

At the pictures' own size; `limner train cartoongan` does the same on the fly, to what it has just cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
from cyclopts import Parameter
from PIL import Image

from limner import image, prepare
from limner.edges import Blur, Mask, Pixels, edge_smoothed
from limner.errors import LimnerError, require
from limner.prepare import parts
from limner.prepare.parts import Manifest
from limner.sources import Source

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
    blur: Blur = "gaussian"
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


def smoothed(pixels: Pixels, options: EdgeOptions) -> tuple[Pixels, Mask]:
    """`edge_smoothed` as the options say."""
    return edge_smoothed(pixels, low=options.low, high=options.high, widen=options.widen, kernel=options.kernel, blur=options.blur)


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
