"""How much a painted film flickers: what changes from frame to frame beyond what moves, beside what changes so in the film itself.

Optical flow of the film tells where each pixel was in the frame before. The painting before is moved along that flow, and compared with the
painting: the warping error of Lai et al., Learning Blind Video Temporal Consistency (2018). Pixels that were hidden do not count. A film's
own noise gives it such an error, too, so the painting's is told relative to the film's: 1 flickers as much as the film does.
"""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from limner.errors import require
from limner.extras import need
from limner.film import calm, reading
from limner.film.reading import Frame

SIDE = 480
"""Short side, in pixels, at which films are compared."""

LEAST = 0.05
"""Error of 255 below which a film counts as still: nothing can be said relative to it."""


@dataclass(frozen=True)
class Shot:
    """What lies between two cuts. Times are in seconds; errors are mean absolute differences, of 255, over pixels and frames."""

    start: float
    end: float
    frames: int
    film: float
    """Warping error of the film."""
    painting: float
    """That of its painting, along the film's flow."""

    @property
    def flicker(self) -> float:
        """The painting's error relative to the film's, of which at least LEAST is assumed."""
        return self.painting / max(self.film, LEAST)


def measure(film: Path, painting: Path, watch: Callable[[float], None] = lambda _: None) -> list[Shot]:
    """Shots of ``film``, and how much ``painting`` flickers in each; shots of a single frame are left out.

    ``watch`` is told which part is done. Raises ``LimnerError`` where one cannot be read, or they have not the same frames.
    """
    need("video", "Comparing films")
    films = reading.opened(film), reading.opened(painting)
    found = list[Shot]()
    pairs = list[tuple[float, float]]()
    start = now = 0.0
    before: tuple[NDArray[np.uint8], NDArray[np.uint8]] | None = None

    def end_shot() -> None:
        if pairs:
            errors = np.mean(pairs, axis=0)
            found.append(Shot(start, now, len(pairs) + 1, float(errors[0]), float(errors[1])))
        pairs.clear()

    with closing(films[0].frames()) as originals, closing(films[1].frames()) as paintings:
        for original, painted in zip_longest(originals, paintings):
            shorter = painting if painted is None else film
            require(
                original is not None and painted is not None,
                f"{shorter} has fewer frames than the other film: compare a film with a painting of all of it.",
            )
            time = float((original.time - films[0].begin) * films[0].time_base)
            frames = _both(original, painted)
            if before is not None:
                errors = _errors(frames, before)
                if errors is None:
                    end_shot()
                    start = time
                else:
                    pairs.append(errors)
            before, now = frames, time
            if films[0].seconds > 0:
                watch(min(time / films[0].seconds, 1.0))
    end_shot()
    return found


def whole(shots: list[Shot]) -> Shot:
    """All shots as one, each pair of frames with the same weight."""
    weights = [shot.frames - 1 for shot in shots]
    film, painting = (float(np.average([getattr(shot, name) for shot in shots], weights=weights)) for name in ("film", "painting"))
    return Shot(shots[0].start, shots[-1].end, sum(shot.frames for shot in shots), film, painting)


def _both(original: Frame, painted: Frame) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    import cv2

    film = calm.reduced(original.picture.pixels.astype(np.uint8, copy=False), SIDE)
    height, width = film.shape[:2]
    pixels = painted.picture.pixels.astype(np.uint8, copy=False)
    return film, cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)


def _errors(
    now: tuple[NDArray[np.uint8], NDArray[np.uint8]], before: tuple[NDArray[np.uint8], NDArray[np.uint8]]
) -> tuple[float, float] | None:
    """Of the film and of its painting; None where there is a cut between the two frames."""
    if calm.motion(calm.reduced(now[0], calm.SIDE), calm.reduced(before[0], calm.SIDE)).flow is None:
        return None
    flow, back = calm.flows(now[0], before[0], preset=2)
    there_and_back = flow + calm.moved_along(back, flow)
    # Sundaram et al. (2010): what is hidden in one of the two frames is where the ways there and back differ.
    lengths = (flow**2).sum(axis=2) + (back**2).sum(axis=2)
    seen = (there_and_back**2).sum(axis=2) <= 0.01 * lengths + 0.5
    if not seen.any():
        return None
    film, painting = (
        float(np.abs(calm.moved_along(old, flow).astype(np.float32) - new).mean(axis=2)[seen].mean())
        for new, old in zip(now, before, strict=True)
    )
    return film, painting
