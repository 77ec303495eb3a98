"""File formats: bytes of a file <-> samples as the file stores them, and the metadata beside them.

`read` refuses what is not a sound picture; turning upright and colour conversion come after it, in `image`. Pillow does most
formats, but would reduce 16 bits to 8: PNG and TIFF of that depth go through imagecodecs and tifffile, loaded when first needed.
"""

from __future__ import annotations

import io
import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from limner import limits
from limner.errors import LimnerError, require
from limner.pictures import signatures, tags
from limner.pictures.signatures import SUFFIXES

__all__ = ["SUFFIXES", "WRITABLE", "Metadata", "Stored"]

WRITABLE = {
    **{".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG", ".png": "PNG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF"},
    **{".bmp": "BMP", ".gif": "GIF", ".avif": "AVIF"},
}
"""Lower-case suffix -> Pillow's name of the format, for what can be written."""

_CHANNELS = {0: 1, 1: 1, 2: 3, 5: 4}
"""Colours of a TIFF by its photometric interpretation: white is zero, black is zero, RGB, CMYK."""

BECOMES = {".mpo": ".jpg", ".jif": ".jpg", ".jfi": ".jpg"}
"""Suffix of a painting of what can be read under another one; PNG for the rest."""

WITH_ALPHA = {"PNG", "WEBP", "TIFF", "GIF", "AVIF"}
WITH_ICC = {"JPEG", "PNG", "WEBP", "TIFF", "AVIF"}
WITH_16_BIT = {"PNG", "TIFF"}
MAX_SIDE = {"JPEG": 65_500, "WEBP": 16_383, "GIF": 65_535, "AVIF": 65_536}

for _name in ("tifffile", "PIL", "pillow_heif", "libav"):
    # They log what is odd about a file; without a handler anywhere, Python would print that beside our own sentence.
    logging.getLogger(_name).addHandler(logging.NullHandler())


@dataclass(frozen=True)
class Metadata:
    """What travels beside the pixels and is written back out."""

    icc: bytes | None = None
    """RGB profile of the file as it came; the pixels are sRGB all the same. None: plain sRGB goes out."""
    exif: bytes | None = None
    """EXIF block beginning with `Exif\\0\\0`, orientation 1, without the thumbnail."""
    xmp: bytes | None = None
    """XMP packet, without what is no longer true (`tags.true_xmp`)."""
    iptc: bytes | None = None
    """IPTC-IIM records: caption, credit, copyright."""
    comment: bytes | None = None
    """Comment of a JPEG or GIF file."""
    text: bytes = b""
    """Text chunks of a PNG file, as they are."""
    dpi: tuple[float, float] | None = None
    """Dots per inch, horizontal and vertical."""
    format: str | None = None
    """Format that was read, as Pillow names it: "JPEG", "PNG", ..."""
    lost: tuple[str, ...] = ()
    """What was in the file and is not here, in words: all frames but the first, ..."""


class Stored(NamedTuple):
    """A picture as its file stores it: not turned, colours not converted."""

    samples: NDArray[Any]
    """uint8 or uint16 HW or HW1 grey, HWC RGB or HWC CMYK (0 = no ink)."""
    alpha: NDArray[Any] | None
    """HW, same dtype, not premultiplied; None: opaque."""
    metadata: Metadata
    """`icc` is the profile of the samples, of any colour space; the rest is as for an upright picture."""
    orientation: int
    """EXIF orientation, 1 to 8."""


