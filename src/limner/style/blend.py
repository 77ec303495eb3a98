"""What lies between photograph and painting: strength, and the photograph's own colours. For every style, after the network has run.

Arrays are float32 HWC RGB in [0, 1], gamma-coded sRGB.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from limner import colour

Array = NDArray[np.float32]

LUMA = np.array(colour.LUMA, np.float32)

STROKES = 1.2
"""Contrast of strokes over the photograph's own colours: a little more than in the painting, where colour helps them to be seen."""

EDGE = 1e-3
"""Variance of luma from which on a difference is an edge and not texture (about 8/255 in standard deviation)."""


def strength(photo: Array, stylized: Array, amount: float) -> Array:
    """Between ``photo`` (amount 0) and ``stylized`` (amount 1), in both of which objects stand in the same place.

    A plain mixture is a double exposure: in the middle both pictures' edges stand at half their contrast. So the mixture is made in a
    Laplacian pyramid (Burt and Adelson 1983), where each coefficient goes over from the photograph's to the painting's at its own time:
    the stronger one leads. Edges and strokes stay crisp all the way, and only the coarsest level, the large patches of colour, is a plain
    mixture.
    """
    if amount == 0 or amount == 1:
        return photo if amount == 0 else stylized
    levels = max(int(np.log2(min(photo.shape[:2]))) - 3, 0)
    a, b = photo, stylized
    bands: list[Array] = []
    for _ in range(levels):
        small_a, small_b = _halved(a), _halved(b)
        bands.append(_lead(a - _resized(small_a, a.shape), b - _resized(small_b, b.shape), amount))
        a, b = small_a, small_b
    mixed = a + amount * (b - a)
    for band in reversed(bands):
        mixed = _resized(mixed, band.shape) + band
    return np.clip(mixed, 0, 1, out=mixed)


def _lead(a: Array, b: Array, amount: float) -> Array:
    """Coefficients between ``a`` and ``b``; of each pair the stronger leads, all three channels together."""
    power_a = (1 - amount) ** 2 * np.square(a).sum(2, keepdims=True)
    power_b = amount**2 * np.square(b).sum(2, keepdims=True)
    share = power_b / (power_a + power_b + np.float32(1e-12))
    return np.asarray(a + share * (b - a), np.float32)


def keep_colors(photo: Array, stylized: Array) -> Array:
    """``photo``'s colours, light and shade under ``stylized``'s strokes.

    Luminance-only transfer (Gatys et al., "Preserving Color in Neural Artistic Style Transfer", 2016, https://arxiv.org/abs/1606.05897)
    takes the painting's luma whole, and with it a night's darkness or a contrast that goes ill with the photograph's colours. Here only the
    strokes are taken: what remains of the painting's luma after all that the photograph explains, by a guided filter (He, Sun and Tang,
    "Guided Image Filtering", ECCV 2010). They lie over the photograph's luma, smoothed within its edges to make room for them. Chroma is
    the photograph's, drawn in just as far as the gamut demands, so that strokes are never clipped away.
    """
    luma_photo, luma_style = photo @ LUMA, stylized @ LUMA
    radius = max(4, min(luma_photo.shape) // 40)
    strokes = luma_style - _guided(luma_style, luma_photo, radius)
    luma = np.clip(_guided(luma_photo, luma_photo, radius) + STROKES * strokes, 0, 1)[..., None]
    chroma = photo - luma_photo[..., None]
    above, below = chroma.max(2, keepdims=True), -chroma.min(2, keepdims=True)
    room = np.minimum((1 - luma) / np.maximum(above, 1e-6), luma / np.maximum(below, 1e-6))
    return np.asarray(np.clip(luma + np.minimum(room, 1) * chroma, 0, 1), np.float32)


def _guided(picture: Array, guide: Array, radius: int) -> Array:
    """``picture`` (HW) as a locally linear function of ``guide`` (HW): smooth where the guide is smooth, with edges where it has edges."""
    mean_guide, mean = _box(guide, radius), _box(picture, radius)
    slope = (_box(guide * picture, radius) - mean_guide * mean) / (_box(guide * guide, radius) - mean_guide**2 + EDGE)
    return _box(slope, radius) * guide + _box(mean - slope * mean_guide, radius)


def _box(picture: Array, radius: int) -> Array:
    """Mean over squares of 2 ``radius`` + 1 pixels; the picture is continued by its edges."""
    side = 2 * radius + 1
    sums = np.pad(picture.astype(np.float64), ((radius + 1, radius), (radius + 1, radius)), mode="edge").cumsum(0).cumsum(1)
    whole = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    return np.asarray(whole / side**2, np.float32)


def _halved(picture: Array) -> Array:
    height, width = picture.shape[:2]
    return _resized(picture, ((height + 1) // 2, (width + 1) // 2, 3))


def _resized(picture: Array, shape: tuple[int, ...]) -> Array:
    size = (shape[1], shape[0])
    channels = [Image.fromarray(np.ascontiguousarray(picture[..., c])).resize(size, Image.Resampling.BILINEAR) for c in range(3)]
    return np.stack([np.asarray(channel) for channel in channels], axis=2)
