"""Pictures to practise on: any source becomes a reproducible stream of crops, decoded once and kept in memory while they fit."""

import copy
import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from limner.errors import LimnerError, require
from limner.pictures import duplicates, image
from limner.pictures.duplicates import difference_hash
from limner.pictures.sources import Source, without_suffix
from limner.training import held_out, sheets

AHEAD = 4
MEMORY_SHARE = 0.2


class PictureCache:
    """Pictures of a source by number, uint8 CHW RGB, scaled down to ``short_side`` where they are larger. Safe for many threads.

    They stay in memory, on ``device``, until ``budget`` bytes are taken; the rest is decoded anew each time, to the same values.
    A picture that cannot be read is tried once: ``bad`` says why. ``hashes`` are the difference hashes of those that were read.
    """

    def __init__(self, source: Source, *, short_side: int, budget: int, device: torch.device | None = None) -> None:
        self.source, self.short_side, self.budget = source, short_side, budget
        self.device = device or torch.device("cpu")
        self.bad: dict[int, str] = {}
        self.hashes: dict[int, int] = {}
        self._sizes: dict[int, torch.Size] = {}
        self._kept: dict[int, Tensor] = {}
        self._lock = threading.Lock()

    def __getitem__(self, n: int) -> Tensor | None:
        """Picture ``n``; None where it cannot be read."""
        if n in self._kept:
            return self._kept[n]
        if n in self.bad:
            return None
        try:
            picture = self._read(n)
        except LimnerError as error:
            self.bad[n] = str(error)
            return None
        if n not in self._sizes:
            self.hashes[n] = difference_hash(Image.fromarray(picture.permute(1, 2, 0).numpy()))
            self._sizes[n] = picture.shape
        picture = picture.to(self.device)
        with self._lock:
            if n not in self._kept and picture.nbytes <= self.budget:
                self.budget -= picture.nbytes
                self._kept[n] = picture
        return picture

    def size(self, n: int) -> torch.Size | None:
        """Shape of picture ``n``, CHW, which is read for it only once; None where it cannot be read."""
        if n not in self._sizes:
            self[n]
        return self._sizes.get(n)

    def _read(self, n: int) -> Tensor:
        picture = to_tensor(self.source[n])
        short = min(picture.shape[1:])
        if short > self.short_side:
            scale = self.short_side / short  # rounded as `limner prepare` does, whose copies must be as large
            height, width = (max(round(side * scale), 1) for side in picture.shape[1:])
            picture = resized(picture, height, width)
        return picture


class Partners(PictureCache):
    """Partners of another cache's pictures, under their numbers: pictures of the same name, suffix aside, and of the same size.

    Raises ``LimnerError`` where a picture that can be read has none, or two.
    """

    def __init__(self, source: Source, of: PictureCache, numbers: list[int], *, budget: int) -> None:
        """``numbers`` are those of the pictures that need a partner."""
        super().__init__(source, short_side=of.short_side, budget=budget, device=of.device)
        self.of = of
        found: dict[str, int] = {}
        for n in range(len(source)):
            name = without_suffix(source.key(n))
            require(name not in found, f"{source.path} holds two pictures of the name {name}: a picture has one partner, so take one away.")
            found[name] = n
        self.partners = {n: found[name] for n in numbers if (name := without_suffix(of.source.key(n))) in found}
        for n in numbers:
            require(
                n in self.partners or of.size(n) is None,
                f"{of.source.key(n)} in {of.source.path} has no partner of the same name in {source.path} "
                f"({len(self.partners)} of {len(numbers)} have one): prepare them all, or take away those that have none.",
            )

    def _read(self, n: int) -> Tensor:
        size = self.of.size(n)
        require(size is not None, self.of.bad.get(n, ""))
        picture = super()._read(self.partners[n])
        require(
            picture.shape == size,
            f"{self.source.key(self.partners[n])} in {self.source.path} is not of the size of {self.of.source.key(n)} in "
            f"{self.of.source.path}: prepare it anew from that very picture.",
        )
        return picture