def read(file: IO[bytes], name: str, max_pixels: int) -> Stored:
    """The picture in an open seekable file; the first frame, where there are several. Raises LimnerError, which begins with `name`, for
    whatever is wrong with it.
    """
    if file.seek(0, io.SEEK_END) == 0:
        raise LimnerError(f"{name} is empty (0 bytes): copy or download it again.")
    texts = None
    with decoding(name):
        kind = told_by(file, name)
        if kind == "PNG":
            texts = tags.png_texts(file)
            file = file if texts.readable else io.BytesIO(tags.png_without_texts(file))
    image = open_header(file, name, max_pixels)
    if kind == "TIFF" or (image is not None and image.format == "TIFF"):
        with decoding(name):
            page = signatures.tiff_page(file, name)
        stored = _read_any_tiff(file, name, image, page, max_pixels)
        return _with_lost(stored, only_first(page.pages, "pages")) if page.pages > 1 else stored
    assert image is not None
    frames = _frames(image)
    stored = _read_png16(file, name, image) if image.format == "PNG" and _png_bits(file) == 16 else read_pil(image, name)
    if texts is not None:
        told = stored.metadata
        told = replace(told, text=texts.chunks, xmp=_sound(texts.xmp) or told.xmp, icc=texts.icc or told.icc)
        stored = _with_lost(stored._replace(metadata=told), *texts.lost)
    return _with_lost(stored, frames) if frames else stored


def told_by(file: IO[bytes], name: str) -> str:
    """What `kinds.told_by` says. Raises LimnerError for a raw photograph."""
    file.seek(0)
    kind = signatures.told_by(file.read(signatures.HEAD))
    if kind == "raw":
        raise signatures.raw(name)
    return kind


def only_first(count: int, what: str) -> str:
    return f"all but the first of its {count} {what}"


def _frames(image: Image.Image) -> str:
    """What is said of a picture with several frames; nothing for others."""
    with suppress(Exception):  # what is wrong with it is told when it is read
        count = int(getattr(image, "n_frames", 1))
        image.seek(0)
        if count > 1:
            return only_first(count, "pictures" if image.format in ("MPO", "HEIF") else "frames")
    return ""


def _with_lost(stored: Stored, *lost: str) -> Stored:
    return stored._replace(metadata=replace(stored.metadata, lost=(*stored.metadata.lost, *lost))) if lost else stored


def _read_any_tiff(file: IO[bytes], name: str, image: Image.Image | None, page: signatures.Page, max_pixels: int) -> Stored:
    if image is None or page.child is not None:
        return _read_tiff(file, name, None, page, max_pixels)
    if not page.is_first:
        with decoding(name), _header():
            image.seek(page.index)
        _check_size(name, *image.size, max_pixels)
    described = getattr(image, "tag_v2", {})
    if image.mode[0] in "IF" or 16 in described.get(258, ()) or described.get(277, 1) > len(image.getbands()):
        return _read_tiff(file, name, image, page, max_pixels)
    return read_pil(image, name)


@contextmanager
def decoding(name: str) -> Iterator[None]:
    """Turns whatever a decoder throws at a damaged file into one sentence, a LimnerError."""
    try:
        yield
    except LimnerError:
        raise
    except PermissionError as error:
        raise LimnerError(f"{name} cannot be opened because reading it is not permitted: check its access rights.") from error
    except MemoryError as error:
        raise LimnerError(f"{name} does not fit into memory: make it smaller or use a machine with more memory.") from error
    except Exception as error:  # decoders meet damage as OSError, SyntaxError, struct.error, KeyError, RuntimeError, ...
        reason = " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__
        raise LimnerError(f"{name} is damaged or cut short ({reason}): copy or download it again.") from error


# Reading a header may warn about odd tags, and Pillow's own bomb limit, a module global below ours, would step in. Both settings
# are process-wide, so they are changed only under this lock, only while a header is parsed, and put back at once; decoding is
# done outside the lock. What other code opens in another thread in that moment is not held to Pillow's limit.
_HEADER_LOCK = threading.Lock()


@contextmanager
def _header() -> Iterator[None]:
    with _HEADER_LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def open_header(file: IO[bytes], name: str, max_pixels: int) -> Image.Image | None:
    """The picture with its header parsed and its size checked, pixels not decoded. None: a TIFF that only tifffile may know."""
    kind = told_by(file, name)
    if kind == "HEIF":
        _register_heif(name)
    # Its bytes decide, not what others have registered: HEIC is one only where it says so itself.
    formats = [kind] if kind in ("HEIF", "AVIF") else list(dict.fromkeys(WRITABLE.values()))
    file.seek(0)
    try:
        with decoding(name), _header():
            image = Image.open(file, formats=formats)
    except LimnerError as error:
        if not isinstance(error.__cause__, UnidentifiedImageError):
            raise
        if kind == "TIFF":
            return None
        raise LimnerError(
            f"{name} is not a picture, or damaged at its beginning: give a JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF or HEIC file."
        ) from error.__cause__
    _check_size(name, *image.size, max_pixels)
    return image


