"""Abstractions of photographs, for CartoonGAN's initialisation phase: what `limner train cartoongan` otherwise draws on the fly.

They bear the photographs' names, so that each finds its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from cyclopts import Parameter
from numpy.typing import NDArray

from limner import prepare
from limner.prepare.copies import copies


@dataclass(frozen=True)
class AbstractionOptions:
    """Options of `limner prepare abstractions`."""

    out: Annotated[Path, Parameter(alias="-o")]
    """Where to write: a new folder; a preview sheet lies beside it. The same command again goes on with a run that was ended."""
    abstraction: Literal["storybook", "ink", "comic"] = "storybook"
    """Which one: flat colours with outlines, a wash under lines of ink, or few hard tones under heavy ink."""
    size: int = 320
    """Short side, in pixels, to which larger photographs are reduced before; the training's --photo-size."""
    workers: Annotated[int | None, Parameter(show_default=False)] = None
    """Threads that work; by default one for each core. The result does not depend on it."""


def abstractions(
    sources: Sequence[Path], options: AbstractionOptions, progress: prepare.Progress = lambda done, total: None
) -> prepare.Summary:
    """Write the abstraction of each photograph of `sources`, reduced to `options.size`, as a PNG file of its name into `options.out`.

    Beside it appears `<out>-sheet.jpg`: a few photographs and their abstractions. Raises LimnerError where none can be used.
    """
    sizes = prepare.Options(options.out, size=options.size, crops=0, distance=-1, workers=options.workers)
    about = {"abstraction": options.abstraction, "size": options.size}

    from limner.blocks.abstraction import of_pixels  # OpenCV, which comes with the extra `train`

    def alter(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return of_pixels(pixels, options.abstraction)

    return copies("abstractions", sources, sizes, about, alter, lambda pixels: [pixels, alter(pixels)], progress, named=True)
