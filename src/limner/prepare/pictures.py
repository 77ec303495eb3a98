"""One picture of a set: its squares, its bytes."""

from __future__ import annotations

import numpy as np
from PIL import Image

from limner.errors import require
from limner.pictures import image


def cut(photo: Image.Image, size: int, crops: int, random: np.random.Generator) -> list[Image.Image]:
    """The squares of a picture, or the whole of it, at most `size` pixels on the short side."""
    short = min(photo.size)
    if crops == 0:
        smaller = min(size, short)  # sides as training has them, where it reduces the same photograph
        return [
            _scale(
                photo, (max(round(photo.width * smaller / short), 1), max(round(photo.height * smaller / short), 1)), (0, 0, *photo.size)
            )
        ]
    pixels = min(size, short)
    squares = []
    for _ in range(crops):
        side, left, top = short, (photo.width - short) // 2, (photo.height - short) // 2
        if crops > 1:
            side = int(random.integers(pixels, short, endpoint=True))
            left, top = (int(random.integers(0, length - side, endpoint=True)) for length in photo.size)
        squares.append(_scale(photo, (pixels, pixels), (left, top, left + side, top + side)))
    return squares


def _scale(photo: Image.Image, size: tuple[int, int], box: tuple[int, int, int, int]) -> Image.Image:
    return photo.resize(size, Image.Resampling.LANCZOS, box)


def jpeg(photo: Image.Image, size: int, *, quality: int) -> bytes:
    return image.encode(image.Picture(np.asarray(photo)), ".jpg", quality=quality)


def raw_square(photo: Image.Image, size: int) -> bytes:
    require(photo.size == (size, size), f"it is smaller than `size` {size}: give a smaller one.")
    return photo.tobytes()
