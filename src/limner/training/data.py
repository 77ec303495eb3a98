"""Photographs to practise on: a folder becomes an endless, reproducible stream of crops."""

import hashlib
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from limner import image
from limner.errors import LimnerError


class Crops(Dataset[tuple[Tensor, list[str]]]):
    """Random square crops of a folder's photographs, at random scales, half of them mirrored.

    Item n is a function of the seed and n alone, so a training that resumes at step s goes on with exactly the crops it would have seen.
    Each epoch is a new order of all photographs; ``fingerprint`` tells whether they are still the same ones. An item is (uint8 CHW RGB,
    sentences about files that could not be read); the next photograph takes the place of one that cannot.
    """

    def __init__(self, folder: Path, *, size: int, min_scale: float, seed: int) -> None:
        self.paths = image.find(folder)
        if not self.paths:
            raise LimnerError(f"There are no pictures in {folder}: name a folder that holds some (folders inside it are searched too).")
        self.size, self.min_scale, self.seed = size, min_scale, seed
        listing = "\n".join(path.relative_to(folder).as_posix() for path in self.paths)
        self.fingerprint = hashlib.sha256(listing.encode()).hexdigest()

    def __getitem__(self, n: int) -> tuple[Tensor, list[str]]:
        epoch, place = divmod(n, len(self.paths))
        order = np.random.default_rng((self.seed, 0, epoch)).permutation(len(self.paths))
        bad: list[str] = []
        for k in range(len(self.paths)):
            try:
                photo = image.read(self.paths[order[(place + k) % len(self.paths)]])
            except LimnerError as error:
                bad.append(str(error))
                continue
            pixels = photo.pixels if photo.pixels.dtype == np.uint8 else (photo.pixels >> 8).astype(np.uint8)
            return self._crop(Image.fromarray(pixels), np.random.default_rng((self.seed, 1, n))), bad
        raise LimnerError(f"None of the {len(self.paths)} pictures could be read; the first: {bad[0]}")

    def _crop(self, photo: Image.Image, random: np.random.Generator) -> Tensor:
        side = min(photo.size) * random.uniform(self.min_scale, 1.0)
        left, top = random.uniform(0, photo.width - side), random.uniform(0, photo.height - side)
        crop = photo.resize((self.size, self.size), Image.Resampling.BICUBIC, (left, top, left + side, top + side))
        if random.random() < 0.5:
            crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return torch.from_numpy(np.array(crop)).permute(2, 0, 1)


def _collate(items: list[tuple[Tensor, list[str]]]) -> tuple[Tensor, list[str]]:
    return torch.stack([crop for crop, _ in items]), [sentence for _, bad in items for sentence in bad]


def _ignore_interrupts(worker: int) -> None:
    """Ctrl-C reaches a terminal's whole process group: what happens then is the training process's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def batches(
    crops: Crops, *, batch_size: int, first: int, last: int, rank: int = 0, ranks: int = 1, workers: int = 1
) -> Iterator[tuple[Tensor, list[str]]]:
    """Batches ``first`` to ``last`` (exclusive): (uint8 NCHW, sentences about bad files). Several ranks share out each step's items."""
    step = batch_size * ranks
    items = [n for k in range(first, last) for n in range(k * step + rank * batch_size, k * step + (rank + 1) * batch_size)]
    loader = DataLoader(
        crops,
        batch_size=batch_size,
        sampler=items,
        num_workers=workers,
        collate_fn=_collate,
        worker_init_fn=_ignore_interrupts,
        pin_memory=torch.cuda.is_available(),
        # The loader's own generator: drawing its seed from the global one would make a resumed training differ from one in one go.
        generator=torch.Generator(),
    )
    return iter(loader)


def read_picture(path: Path) -> Tensor:
    """A whole picture, float32 NCHW RGB in [0, 1]. Raises ``LimnerError`` where it cannot be read."""
    return torch.from_numpy(image.to_float(image.read(path).pixels))
