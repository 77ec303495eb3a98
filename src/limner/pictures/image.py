"""Pictures in and out: every file becomes upright 8- or 16-bit sRGB pixels, and goes back out with what came along.

`read` turns by EXIF, converts from the ICC profile to sRGB, splits alpha off and refuses what is not a sound picture; `write`
does the way back, atomically. Styles only ever see `Picture.pixels`. How a file holds its samples and metadata is the business of
`limner.pictures.formats`, colour profiles that of `limner.pictures.icc`.
"""

from __future__ import annotations

import io
import os
import stat
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray
from PIL import Image

from limner import journal, limits
from limner.errors import LimnerError
from limner.files import exists, replacing
from limner.pictures import encoding, formats, icc, manifest
from limner.pictures.formats import BECOMES, SUFFIXES, WRITABLE, Metadata

__all__ = [
    "BECOMES",
    "DEFAULT_MAX_PIXELS",
    "SUFFIXES",
    "WRITABLE",
    "Metadata",
    "Picture",
    "Pixels",
    "check_side",
    "count_pixels",
    "decode",
    "encode",
    "find",
    "fit",
    "flat",
    "from_float",
    "from_pil",
    "from_pipe",
    "is_own",
    "left_behind",
    "read",
    "resized",
    "to_float",
    "to_pil",
    "told_left_out",
    "without_own",
    "write",
]

Pixels: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16]

DEFAULT_MAX_PIXELS = limits.PIXELS
"""Pictures with more pixels are refused before they are decoded: a few bytes can promise gigabytes (a decompression bomb)."""


@dataclass(frozen=True, eq=False)
class Picture:
    """One upright sRGB picture. The arrays may be read-only; make a new picture with `with_pixels` instead of changing them."""

    pixels: Pixels
    """uint8 or uint16 HWC RGB, sRGB, full range of the dtype, always 3 channels."""
    alpha: Pixels | None = None
    """HW, same dtype, or None: opaque. Not premultiplied."""
    metadata: Metadata = field(default_factory=Metadata)

    def __post_init__(self) -> None:
        if self.pixels.ndim != 3 or self.pixels.shape[2] != 3 or self.pixels.dtype not in (np.uint8, np.uint16):
            raise ValueError(f"pixels must be uint8 or uint16 HWC RGB, not {self.pixels.dtype} {self.pixels.shape}")
        if self.alpha is not None and (self.alpha.shape, self.alpha.dtype) != (self.pixels.shape[:2], self.pixels.dtype):
            raise ValueError(f"alpha {self.alpha.dtype} {self.alpha.shape} does not fit the pixels {self.pixels.shape}")

    def with_pixels(self, pixels: Pixels) -> Picture:
        """The same picture with other pixels (uint8 or uint16 HWC RGB, same height and width where there is alpha)."""
        alpha = None if self.alpha is None else _to_depth(self.alpha, pixels.dtype)
        return replace(self, pixels=pixels, alpha=alpha)


# ---------------------------------------------------------------------------------------------------------------- reading