def _check_size(name: str, width: int, height: int, max_pixels: int) -> None:
    if width < 1 or height < 1:
        raise LimnerError(f"{name} is damaged ({width} x {height} pixels): copy or download it again.")
    if width * height > max_pixels:
        raise LimnerError(
            f"{name} is {width} x {height} pixels, more than the limit of {max_pixels:,}: "
            "if you trust the file, raise the limit with `max_pixels`."
        )


def _register_heif(name: str) -> None:
    try:
        import pillow_heif
    except ImportError as error:
        raise LimnerError(f"{name} is a HEIC picture, which needs one more package: pip install pillow-heif.") from error
    if "HEIF" not in Image.OPEN:
        pillow_heif.register_heif_opener()


def read_pil(image: Image.Image, name: str) -> Stored:
    """A Pillow picture, decoded or not; modes of `limner.pictures.image.from_pil`."""
    with decoding(name):
        image.load()
    mode = image.mode
    if mode in ("I", "F"):
        raise LimnerError(f"{name} has 32 bits per sample: save it with 8 or 16 bits.")
    alpha: NDArray[Any] | None = None
    with decoding(name):
        if mode.startswith("I;16"):
            samples = np.asarray(image).astype(np.uint16)
        elif image.has_transparency_data:
            rgba = np.asarray((image.convert("LA") if mode == "La" else image).convert("RGBA"))
            grey = mode in ("1", "L", "LA", "La")
            samples, alpha = rgba[..., 0] if grey else rgba[..., :3], rgba[..., 3]
        elif mode in ("1", "L"):
            samples = np.asarray(image.convert("L"))
        else:
            samples = np.asarray(image if mode in ("RGB", "CMYK") else image.convert("RGB"))
    return Stored(samples, alpha, *_metadata(image))


def _png_bits(file: IO[bytes]) -> int:
    file.seek(24)  # bit depth in IHDR, always the first chunk
    return file.read(1)[0]


def _read_png16(file: IO[bytes], name: str, image: Image.Image) -> Stored:
    import imagecodecs

    with decoding(name):
        image.load()  # only for EXIF and XMP that stand behind the pixels
        file.seek(0)
        samples = imagecodecs.png_decode(file.read())
    alpha = None
    if samples.ndim == 3 and samples.shape[2] in (2, 4):
        samples, alpha = samples[..., :-1], samples[..., -1]
    return Stored(samples, alpha, *_metadata(image))


def _read_tiff(file: IO[bytes], name: str, image: Image.Image | None, which: signatures.Page, max_pixels: int) -> Stored:
    """A page of a TIFF with 16 bits, or of a kind that Pillow does not know (`image` is None)."""
    with decoding(name):
        page = tiff_page(file, name, which, max_pixels)
        samples = page.asarray()
        samples = np.moveaxis(samples, 0, -1) if page.axes == "SYX" else samples
        return Stored(*tiff_samples(page, samples.reshape(page.imagelength, page.imagewidth, -1)), *tiff_metadata(file, page, image))


def tiff_page(file: IO[bytes], name: str, which: signatures.Page, max_pixels: int) -> Any:
    """A page of a TIFF. Raises LimnerError where it holds what Limner does not read."""
    import tifffile

    file.seek(0)
    page = tifffile.TiffFile(file, name=Path(name).name).pages[which.index]
    page = page if which.child is None else page.pages[which.child]
    _check_size(name, page.imagewidth, page.imagelength, max_pixels)
    samples = page.samplesperpixel
    known = page.sampleformat == 1 and page.bitspersample in (8, 16) and page.photometric in _CHANNELS and page.imagedepth == 1
    if not known or not _CHANNELS[page.photometric] <= samples <= limits.SAMPLES:
        raise LimnerError(f"{name} is a TIFF of an unusual kind: save it as grey, RGB or CMYK with 8 or 16 bits per sample.")
    tile = page.tilewidth * page.tilelength if page.is_tiled else 0
    count = len(page.dataoffsets)
    require(
        tile <= max(max_pixels, 2**24) and page.size <= samples * max_pixels and len(page.databytecounts) == count,
        f"{name} is damaged (its blocks are larger than the picture): copy or download it again.",
    )
    return page