class Shown:
    """Which of a cache's pictures a stream shows: those that can be read, as can their partners, and that are no copies of held-out ones.

    Each is looked at when it is read for the first time: to look at all of them before the first step would take as long as an epoch.
    """

    def __init__(self, cache: PictureCache) -> None:
        self.caches = [cache]
        self._held: dict[int, str] = {}

    def keep_apart(self, cache: PictureCache, numbers: list[int]) -> None:
        """From now on show no copies of these pictures, which were read before."""
        self._held = {cache.hashes[n]: cache.source.key(n) for n in numbers if n in cache.hashes}

    def __contains__(self, n: int) -> bool:
        own = self.caches[0]
        if n in own.bad or any(cache.size(n) is None for cache in self.caches):
            return False
        near = duplicates.near(np.array(list(self._held), np.uint64), own.hashes[n], duplicates.COPY)
        if near.any():
            held = list(self._held.values())[int(near.argmax())]
            own.bad[n] = f"{own.source.key(n)} in {own.source.path} is not trained on: it looks like {held}, which is held out."
        return not near.any()


class Crops:
    """Random square crops of pictures, at random scales or (``min_scale`` None) at the cache's own, half of them mirrored.

    Item n is a function of the seed and n alone, so a training that resumes at step s goes on with exactly the crops it would have seen.
    Each epoch is a new order of all pictures; the next picture takes the place of one that cannot be read.
    """

    def __init__(
        self, cache: PictureCache, numbers: list[int], *, size: int, min_scale: float | None, max_scale: float = 1.0, seed: int
    ) -> None:
        self.cache, self.numbers, self.size, self.seed = cache, numbers, size, seed
        self.scales = None if min_scale is None else (min_scale, max_scale)
        self.shown = Shown(cache)
        self._orders: dict[int, NDArray[np.int64]] = {}

    def __getitem__(self, n: int) -> Tensor:
        """Crop ``n``: uint8 CHW RGB. Raises ``LimnerError`` where no picture at all can be read."""
        number, top, left, side, mirrored = self.place(n)
        picture = self.cache[number]
        if picture is None:  # it was there when ``place`` looked, and is no more
            return self[n]
        crop = resized(picture[:, top : top + side, left : left + side], self.size, self.size)
        return crop.flip(2) if mirrored else crop

    def place(self, n: int) -> tuple[int, int, int, int, bool]:
        """Which picture crop ``n`` is of, its top, left and side there, and whether it is mirrored."""
        epoch, place = divmod(n, len(self.numbers))
        order = self._order(epoch)
        for k in range(len(self.numbers)):
            number = self.numbers[order[(place + k) % len(self.numbers)]]
            size = self.cache.size(number)
            if size is not None and number not in self.cache.bad and number in self.shown:
                return number, *self._square(size, np.random.default_rng((self.seed, 1, n)))
        raise LimnerError(none_readable(next(cache for cache in reversed(self.shown.caches) if cache.bad)))

    def partners(self, cache: Partners) -> "Crops":
        """The same crops of the pictures' partners. From now on, neither shows a pair of which one cannot be read."""
        twin = copy.copy(self)
        twin.cache = cache
        self.shown.caches.append(cache)  # it is one and the same
        return twin

    def _order(self, epoch: int) -> NDArray[np.int64]:
        """Drawing it takes a while where pictures are many; threads at work may be in two epochs at once."""
        if epoch not in self._orders:
            self._orders = {known: order for known, order in self._orders.items() if known == epoch - 1}
            self._orders[epoch] = np.random.default_rng((self.seed, 0, epoch)).permutation(len(self.numbers))
        return self._orders[epoch]

    def _square(self, size: torch.Size, random: np.random.Generator) -> tuple[int, int, int, bool]:
        height, width = size[1:]
        short = min(height, width)
        side = min(self.size, short) if self.scales is None else max(round(short * random.uniform(*self.scales)), 1)
        top, left = int(random.integers(height - side + 1)), int(random.integers(width - side + 1))
        return top, left, side, bool(random.random() < 0.5)


