"""Films that do not flicker: optical flow finds where the picture moves, and the painting before is moved along and blended in.

A network paints each frame as if there were no other, so what does not change in the film still changes in its painting, with every grain
of noise. Where flow finds the frame before again in a frame, its painting is as good, and is kept for the most part. Where it does not
(what was hidden, what is new, a cut), the frame's own painting stands.

Painters that measure statistics of each frame can instead be handed those of the frames before, as long as there is no cut between.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from limner.extras import need
from limner.pictures.image import Picture

SIDE = 240
"""Short side, in pixels, at which motion is looked for."""

KEPT = 0.8
"""Part of the painting before that is kept where the flow is trusted altogether."""

UNLIKE = 14.0
"""Difference, of 255, between a pixel and the one that it is taken to come from, at which little of that is kept."""

ASTRAY = 1.0
"""Pixels by which flow there and back may miss its place, at SIDE."""

CUT = 0.35
"""Part of a picture that flow finds again below which it is another shot."""

LASTS = 0.4
"""Seconds after which statistics count for 1/e of what they did: at 25 frames a second each frame keeps nine tenths."""

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
PaintAlong = Callable[[Picture, Floats | None, float], tuple[Picture, Floats]]
"""Paints a frame, and gives its statistics with it: in them, those of the frame before have the share that comes last, from 0 to 1. They
are None where a shot begins."""


class Motion(NamedTuple):
    """What is known of a frame's motion. Arrays are as small as ``small``."""

    small: Pixels
    """The frame, uint8 HWC RGB, reduced to a short side of SIDE."""
    flow: Floats | None = None
    """float32 HW2: how many pixels (x, y) away from its place each pixel was in the frame before. None: there is none, or it is another
    shot."""
    trust: Floats | None = None
    """float32 HW in [0, 1]: how surely."""


class Calm:
    """Frames of a film in their order. ``watch`` each first, perhaps some ahead, and ``blend`` its painting then."""

    def __init__(self) -> None:
        need("video", "Films without flicker are a work that")
        self._watched: Pixels | None = None
        self._painted: Pixels | None = None

    def go_on(self, small: Pixels, painted: Pixels | None) -> None:
        """As if the last frame had been this one (``Motion.small``), and its blended painting ``painted``, if paintings are blended."""
        self._watched, self._painted = small, painted

    def watch(self, frame: Pixels) -> Motion:
        """The motion of a frame, uint8 HWC RGB."""
        small = reduced(frame, SIDE)
        before, self._watched = self._watched, small
        return Motion(small) if before is None else motion(small, before)

    def blend(self, painted: Pixels, motion: Motion) -> Pixels:
        """A painting, uint8 HWC RGB of any size, with as much of the one before as the motion allows."""
        before, self._painted = self._painted, painted
        if before is None or motion.flow is None or motion.trust is None or before.shape != painted.shape:
            return painted
        import cv2

        height, width = painted.shape[:2]
        keep = cv2.resize(motion.trust * np.float32(KEPT), (width, height))
        self._painted = cv2.blendLinear(moved_along(before, motion.flow, sharp=True), painted, keep, 1 - keep)
        return self._painted


class Along:
    """Frames of a film in their order, painted by ``paint`` with statistics that go along each shot."""

    def __init__(self, paint: PaintAlong) -> None:
        self._paint = paint
        self._before: tuple[float, Floats] | None = None

    def go_on(self, seconds: float, statistics: Floats) -> None:
        """As if the last frame had been one with these statistics, at this time."""
        self._before = seconds, statistics

    def paint(self, frame: Picture, seconds: float, motion: Motion) -> tuple[Picture, Floats]:
        """The painting of the frame at this time, and its statistics. A frame without flow begins a shot."""
        if self._before is None or motion.flow is None:
            painted, statistics = self._paint(frame, None, 0.0)
        else:
            time, before = self._before
            painted, statistics = self._paint(frame, before, math.exp((time - seconds) / LASTS))
        self._before = seconds, statistics
        return painted, statistics


def reduced(frame: Pixels, side: int) -> Pixels:
    """A frame with a short side of at most ``side`` pixels; flow needs some twenty."""
    import cv2

    height, width = frame.shape[:2]
    scale = min(side / min(height, width), 1.0)
    size = max(round(width * scale), 24), max(round(height * scale), 24)
    return frame if size == (width, height) else cv2.resize(frame, size, interpolation=cv2.INTER_AREA)


def motion(small: Pixels, before: Pixels, preset: int = 1) -> Motion:
    """Between neighbouring frames of one size, uint8 HWC RGB; ``preset`` is OpenCV's of its DIS flow: 0 to 2, from fast to good."""
    import cv2

    flow, back = flows(small, before, preset)
    unlike = np.abs(moved_along(before, flow).astype(np.float32) - small).mean(axis=2)
    astray = np.linalg.norm(flow + moved_along(back, flow), axis=2)
    trust = np.exp(-((unlike / UNLIKE) ** 2) - (astray / ASTRAY) ** 2).astype(np.float32)
    if trust.mean() < CUT:
        return Motion(small)
    return Motion(small, flow, cv2.blur(trust, (3, 3)))


def flows(now: Pixels, before: Pixels, preset: int) -> tuple[Floats, Floats]:
    """From each pixel of a frame to where it was in the one before, and the other way; float32 HW2 (x, y)."""
    import cv2

    dis = cv2.DISOpticalFlow.create(preset)
    grey = [cv2.cvtColor(each, cv2.COLOR_RGB2GRAY) for each in (now, before)]
    return dis.calc(grey[0], grey[1], None), dis.calc(grey[1], grey[0], None)


def moved_along(before: NDArray[Any], flow: Floats, *, sharp: bool = False) -> NDArray[Any]:
    """``before``, HWC of any size, moved to where ``flow`` says that each pixel comes from; ``sharp`` for what is moved again and again."""
    import cv2

    height, width = before.shape[:2]
    if flow.shape[:2] != (height, width):
        scale = np.array([width / flow.shape[1], height / flow.shape[0]], np.float32)
        flow = cv2.resize(flow * scale, (width, height))
    between = cv2.INTER_CUBIC if sharp else cv2.INTER_LINEAR
    moved: NDArray[Any] = cv2.remap(before, cv2.add(flow, _places(height, width)), None, between, borderMode=cv2.BORDER_REPLICATE)
    return moved


@lru_cache(maxsize=2)
def _places(height: int, width: int) -> Floats:
    """float32 HW2: each pixel's own place (x, y)."""
    return np.ascontiguousarray(np.mgrid[:height, :width][::-1].transpose(1, 2, 0), np.float32)