def read(path: str | os.PathLike[str], *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Picture:
    """Read a picture file; first page or frame where there are several.

    Raises LimnerError for whatever is wrong with the file, and where width x height is more than `max_pixels`.
    """
    path = Path(path)
    try:
        file = path.open("rb")
    except FileNotFoundError as error:
        raise LimnerError(f"{path} does not exist: check the name and the folder.") from error
    except IsADirectoryError as error:
        raise LimnerError(f"{path} is a folder, not a picture: name a file in it.") from error
    except PermissionError as error:
        raise LimnerError(f"{path} cannot be opened because reading it is not permitted: check its access rights.") from error
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        raise LimnerError(f"{path} cannot be opened ({error}): check the name and the disk.") from error
    with file:
        mode = os.fstat(file.fileno()).st_mode
        if stat.S_ISREG(mode):
            return decode(file, str(path), max_pixels=max_pixels)
        if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
            return decode(from_pipe(file, str(path)), str(path), max_pixels=max_pixels)
    raise LimnerError(f"{path} is a device, not a picture: name a file.")


def from_pipe(file: IO[bytes], name: str) -> io.BytesIO:
    """All that comes out of a pipe, as a file in memory. Raises LimnerError where that is too much."""
    data = io.BytesIO()
    while part := file.read(1 << 20):
        data.write(part)
        if data.tell() > limits.PIPE:
            raise LimnerError(f"{name} has given more than {limits.PIPE:,} bytes without an end: give a picture, or the name of its file.")
    return data


def count_pixels(path: Path, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> float:
    """Pixels of a picture file, by its header; none where it cannot be read, infinitely many where only decoding tells."""
    if not path.is_file():  # what comes out of a pipe comes once
        return 0
    try:
        with path.open("rb") as file:
            opened = formats.open_header(file, str(path), max_pixels)
    except (LimnerError, OSError):  # whatever is wrong is told when it is read
        return 0
    return float("inf") if opened is None else opened.width * opened.height


def decode(file: IO[bytes], name: str = "the picture", *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Picture:
    """What `read` does, from an open seekable file or `io.BytesIO`; `name` is for the messages."""
    with formats.decoding(name):
        return _upright(formats.read(file, name, max_pixels))


def from_pil(image: Image.Image) -> Picture:
    """An in-memory Pillow picture, normalised as `read` does it.

    Modes 1, L, LA, P, PA, RGB, RGBA, CMYK, YCbCr, LAB, HSV give uint8, I;16 gives uint16. The image itself is not changed.
    """
    return _upright(formats.read_pil(image, str(getattr(image, "filename", "")) or "the picture"))


def _upright(stored: formats.Stored) -> Picture:
    """Turned by EXIF, in sRGB: the last step of all reading."""
    samples, alpha, metadata, orientation = stored
    if samples.ndim == 3 and samples.shape[2] == 1:
        samples = samples[..., 0]
    pixels, profile = icc.to_srgb(np.ascontiguousarray(samples), metadata.icc)
    if alpha is not None:
        alpha = np.ascontiguousarray(_turn(alpha, orientation))
    return Picture(np.ascontiguousarray(_turn(pixels, orientation)), alpha, replace(metadata, icc=profile))


def _turn(array: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Upright view of an array stored with this EXIF orientation."""
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return array


# ---------------------------------------------------------------------------------------------------------------- writing


def write(picture: Picture, path: str | os.PathLike[str], *, strip: bool = False, quality: int = 95) -> None:
    """Write a picture in the format of the path's suffix, whole or not at all: a file already there stays until the new one is.

    Missing folders are made. JPEG and BMP get alpha laid over white. 16 bits stay 16 in PNG and TIFF, and are rounded to 8 else.
    `strip` leaves out EXIF, XMP, resolution and profile (plain sRGB). `quality`, 1 to 100, is for JPEG, WebP and AVIF. What has
    no room is left out: EXIF or XMP over 64 KiB in JPEG, all metadata in GIF, all but the resolution in BMP.
    Raises LimnerError where the suffix is unknown, the format cannot hold the picture, or the file cannot be written.
    """
    path = Path(path)
    try:
        data = encode(picture, path.suffix, strip=strip, quality=quality)
    except LimnerError as error:
        raise LimnerError(f"{path} cannot be written: {error}") from error
    with replacing(path) as beside:
        beside.write_bytes(data)


def encode(picture: Picture, suffix: str, *, strip: bool = False, quality: int = 95) -> bytes:
    """The bytes that `write` would write into a file with this suffix (".png")."""
    format = WRITABLE.get(suffix.lower())
    if format is None:
        raise LimnerError(f"the suffix '{suffix}' is none of those that Limner writes, {', '.join(WRITABLE)}.")
    if not 1 <= quality <= 100:
        raise LimnerError(f"the quality must be between 1 and 100, not {quality}.")
    check_side(format, *picture.pixels.shape[:2])
    pixels: NDArray[Any] = picture.pixels
    alpha, metadata = picture.alpha, Metadata() if strip else picture.metadata
    if alpha is not None and format not in formats.WITH_ALPHA:
        pixels, alpha = _over_white(pixels, alpha), None
    if format not in formats.WITH_ICC:
        metadata = replace(metadata, icc=None)
    pixels = icc.from_srgb(pixels, metadata.icc)
    if format not in formats.WITH_16_BIT:
        pixels, alpha = _to_depth(pixels, np.uint8), None if alpha is None else _to_depth(alpha, np.uint8)
    samples = pixels if alpha is None else np.dstack((pixels, alpha))
    return encoding.encode(samples, format, metadata, quality)


def check_side(format: str, height: int, width: int) -> None:
    """Raise LimnerError where a format, such as "JPEG", holds no picture of this size."""
    if max(height, width) > formats.MAX_SIDE.get(format, 2**31):
        raise LimnerError(f"{format} holds at most {formats.MAX_SIDE[format]} pixels a side: use .png or .tif.")


def left_behind(metadata: Metadata, suffix: str) -> list[str]:
    """Which of the metadata a file with this suffix has no room for."""
    return encoding.left_behind(metadata, WRITABLE[suffix.lower()])


def _over_white(pixels: NDArray[Any], alpha: NDArray[Any]) -> NDArray[Any]:
    full = np.uint32(np.iinfo(pixels.dtype).max)
    cover = alpha.astype(np.uint32)[..., None]
    return ((pixels * cover + full * (full - cover) + full // 2) // full).astype(pixels.dtype)


def _to_depth(array: NDArray[Any], dtype: DTypeLike) -> NDArray[Any]:
    """uint8 <-> uint16, rounded to the nearest; the array itself where nothing changes."""
    if array.dtype == dtype:
        return array
    if dtype == np.uint16:
        return array.astype(np.uint16) * np.uint16(257)
    return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)


def to_pil(picture: Picture) -> Image.Image:
    """RGB or RGBA Pillow picture, 8 bits (16 are rounded), in its ICC profile, with profile, EXIF, XMP and dpi in `info`."""
    pixels = _to_depth(icc.from_srgb(picture.pixels, picture.metadata.icc), np.uint8)
    samples = pixels if picture.alpha is None else np.dstack((pixels, _to_depth(picture.alpha, np.uint8)))
    image = Image.fromarray(samples)
    image.info.update(encoding.pil_info(picture.metadata))
    return image


# ------------------------------------------------------------------------------------------- networks, sizes, folders


def to_float(pixels: Pixels) -> NDArray[np.float32]:
    """uint8 or uint16 HWC -> float32 NCHW [1, C, H, W] in [0, 1], contiguous."""
    height, width, channels = pixels.shape
    array = np.empty((1, channels, height, width), np.float32)
    full = np.float32(np.iinfo(pixels.dtype).max)
    for channel in range(channels):  # plane by plane is faster than one transposed operation
        np.divide(pixels[..., channel], full, out=array[0, channel])
    return array


def from_float(array: NDArray[np.float32], dtype: DTypeLike) -> Pixels:
    """float32 NCHW [1, C, H, W] in [0, 1] -> uint8 or uint16 HWC; clipped, rounded half up. NaN becomes 0."""
    if array.ndim != 4 or array.shape[0] != 1 or np.dtype(dtype) not in (np.uint8, np.uint16):
        raise ValueError(f"need [1, C, H, W] and uint8 or uint16, not {list(array.shape)} and {np.dtype(dtype)}")
    _, channels, height, width = array.shape
    pixels = np.empty((height, width, channels), dtype)
    full = np.float32(np.iinfo(pixels.dtype).max)
    for top in range(0, height, 32):  # bands that stay in the processor's cache
        band = array[0, :, top : top + 32] * full
        band += np.float32(0.5)
        np.fmax(band, np.float32(0), out=band)
        np.fmin(band, full, out=band)
        for channel in range(channels):
            pixels[top : top + 32, :, channel] = band[channel]
    return pixels


def flat(picture: Picture) -> NDArray[np.uint8]:
    """uint8 HWC RGB: alpha laid over white, 16 bits rounded to 8."""
    pixels = picture.pixels if picture.alpha is None else _over_white(picture.pixels, picture.alpha)
    return _to_depth(pixels, np.uint8)


def fit(picture: Picture, max_size: int) -> Picture:
    """The picture scaled down (Lanczos), so that its longer side is at most `max_size`; as it is where it is small enough."""
    height, width = picture.pixels.shape[:2]
    longer = max(height, width)
    if longer <= max_size:
        return picture
    if max_size < 1:
        raise ValueError(f"max_size must be at least 1, not {max_size}")
    size = max(1, round(height * max_size / longer)), max(1, round(width * max_size / longer))
    samples = picture.pixels if picture.alpha is None else np.dstack((picture.pixels, picture.alpha))
    small = resized(samples, size)
    if picture.alpha is None:
        return replace(picture, pixels=small)
    return replace(picture, pixels=np.ascontiguousarray(small[..., :3]), alpha=np.ascontiguousarray(small[..., 3]))


def resized(samples: NDArray[Any], size: tuple[int, int], box: tuple[float, float, float, float] | None = None) -> NDArray[Any]:
    """uint8 or uint16 HWC RGB(A) at ``size`` (height, width), by Lanczos; only ``box`` (left, top, right, bottom) of it, if given.

    Colour is weighed by alpha.
    """
    if samples.dtype == np.uint8:  # Pillow does weigh
        return np.asarray(Image.fromarray(samples).resize(size[::-1], Image.Resampling.LANCZOS, box))
    weight = samples[..., 3].astype(np.float32) / 65_535 if samples.shape[2] == 4 else None
    planes = []
    for channel in range(samples.shape[2]):  # in float: Pillow resizes 16 bits in no other way
        plane = samples[..., channel].astype(np.float32)
        if weight is not None and channel < 3:
            plane *= weight
        planes.append(np.asarray(Image.fromarray(plane).resize(size[::-1], Image.Resampling.LANCZOS, box)))
    small = np.dstack(planes)
    if weight is not None:
        small[..., :3] *= 65_535 / np.maximum(small[..., 3:], 1)
    rounded: NDArray[np.uint16] = (np.clip(small, 0, 65_535) + 0.5).astype(np.uint16)
    return rounded


def find(
    folder: str | os.PathLike[str],
    suffixes: Collection[str] = SUFFIXES,
    left_out: Counter[str] | None = None,
    also: Callable[[Path], bool] | None = None,
) -> list[Path]:
    """All files below a folder with one of these lower-case suffixes, or of which `also` says so, sorted; hidden ones left out, linked
    folders not entered.

    What Limner itself made is no photograph: folders of trainings below are not entered, and paintings that a manifest lists are left out.
    `left_out` counts the other files by their suffixes. Pipes and devices are never found: opening one would wait for ever.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise LimnerError(f"{folder} is not a folder: name one that exists.")

    def unreadable(error: OSError) -> None:
        raise LimnerError(f"{error.filename} cannot be listed ({error.strerror}): check its access rights.") from error

    found, painted, others = [], set[Path](), Counter[str]()
    for parent, folders, files in os.walk(folder, onerror=unreadable):
        here = Path(parent)
        if here != folder and _is_run(folders, files):
            folders.clear()
            continue
        folders[:] = [name for name in folders if not name.startswith(".")]
        if manifest.NAME in files:
            painted |= _paintings(here, beside=here == folder)
        for path in (here / name for name in files if not name.startswith(".")):
            suffix = path.suffix.lower()
            if (suffix in suffixes and _is_ordinary(path)) or (also is not None and also(path)):
                found.append(path)
            elif not is_own(path):
                others[suffix or "without a suffix"] += 1
    if left_out is not None:
        left_out.update(others)
    return sorted(path for path in found if path not in painted)


def told_left_out(left_out: Counter[str]) -> str:
    """What was left out of a folder, for people: "3 .mov, 1 .txt"."""
    return ", ".join(f"{count:,} {kind}" for kind, count in sorted(left_out.items()))


def without_own(base: Path, paths: Iterable[Path]) -> list[Path]:
    """Of paths below `base` those that `find` would find there."""
    paths = list(paths)
    folders = {folder for path in paths for folder in path.parents if folder.is_relative_to(base)}
    runs, painted = set[Path](), set[Path]()
    for folder in folders:
        with suppress(OSError):
            files = [each.name for each in folder.iterdir()]
            if folder != base and _is_run(files, files):
                runs.add(folder)
        if (folder / manifest.NAME).is_file():
            painted |= _paintings(folder, beside=folder == base)
    return [path for path in paths if path not in painted and runs.isdisjoint(path.parents) and _is_ordinary(path)]


def is_own(path: Path) -> bool:
    """Whether a file is Limner's own record of its work."""
    return path.name == manifest.NAME or (path.name.startswith("limner-manifest-") and path.suffix == ".jsonl")


def _is_ordinary(path: Path) -> bool:
    """A file; or what cannot be opened, which is told when it is read."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return True


def _is_run(folders: list[str], files: list[str]) -> bool:
    """Whether a folder with these in it is that of a training."""
    return "config.toml" in files and ("checkpoints" in folders or "data.json" in files)


def _paintings(folder: Path, *, beside: bool) -> set[Path]:
    """The paintings that the manifest of a folder lists; with `beside`, those whose photographs lie in the same folder."""
    try:
        entries = manifest.parse(journal.read(folder / manifest.NAME), manifest.NAME)
    except (LimnerError, OSError):  # told where it matters: when something is to be painted there
        return set()
    return {folder / entry.target for entry in entries.values() if not beside or exists(folder / entry.source)}
