"""One picture of a set: its near-duplicates, its squares, its bytes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from limner import image
from limner.errors import require


def difference_hash(photo: Image.Image) -> int:
    """64 bits, the same or nearly for the same picture at other sizes and qualities: where the picture grows darker to the right."""
    grey = np.asarray(photo.convert("L").resize((9, 8), Image.Resampling.BOX))
    return int.from_bytes(np.packbits(grey[:, :-1] > grey[:, 1:]).tobytes(), "big")


class Hashes:
    """The hashes of the pictures taken so far."""

    def __init__(self, most: int, distance: int, taken: list[int]) -> None:
        self.table: NDArray[np.uint64] = np.zeros(most, np.uint64)
        self.count, self.distance = len(taken), distance
        self.table[: self.count] = taken

    def take(self, hash: int) -> bool:
        """Remember the hash; False, and nothing remembered, where a near one was taken before."""
        if self.distance >= 0 and np.any(np.bitwise_count(self.table[: self.count] ^ np.uint64(hash)) <= self.distance):
            return False
        self.table[self.count] = hash
        self.count += 1
        return True


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
    require(photo.size == (size, size), f"it is smaller than --size {size}: give a smaller one.")
    return photo.tobytes()
