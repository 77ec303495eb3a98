"""Picture files row by row, for those that are too big to lie in memory: TIFF and BigTIFF in, TIFF and PNG out.

PNG can only be read whole (each row needs the one before it, and no library hands them out one by one), and so can JPEG and the other
formats, and TIFF files that are one compressed block, stored turned, or with alpha: these lie in memory with 3 to 8 bytes a pixel.
"""

import shutil
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from limner.errors import LimnerError, TooLargeError
from limner.files import replacing
from limner.pictures import encoding, formats, icc, image, signatures, tags
from limner.pictures.formats import Metadata

Pixels = image.Pixels


@dataclass(frozen=True, eq=False)
class RowPicture:
    """An upright sRGB picture, to be had row by row."""

    height: int
    width: int
    dtype: np.dtype[Any]
    metadata: Metadata
    rows: Callable[[int, int], Pixels]
    """From one row to another: uint8 or uint16 HWC RGB."""
    picture: image.Picture | None = None
    """The whole of it, where it lies in memory."""


def size_in_rows(path: Path, *, max_pixels: int = image.DEFAULT_MAX_PIXELS) -> tuple[int, int] | None:
    """Height and width of a picture that can be read row by row; None for others, and for what cannot be opened."""
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file, formats.decoding(str(path)):
            source = _tiff(file, str(path), max_pixels)
    except (LimnerError, OSError):  # whatever is wrong is told when it is read
        return None
    return (source.height, source.width) if source is not None else None


@contextmanager
def reading(path: Path, *, max_pixels: int = image.DEFAULT_MAX_PIXELS) -> Iterator[RowPicture]:
    """Open a picture. Raises LimnerError for whatever is wrong with the file."""
    if path.is_file():
        with path.open("rb") as file:
            with formats.decoding(str(path)):
                source = _tiff(file, str(path), max_pixels)
            if source is not None:
                yield source
                return
    picture = image.read(path, max_pixels=max_pixels)
    yield of(picture)


def of(picture: image.Picture) -> RowPicture:
    height, width = picture.pixels.shape[:2]
    return RowPicture(height, width, picture.pixels.dtype, picture.metadata, lambda start, stop: picture.pixels[start:stop], picture)


def _tiff(file: IO[bytes], name: str, max_pixels: int) -> RowPicture | None:
    """None for what must be read whole."""
    if formats.told_by(file, name) != "TIFF":
        return None
    opened, which = formats.open_header(file, name, max_pixels), signatures.tiff_page(file, name)
    if not which.is_first:
        return None
    try:
        page = formats.tiff_page(file, name, which, max_pixels)
    except LimnerError:
        return None  # Pillow may read it
    metadata, orientation = formats.tiff_metadata(file, page, opened)
    blocks = len(page.dataoffsets)
    if orientation != 1 or page.extrasamples or page.planarconfig != 1 or (blocks == 1 and not page.is_contiguous):
        return None
    channels = page.samplesperpixel
    first, profile = icc.to_srgb(_colour(page, np.zeros((1, 1, channels), page.dtype)), metadata.icc)

    def rows(start: int, stop: int) -> Pixels:
        with formats.decoding(name):
            samples = _stored_rows(page, file, start, stop)
            return np.ascontiguousarray(icc.to_srgb(_colour(page, samples), metadata.icc)[0])

    lost = (*metadata.lost, *([formats.only_first(which.pages, "pages")] if which.pages > 1 else []))
    return RowPicture(page.imagelength, page.imagewidth, first.dtype, replace(metadata, icc=profile, lost=lost), rows)


def _colour(page: Any, samples: NDArray[Any]) -> NDArray[Any]:
    colour = formats.tiff_samples(page, samples)[0]
    return np.ascontiguousarray(colour[..., 0] if colour.shape[2] == 1 else colour)