class Altered:
    """Crops that each go through ``alter``, uint8 HWC RGB of NumPy to the same, before they are shown."""

    def __init__(self, crops: "Crops | Altered", alter: Callable[[Any], Any]) -> None:
        self.crops, self.alter = crops, alter
        self.cache: PictureCache = crops.cache

    def __getitem__(self, n: int) -> Tensor:
        crop = self.crops[n]
        return to_tensor(self.alter(crop.permute(1, 2, 0).cpu().numpy())).to(crop.device)


class Stream:
    """Batches of crops by step: ``stream[step]`` is float32 NCHW RGB in [0, 1] on the run's device, this process's share of the step.

    Threads prepare the next steps meanwhile: pictures are decoded and scaled outside of Python's lock, and threads, unlike processes,
    share what is in memory and need nothing special on any system.
    """

    def __init__(self, crops: Crops, *, batch_size: int, device: torch.device, rank: int = 0, ranks: int = 1, workers: int = 1) -> None:
        self.drawn, self.batch_size, self.device, self.rank, self.ranks = crops, batch_size, device, rank, ranks
        self.crops: Crops | Altered = crops
        self.last: int | None = None
        self.held: tuple[PictureCache, list[int]] = crops.cache, []
        self.held_out: list[Tensor] = []
        self.watched: list[Tensor] = []
        self.fingerprint = ""
        self.preview: list[Tensor] = []
        self.preview_side = sheets.SHORT_SIDE
        self.about: dict[str, Any] = {}
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="pictures") if workers else None
        self._pending: dict[int, list[Future[Tensor]]] = {}
        self._variants: list[Stream] = []
        self._told = 0

    def altered(self, alter: Callable[[Any], Any]) -> "Stream":
        """The same crops at the same steps, each through ``alter`` first."""
        variant = copy.copy(self)  # the same threads, the same pictures in memory
        variant.crops, variant._pending, variant._variants = Altered(self.crops, alter), {}, []
        self._variants.append(variant)
        return variant

    def hold_out(self, cache: PictureCache, numbers: list[int]) -> None:
        """Name pictures that the stream never shows, for held-out numbers, alarms and previews (``preview_side`` high or wide). Raises
        ``LimnerError`` where none at all can be read.
        """
        own, self.held = self.drawn, (cache, numbers)
        centred = partial(centred_crops, size=own.size, batch_size=self.batch_size, device=self.device, native=own.scales is None)
        self.fingerprint = fingerprint(own.cache.source, numbers)
        self.held_out = centred(cache, numbers)
        self.watched = self.held_out or centred(own.cache, own.numbers[: held_out.SPARED])
        preview = sheets.photos((cache[n] for n in numbers), self.preview_side)
        preview = preview or sheets.photos((own.cache[n] for n in own.numbers), self.preview_side)
        if not preview:  # all of them were tried
            raise LimnerError(none_readable(own.cache))
        self.preview = [photo.to(self.device) for photo in preview]

    @property
    def held_out_places(self) -> list[Tensor]:
        """Where the held-out crops lie, as ``places``."""
        cache, numbers = self.held
        sizes = [size[1:] for n in numbers if (size := cache.size(n)) is not None and n not in cache.bad]
        rows = [[max(side - self.drawn.size, 0) // 2 for side in size] + [0] for size in sizes]
        return [torch.tensor(rows[i : i + self.batch_size], device=self.device) for i in range(0, len(rows), self.batch_size)]

    def places(self, step: int) -> Tensor:
        """Where the crops of ``step`` lie in their pictures: int64 N x 3, top, left, and 1 for those that are mirrored."""
        found = [self.drawn.place(n) for n in self.items(step)]
        return torch.tensor([[top, left, int(mirrored)] for _, top, left, _, mirrored in found], device=self.device)

    def end_at(self, step: int) -> None:
        """Nothing is prepared for ``step`` and later."""
        for stream in (self, *self._variants):
            stream.last = step

    def newly_skipped(self) -> list[str]:
        """A sentence for each picture that could not be read since this was asked last."""
        bad = self.crops.cache.bad
        if len(bad) == self._told:  # asked at every step
            return []
        sentences = list(bad.values())[self._told :]
        self._told += len(sentences)
        return sentences

    def items(self, step: int) -> range:
        """Numbers of the crops of this process's batch. The processes share out each step's crops."""
        first = (step * self.ranks + self.rank) * self.batch_size
        return range(first, first + self.batch_size)

    def __getitem__(self, step: int) -> Tensor:
        if self._pool is None:
            crops = [self.crops[n] for n in self.items(step)]
        else:
            # Not beyond the last step: a run that ends must not wait for pictures that nobody will see.
            last = step + AHEAD if self.last is None else min(step + AHEAD, self.last - 1)
            for later in range(step, last + 1):
                if later not in self._pending:
                    self._pending[later] = [self._pool.submit(self.crops.__getitem__, n) for n in self.items(later)]
            crops = [future.result() for future in self._pending.pop(step)]
        batch = torch.stack(crops)
        if self.device.type == "cuda" and batch.device.type == "cpu":
            batch = batch.pin_memory()
        return to_float(batch.to(self.device, non_blocking=True))

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)


def salted(seed: int, name: str) -> int:
    """A seed of its own for each ``name``: streams that drew alike would show each picture of one with always the same of another."""
    return int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:8])


