"""Abstractions of photographs, for an initialisation phase: of CartoonGAN, which otherwise draws them on the fly, or of fast style.

They bear the photographs' names, so that each finds its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Le

from limner.errors import require
from limner.pictures import image
from limner.prepare import resumable
from limner.prepare.copies import copies
from limner.ranges import check


@dataclass(frozen=True)
class AbstractionOptions:
    """Options of `limner prepare abstractions`."""

    out: Path
    """Where to write: a new folder; a preview sheet lies beside it. The same command again goes on with a run that was ended."""
    abstraction: Literal["storybook", "ink", "comic", "flow", "woodblock", "planes"] = "storybook"
    """Which one: flat colours with outlines, a wash under lines of ink, few hard tones under heavy ink; or, in the colours of a painting,
    paint that flows along the forms, a woodblock print, or planes that break the light."""
    painting: Path | None = None
    """The painting whose colours flow, woodblock and planes take."""
    grade: bool = False
    """Make a dull scan of the painting lively first: from black to white, and as colourful as good reproductions are."""
    stroke_size: Annotated[float, Ge(0.25), Le(4)] = 1.0
    """Size of the strokes of flow, woodblock and planes: 2 makes all of them twice as large."""
    size: int = 320
    """Short side, in pixels, to which larger photographs are reduced before; the training's --photo-size."""
    workers: int | None = None
    """Threads that work; by default one for each core. The result does not depend on it."""


def abstractions(
    sources: Sequence[Path], options: AbstractionOptions, progress: resumable.Progress = lambda done, total: None
) -> resumable.Summary:
    """Write the abstraction of each photograph of `sources`, reduced to `options.size`, as a PNG file of its name into `options.out`.

    Beside it appears `<out>-sheet.jpg`: a few photographs and their abstractions. Raises LimnerError where none can be used.
    """
    sizes = resumable.Options(options.out, size=options.size, crops=0, distance=-1, workers=options.workers)
    about: dict[str, Any] = {"abstraction": options.abstraction, "size": options.size}

    from limner.blocks import abstraction, painterly  # OpenCV, which comes with the extra `train`

    check(options)
    if options.abstraction in painterly.PAINTERLY:
        require(options.painting is not None, f"{options.abstraction} takes its colours from a painting: name one with `painting`.")
        painting = image.flat(image.read(options.painting)) if options.painting else np.zeros((1, 1, 3), np.uint8)
        about |= {"painting": hashlib.sha256(painting.tobytes()).hexdigest(), "stroke_size": options.stroke_size}
        about |= {"grade": True} if options.grade else {}
        colours = image.to_float(painting)[0].transpose(1, 2, 0)
        colours = painterly.palette_for(options.abstraction, painterly.graded(colours, options.abstraction) if options.grade else colours)
        alter = partial(painterly.of_pixels, name=options.abstraction, colours=colours, stroke_size=options.stroke_size)
    else:
        alter = partial(abstraction.of_pixels, name=options.abstraction)

    return copies("abstractions", sources, sizes, about, alter, lambda pixels: [pixels, alter(pixels)], progress, named=True)
