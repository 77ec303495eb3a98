"""Cartoons without their clear edges, for CartoonGAN's discriminator: edges found, widened, and the picture blurred there alone.

Chen, Lai, Liu, "CartoonGAN", CVPR 2018, section 3.2.1. Sizes and thresholds are those of the paper's ports (OpenCV's Canny at 100 and 200,
squares of 5 x 5); all pixels at once in the place of their loop.
"""

from collections.abc import Iterator
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from limner.colour import LUMA

Pixels: TypeAlias = NDArray[np.uint8]
Plane: TypeAlias = NDArray[np.float32]
Mask: TypeAlias = NDArray[np.bool_]
Blur: TypeAlias = Literal["gaussian", "mean"]


def edge_smoothed(
    pixels: Pixels, *, low: int = 100, high: int = 200, widen: int = 5, kernel: int = 5, blur: Blur = "gaussian"
) -> tuple[Pixels, Mask]:
    """The picture, uint8 HWC RGB, blurred near its edges and untouched elsewhere; and where that is, HW.

    ``low`` and ``high`` are Canny's thresholds, of 255; ``widen`` and ``kernel`` the odd sides, in pixels, of the squares that edges are
    widened by and blurred over.
    """
    mask = widened(canny(luma(pixels), low, high), widen)
    if not mask.any():
        return pixels, mask
    line = np.ones(kernel, np.float32)
    if blur == "gaussian":
        sigma = 0.3 * (kernel / 2 - 1.5) + 0.8  # OpenCV's for a kernel of this size
        line = np.exp(-0.5 * ((np.arange(kernel) - kernel // 2) / sigma) ** 2).astype(np.float32)
    blurred = pixels.astype(np.float32)
    for axis in (0, 1):
        blurred = sum(weight * part for weight, part in zip(line / line.sum(), _shifted(blurred, axis, kernel), strict=True))
    return np.where(mask[..., None], (blurred + 0.5).astype(np.uint8), pixels), mask


def luma(pixels: Pixels) -> Plane:
    """float32 HW in [0, 255] of uint8 HWC RGB."""
    return np.asarray(pixels @ np.array(LUMA, np.float32), np.float32)


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