def _stored_rows(page: Any, file: IO[bytes], start: int, stop: int) -> NDArray[Any]:
    """Rows as the file holds them, native byte order, HWC."""
    width, channels = page.imagewidth, page.samplesperpixel
    stored = np.dtype(page.dtype).newbyteorder(page.parent.byteorder)
    if page.is_contiguous:
        line = width * channels * stored.itemsize
        file.seek(page.dataoffsets[0] + start * line)
        data = file.read((stop - start) * line)
        if len(data) < (stop - start) * line:
            raise ValueError("it ends before its last row")
        return np.frombuffer(data, stored).reshape(stop - start, width, channels).astype(page.dtype)
    out = np.zeros((stop - start, width, channels), page.dtype)
    tall, across = (page.tilelength, -(-width // page.tilewidth)) if page.is_tiled else (page.rowsperstrip, 1)
    for index in range(start // tall * across, -(-stop // tall) * across):
        file.seek(page.dataoffsets[index])
        data = file.read(page.databytecounts[index])
        block, place, _ = page.decode(data, index, jpegtables=page.jpegtables)
        if block is None:
            continue  # a block that is left out is black
        top, left = place[2], place[3]
        block = block.reshape(block.shape[-3:])
        above, below = max(start - top, 0), min(stop - top, block.shape[0])
        right = min(block.shape[1], width - left)
        out[top + above - start : top + below - start, left : left + right] = block[above:below, :right]
    return out


@contextmanager
def writing(path: Path, source: RowPicture, *, strip: bool = False, quality: int = 95) -> Iterator[Callable[[Pixels], None]]:
    """A place for rows, uint8 or uint16 HWC sRGB, from top to bottom; the file appears at the end, whole or not at all."""
    metadata = Metadata() if strip else source.metadata
    kind = image.WRITABLE.get(path.suffix.lower())
    if kind not in ("TIFF", "PNG") or (source.picture is not None and source.picture.alpha is not None):
        with _in_memory(path, source, strip, quality) as put:
            yield put
        return
    with replacing(path) as beside:
        writer = _tiff_rows if kind == "TIFF" else _png_rows
        with writer(beside, source, metadata) as put_samples:
            yield lambda pixels: put_samples(icc.from_srgb(pixels, metadata.icc))


@contextmanager
def _in_memory(path: Path, source: RowPicture, strip: bool, quality: int) -> Iterator[Callable[[Pixels], None]]:
    whole = np.empty((source.height, source.width, 3), source.dtype)
    done = 0

    def put(pixels: Pixels) -> None:
        nonlocal done
        whole[done : done + len(pixels)] = pixels
        done += len(pixels)

    yield put
    picture = image.Picture(whole, metadata=source.metadata) if source.picture is None else source.picture.with_pixels(whole)
    image.write(picture, path, strip=strip, quality=quality)


@contextmanager
def _tiff_rows(path: Path, source: RowPicture, metadata: Metadata) -> Iterator[Callable[[Pixels], None]]:
    """Strips go into a file of their own first: a reader wants to know how long they are before they come."""
    rows = encoding.tiff_strip_rows(np.empty((source.width, 3), source.dtype))
    lengths, left = [], np.empty((0, source.width, 3), source.dtype)
    with tempfile.TemporaryFile(dir=path.parent) as strips:  # gone with the program, even if it is killed

        def put(pixels: Pixels, last: bool = False) -> None:
            nonlocal left
            left = np.concatenate([left, pixels])
            while len(left) >= rows or (last and len(left)):
                data = encoding.tiff_strip(left[:rows])
                lengths.append(len(data))
                strips.write(data)
                left = left[rows:]

        yield put
        put(left[:0], last=True)
        if sum(lengths) > 4e9:
            raise TooLargeError("A TIFF file holds at most 4 GB: write a PNG, or make the picture smaller.")
        strips.seek(0)
        with path.open("wb") as whole:
            whole.write(encoding.tiff_header((source.height, source.width, 3), source.dtype, metadata, lengths))
            shutil.copyfileobj(strips, whole, 2**22)


@contextmanager
def _png_rows(path: Path, source: RowPicture, metadata: Metadata) -> Iterator[Callable[[Pixels], None]]:
    """Each row as its difference from the one above (filter 2, "Up")."""
    packer, before = zlib.compressobj(3), np.zeros((1, source.width * 3 * source.dtype.itemsize), np.uint8)
    with path.open("wb") as file:
        header = struct.pack(">IIBBBBB", source.width, source.height, 8 * source.dtype.itemsize, 2, 0, 0, 0)
        file.write(b"\x89PNG\r\n\x1a\n" + tags.chunk(b"IHDR", header) + encoding.png_metadata(metadata))

        def put(pixels: Pixels) -> None:
            nonlocal before
            lines = np.ascontiguousarray(pixels.astype(source.dtype.newbyteorder(">"))).reshape(len(pixels), -1).view(np.uint8)
            lines = np.concatenate([before, lines.reshape(len(pixels), -1)])
            up = np.empty((len(pixels), lines.shape[1] + 1), np.uint8)
            up[:, 0], up[:, 1:] = 2, lines[1:] - lines[:-1]
            before = lines[-1:]
            if data := packer.compress(up.tobytes()):
                file.write(tags.chunk(b"IDAT", data))

        yield put
        file.write(tags.chunk(b"IDAT", packer.flush()) + tags.chunk(b"IEND", b""))