def tiff_samples(page: Any, samples: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Rows of a page as they lie in the file, HWC -> colour HWC, and alpha HW where there is some."""
    samples = ~samples if page.photometric == 0 else samples  # white is zero
    channels = _CHANNELS[page.photometric]
    alpha = samples[..., channels] if page.extrasamples and page.extrasamples[0] in (1, 2) else None
    samples = samples[..., :channels]
    if alpha is not None and page.extrasamples[0] == 1:
        samples = _unpremultiply(samples, alpha)
    return samples, alpha


def tiff_metadata(file: IO[bytes], page: Any, image: Image.Image | None) -> tuple[Metadata, int]:
    """What to keep beside the pixels, and the EXIF orientation; ``image`` is Pillow's view of the file, where it has one."""
    if image is not None:
        return _metadata(image)
    image = Image.new("L", (1, 1))  # carries the metadata
    image.format, image.info["icc_profile"] = "TIFF", page.iccprofile
    described = {tag: page.tags.valueof(tag) for tag in (tags.XMP, tags.IPTC)}
    image.info["xmp"] = described[tags.XMP]
    if not page.parent.is_bigtiff:  # Pillow's EXIF parser knows classic TIFF only
        file.seek(0)
        with _header(), suppress(Exception):
            image.getexif().load_from_fp(file)
    return _metadata(image, described[tags.IPTC])


def _unpremultiply(samples: NDArray[Any], alpha: NDArray[Any]) -> NDArray[Any]:
    full = np.iinfo(samples.dtype).max
    straight: NDArray[Any] = samples * np.float32(full) / np.maximum(alpha, 1)[..., None] + np.float32(0.5)
    np.minimum(straight, full, out=straight)
    return straight.astype(samples.dtype)


def _metadata(image: Image.Image, iptc: object = None) -> tuple[Metadata, int]:
    """What to keep beside the pixels, and the EXIF orientation, 1 to 8."""
    orientation = 1
    exif: bytes | None = None
    with _header(), suppress(Exception):  # cameras and editors write broken EXIF in many ways; the picture is as good without it
        original = image.getexif()
        stored = original.get(tags.ORIENTATION)
        orientation = int(stored) if stored is not None and stored in range(1, 9) else 1
        exif = tags.true_exif(original, is_tiff=image.format == "TIFF")
    dpi = image.info.get("dpi")
    try:
        resolution = (float(dpi[0]), float(dpi[1])) if dpi else None
    except (TypeError, ValueError, ZeroDivisionError, IndexError, OverflowError):
        resolution = None  # nonsense in the header; nothing depends on it
    if resolution and not all(0.5 <= value < 65_535 for value in resolution):
        resolution = None
    if resolution and orientation >= 5:
        resolution = resolution[::-1]
    icc, comment = image.info.get("icc_profile"), image.info.get("comment")
    xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    xmp = xmp.encode("utf-8", "replace") if isinstance(xmp, str) else xmp if isinstance(xmp, bytes) else None
    records = tags.iptc_of(image, iptc)
    return Metadata(
        icc=icc if isinstance(icc, bytes) and len(icc) <= limits.METADATA else None,
        exif=_short(exif),
        xmp=_sound(xmp),
        iptc=_short(records),
        comment=_short(comment) if isinstance(comment, bytes) else None,
        dpi=resolution,
        format=image.format,
        lost=tags.too_long((("EXIF", exif), ("XMP", xmp), ("IPTC", records))),
    ), orientation


def _short(data: bytes | None) -> bytes | None:
    return data if data and len(data) <= limits.METADATA else None


def _sound(xmp: bytes | None) -> bytes | None:
    return tags.true_xmp(xmp) if xmp and len(xmp) <= limits.METADATA else None
