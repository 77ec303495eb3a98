"""The canvas: what is painted on. Noise that repeats itself over the picture, the same in a style file as in what it has learnt from.

A photograph's sky is smooth: nothing in it says where one stroke ends and the next begins. Noise does, and if it is a constant, then a
network can learn which strokes go with it, a film stands still, and a picture painted in bands has no seam.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

PERIOD = 256
"""Pixels, down and across, after which bristles repeat themselves."""

PERIOD_OF_FACETS = 512
"""Facets are larger, and would be recognised."""

PLANES = 4
"""Light and warmth of bristles; and a direction, as cosine and sine of twice its angle."""

MIRRORED = (1.0, 1.0, 1.0, -1.0)
"""What the planes of mirrored bristles are to be multiplied with: their direction is mirrored, too."""

HILLS = 14.0
"""Deviation, in pixels, of the noise around whose hills the canvas's direction runs."""


@lru_cache(8)
def bristles(stroke_size: float = 1.0, period: int = PERIOD) -> NDArray[np.float32]:
    """Noise that goes on over its own border: float32 ``period`` x ``period`` x ``PLANES``, each of mean 0 and deviation about 1.

    The first two planes are noise of one to two pixels; the direction runs along the level lines of broader noise, around its hills, as in
    a sky of van Gogh's. ``stroke_size`` is a factor for all of these.
    """
    random = np.random.default_rng(11)
    down, right = np.fft.fftfreq(period)[:, None], np.fft.rfftfreq(period)[None]
    fine, broad, hills = (_noise(random, period, sigma * stroke_size) for sigma in (1.0, 2.0, HILLS))
    x, y = (np.fft.irfft2(np.fft.rfft2(hills) * 1j * along) for along in (right, down))
    steep = x * x + y * y + 1e-12
    planes = (0.75 * fine + 0.66 * broad, 0.5 * fine - 0.87 * broad, (x * x - y * y) / steep, 2 * x * y / steep)
    return np.stack(planes, 2).astype(np.float32)


@lru_cache(8)
def facets(stroke_size: float = 1.0, period: int = PERIOD_OF_FACETS) -> NDArray[np.float32]:
    """Facets that go on over their own border: float32 ``period`` x ``period`` x 2, each plane of mean 0 and deviation 1.

    Cells of Voronoi around places by chance, some 80 pixels wide, times ``stroke_size``, their borders bent by broad noise and softened.
    The first plane rises across each of them, in a direction and from a beginning of its own; the second is one value each.
    """
    random, fine = np.random.default_rng(3), 2 * period
    count = max(round(42 * (period / PERIOD_OF_FACETS / stroke_size) ** 2), 4)
    middles = random.random((count, 2)) * period
    towards, begins, warmth = random.random(count) * 2 * np.pi, 0.6 * random.standard_normal(count), random.standard_normal(count)
    bends = (_noise(random, fine, 80.0 * stroke_size) for _ in range(2))
    places = np.stack([place / 2 + 18.0 * stroke_size * bend for place, bend in zip(np.mgrid[:fine, :fine], bends, strict=True)])
    nearest, rise, warm = np.full((fine, fine), np.inf), np.zeros((fine, fine)), np.zeros((fine, fine))
    for middle, angle, begin, value in zip(middles, towards, begins, warmth, strict=True):
        down, right = ((each - at + period / 2) % period - period / 2 for each, at in zip(places, middle, strict=True))
        distance = np.hypot(down, right)
        own = distance < nearest
        rise = np.where(own, (right * np.cos(angle) + down * np.sin(angle)) / (30 * stroke_size) + begin, rise)
        nearest, warm = np.where(own, distance, nearest), np.where(own, value, warm)
    halves = (plane.reshape(period, 2, period, 2).mean((1, 3)) for plane in (rise, warm))
    return np.stack([(plane - plane.mean()) / plane.std() for plane in halves], 2).astype(np.float32)


def _noise(random: np.random.Generator, period: int, sigma: float) -> NDArray[np.float64]:
    """Noise of deviation 1 that goes on over its own border, blurred by ``sigma`` pixels."""
    down, right = np.fft.fftfreq(period)[:, None], np.fft.rfftfreq(period)[None]
    spectrum = np.fft.rfft2(random.standard_normal((period, period))) * np.exp(-2 * (np.pi * sigma) ** 2 * (down**2 + right**2))
    plane = np.fft.irfft2(spectrum)
    return np.asarray((plane - plane.mean()) / plane.std())


def repeated(planes: NDArray[np.float32], height: int, width: int, margin: int = 0) -> NDArray[np.float32]:
    """The canvas over a picture of ``height`` x ``width`` pixels, whose own begin ``margin`` pixels in from its top and left."""
    rows, columns = ((np.arange(side) - margin) % len(planes) for side in (height, width))
    return np.ascontiguousarray(planes[rows][:, columns])
