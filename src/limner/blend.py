"""What lies between photograph and painting: strength, and the photograph's own colours. For every style, after the network has run.

Arrays are float32 HWC RGB in [0, 1], gamma-coded sRGB.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[np.float32]

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Weights of R, G and B in luma (ITU-R BT.601)."""


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
    """``photo``'s hue and saturation under ``stylized``'s strokes: luminance-only transfer (Gatys et al., "Preserving Color in Neural
    Artistic Style Transfer", 2016, https://arxiv.org/abs/1606.05897).

    Luma is the painting's, brought to the photograph's mean and contrast; chroma is the photograph's, drawn in just as far as the gamut
    demands, so that strokes are never clipped away.
    """
    luma_photo, luma_style = photo @ LUMA, stylized @ LUMA
    spread = luma_photo.std() / max(float(luma_style.std()), 1e-3)
    luma = np.clip((luma_style - luma_style.mean()) * spread + luma_photo.mean(), 0, 1)[..., None]
    chroma = photo - luma_photo[..., None]
    above, below = chroma.max(2, keepdims=True), -chroma.min(2, keepdims=True)
    room = np.minimum((1 - luma) / np.maximum(above, 1e-6), luma / np.maximum(below, 1e-6))
    return np.asarray(np.clip(luma + np.minimum(room, 1) * chroma, 0, 1), np.float32)


def _halved(picture: Array) -> Array:
    height, width = picture.shape[:2]
    return _resized(picture, ((height + 1) // 2, (width + 1) // 2, 3))


def _resized(picture: Array, shape: tuple[int, ...]) -> Array:
    size = (shape[1], shape[0])
    channels = [Image.fromarray(np.ascontiguousarray(picture[..., c])).resize(size, Image.Resampling.BILINEAR) for c in range(3)]
    return np.stack([np.asarray(channel) for channel in channels], axis=2)