def centred_crops(
    cache: PictureCache, numbers: list[int], *, size: int, batch_size: int, device: torch.device, native: bool = False
) -> list[Tensor]:
    """Batches of the readable pictures among ``numbers``, float32 NCHW in [0, 1]: the largest centred square of each, scaled to ``size``,
    or, where ``native``, the ``size`` x ``size`` pixels in its middle.
    """
    crops = []
    for picture in (cache[n] for n in numbers):
        if picture is not None:
            height, width = picture.shape[1:]
            side = min(height, width, size) if native else min(height, width)
            top, left = (height - side) // 2, (width - side) // 2
            crops.append(resized(picture[:, top : top + side, left : left + side], size, size))
    return [to_float(torch.stack(crops[i : i + batch_size]).to(device)) for i in range(0, len(crops), batch_size)]


def fingerprint(source: Source, held_out: list[int]) -> str:
    """Tells whether a source still holds the same pictures, by their names, and whether the same ones are held out."""
    return hashlib.sha256("\n".join([*(source.key(n) for n in range(len(source))), f"held out: {held_out}"]).encode()).hexdigest()


def budget(source: Source, device: torch.device, processes: int) -> int:
    """Bytes that decoded pictures may take: a part of what is free now, shared by the processes of this computer."""
    if source.kind == "npz" and device.type != "cuda":
        return 0  # it is in memory already
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available // processes
    return int(MEMORY_SHARE * free)


def resized(picture: Tensor, height: int, width: int) -> Tensor:
    """uint8 CHW scaled by bicubic interpolation, with antialiasing where it shrinks."""
    if picture.device.type != "cpu":
        batch = picture[None].float()
        return F.interpolate(batch, (height, width), mode="bicubic", antialias=True).round().clamp(0, 255).byte()[0]
    # Not torch's: each thread that reads pictures would bring as many threads of its own, and they would be in the training's way.
    photo = Image.fromarray(picture.permute(1, 2, 0).numpy())
    return to_tensor(photo.resize((width, height), Image.Resampling.BICUBIC))


def to_tensor(pixels: Any) -> Tensor:
    """uint8 HWC RGB of NumPy as a uint8 CHW tensor."""
    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1)  # a copy: what a source gives may be read-only, or shared


def to_float(batch: Tensor) -> Tensor:
    """uint8 NCHW as float32 in [0, 1], in the memory format that convolutions like best."""
    return batch.float().div_(255).contiguous(memory_format=torch.channels_last)


def read_picture(path: Path) -> Tensor:
    """A whole picture, float32 NCHW RGB in [0, 1], what is transparent white. Raises ``LimnerError`` where it cannot be read."""
    return torch.from_numpy(image.to_float(image.flat(image.read(path))))


def none_readable(cache: PictureCache) -> str:
    """The sentence for a source without a single readable picture."""
    first = next(iter(cache.bad.values()))
    return f"None of the {len(cache.bad)} pictures in {cache.source.path} can be used: name whole ones, or others; the first: {first}"
