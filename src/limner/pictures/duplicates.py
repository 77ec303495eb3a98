"""Near-duplicates: pictures that are the same to the eye, found by a hash of 64 bits."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

COPY = 4
"""Bits that tell a copy from its picture, at most: of 390 pictures saved again at 288 px and quality 70, one in ten differed in more than
one bit, one in fifty in more than four; no two different ones of 1,000 (of which `limner prepare` had dropped near ones) in so few."""


def difference_hash(photo: Image.Image) -> int:
    """64 bits, the same or nearly for the same picture at other sizes and qualities: where the picture grows darker to the right."""
    grey = np.asarray(photo.convert("L").resize((9, 8), Image.Resampling.BOX))
    return int.from_bytes(np.packbits(grey[:, :-1] > grey[:, 1:]).tobytes(), "big")


def near(hashes: NDArray[np.uint64], hash: int, distance: int) -> NDArray[np.bool_]:
    """Which of ``hashes`` differ from ``hash`` in at most ``distance`` bits."""
    found: NDArray[np.bool_] = np.bitwise_count(hashes ^ np.uint64(hash)) <= distance
    return found


class Hashes:
    """The hashes of the pictures taken so far."""

    def __init__(self, most: int, distance: int, taken: list[int]) -> None:
        self.table: NDArray[np.uint64] = np.zeros(most, np.uint64)
        self.count, self.distance = len(taken), distance
        self.table[: self.count] = taken

    def take(self, hash: int) -> bool:
        """Remember the hash; False, and nothing remembered, where a near one was taken before."""
        if self.distance >= 0 and near(self.table[: self.count], hash, self.distance).any():
            return False
        self.table[self.count] = hash
        self.count += 1
        return True
