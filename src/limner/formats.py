"""File formats: bytes of a file <-> samples as the file stores them, and the metadata beside them.

`read` refuses what is not a sound picture; turning upright and colour conversion come after it, in `limner.image`. Pillow does most
formats, but would reduce 16 bits to 8: PNG and TIFF of that depth go through imagecodecs and tifffile, loaded when first needed.
"""

from __future__ import annotations

import io
import re
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from limner.errors import LimnerError

SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif", ".heic", ".heif"))
"""Lower-case suffixes that can be read; HEIC needs the optional package pillow-heif."""

WRITABLE = {
    **{".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF"},
    **{".bmp": "BMP", ".gif": "GIF", ".avif": "AVIF"},
}
"""Lower-case suffix -> Pillow's name of the format, for what can be written."""

WITH_ALPHA = {"PNG", "WEBP", "TIFF", "GIF", "AVIF"}
WITH_ICC = {"JPEG", "PNG", "WEBP", "TIFF", "AVIF"}
WITH_16_BIT = {"PNG", "TIFF"}
MAX_SIDE = {"JPEG": 65_500, "WEBP": 16_383, "GIF": 65_535, "AVIF": 65_536}

_ORIENTATION, _EXIF_IFD, _GPS_IFD, _INTEROP_IFD, _XMP_TAG = 0x0112, 0x8769, 0x8825, 0xA005, 0x02BC
_PIXEL_DIMENSIONS = (0xA002, 0xA003)
# The IFD of a TIFF mixes what describes the picture with how the file is laid out; only the former may travel on.
_TIFF_DESCRIPTIONS = frozenset((270, 271, 272, 274, 305, 306, 315, 316, 33432, _EXIF_IFD, _GPS_IFD, *range(40091, 40096)))
# Reader programs would turn the picture a second time, or show the photo instead of the painting.
_STALE_XMP = re.compile(
    rb"""\s*tiff:Orientation=["'][^"']*["']|<tiff:Orientation>.*?</tiff:Orientation>|<xmp:Thumbnails>.*?</xmp:Thumbnails>""",
    re.DOTALL,
)


@dataclass(frozen=True)
class Metadata:
    """What travels beside the pixels and is written back out."""

    icc: bytes | None = None
    """RGB profile of the file as it came; the pixels are sRGB all the same. None: plain sRGB goes out."""
    exif: bytes | None = None
    """EXIF block beginning with `Exif\\0\\0`, orientation 1, without the thumbnail."""
    xmp: bytes | None = None
    """XMP packet, without orientation and thumbnails."""
    dpi: tuple[float, float] | None = None
    """Dots per inch, horizontal and vertical."""
    format: str | None = None
    """Format that was read, as Pillow names it: "JPEG", "PNG", ..."""


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


# ---------------------------------------------------------------------------------------------------------------- reading


def read(file: IO[bytes], name: str, max_pixels: int) -> Stored:
    """First page or frame of an open seekable file. Raises LimnerError, which begins with `name`, for whatever is wrong with it."""
    if name.lower().endswith((".heic", ".heif")):
        _register_heif(name)
    if file.seek(0, io.SEEK_END) == 0:
        raise LimnerError(f"{name} is empty (0 bytes): copy or download it again.")
    image = open_header(file, name, max_pixels)
    if image is None:
        return _read_tiff(file, name, None, max_pixels)
    if image.format == "PNG" and _png_bits(file) == 16:
        return _read_png16(file, name, image)
    if image.format == "TIFF" and (image.mode[0] in "IF" or 16 in getattr(image, "tag_v2", {}).get(258, ())):
        return _read_tiff(file, name, image, max_pixels)
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
    file.seek(0)
    formats = [*dict.fromkeys(WRITABLE.values()), *(["HEIF"] if "HEIF" in Image.OPEN else [])]
    try:
        with decoding(name), _header():
            image = Image.open(file, formats=formats)
    except LimnerError as error:
        if not isinstance(error.__cause__, UnidentifiedImageError):
            raise
        file.seek(0)
        if file.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
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
            "if you trust the file, raise the limit with --max-pixels."
        )


def _register_heif(name: str) -> None:
    try:
        import pillow_heif
    except ImportError as error:
        raise LimnerError(f"{name} is a HEIC picture, which needs one more package: pip install pillow-heif.") from error
    if "HEIF" not in Image.OPEN:
        pillow_heif.register_heif_opener()


def read_pil(image: Image.Image, name: str) -> Stored:
    """A Pillow picture, decoded or not; modes of `limner.image.from_pil`."""
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


def _read_tiff(file: IO[bytes], name: str, image: Image.Image | None, max_pixels: int) -> Stored:
    """First page of a TIFF with 16 bits, or of a kind that Pillow does not know (`image` is None)."""
    with decoding(name):
        page = tiff_page(file, name, max_pixels)
        samples = page.asarray()
        samples = np.moveaxis(samples, 0, -1) if page.axes == "SYX" else samples
        return Stored(*tiff_samples(page, samples.reshape(page.imagelength, page.imagewidth, -1)), *tiff_metadata(file, page, image))


def tiff_page(file: IO[bytes], name: str, max_pixels: int) -> Any:
    """First page of a TIFF. Raises LimnerError where it holds what Limner does not read."""
    import tifffile

    file.seek(0)
    page = tifffile.TiffFile(file, name=Path(name).name).pages[0]
    _check_size(name, page.imagewidth, page.imagelength, max_pixels)
    if page.sampleformat != 1 or page.bitspersample not in (8, 16) or page.photometric not in (0, 1, 2, 5) or page.imagedepth > 1:
        raise LimnerError(f"{name} is a TIFF of an unusual kind: save it as grey, RGB or CMYK with 8 or 16 bits per sample.")
    return page


def tiff_samples(page: Any, samples: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Rows of a page as they lie in the file, HWC -> colour HWC, and alpha HW where there is some."""
    samples = ~samples if page.photometric == 0 else samples  # white is zero
    channels = {2: 3, 5: 4}.get(page.photometric, 1)
    alpha = samples[..., channels] if page.extrasamples and page.extrasamples[0] in (1, 2) else None
    samples = samples[..., :channels]
    if alpha is not None and page.extrasamples[0] == 1:
        samples = _unpremultiply(samples, alpha)
    return samples, alpha


def tiff_metadata(file: IO[bytes], page: Any, image: Image.Image | None) -> tuple[Metadata, int]:
    """What to keep beside the pixels, and the EXIF orientation; ``image`` is Pillow's view of the file, where it has one."""
    if image is None:
        image = Image.new("L", (1, 1))  # carries the metadata
        image.format, image.info["icc_profile"] = "TIFF", page.iccprofile
        if not page.parent.is_bigtiff:  # Pillow's EXIF parser knows classic TIFF only
            file.seek(0)
            with _header():
                image.getexif().load_from_fp(file)
    return _metadata(image)


def _unpremultiply(samples: NDArray[Any], alpha: NDArray[Any]) -> NDArray[Any]:
    full = np.iinfo(samples.dtype).max
    straight: NDArray[Any] = samples * np.float32(full) / np.maximum(alpha, 1)[..., None] + np.float32(0.5)
    np.minimum(straight, full, out=straight)
    return straight.astype(samples.dtype)


def _metadata(image: Image.Image) -> tuple[Metadata, int]:
    """What to keep beside the pixels, and the EXIF orientation, 1 to 8."""
    orientation = 1
    block: bytes | None = None
    with _header(), suppress(Exception):  # cameras and editors write broken EXIF in many ways; the picture is as good without it
        original = image.getexif()
        stored = original.get(_ORIENTATION)
        orientation = int(stored) if stored is not None and stored in range(1, 9) else 1
        block = _exif_block(original, set(original) & _TIFF_DESCRIPTIONS if image.format == "TIFF" else set(original))
    dpi = image.info.get("dpi")
    try:
        resolution = (float(dpi[0]), float(dpi[1])) if dpi else None
    except (TypeError, ValueError, ZeroDivisionError, IndexError):
        resolution = None  # nonsense in the header; nothing depends on it
    if resolution and not all(0.5 <= value < 65_535 for value in resolution):
        resolution = None
    if resolution and orientation >= 5:
        resolution = resolution[::-1]
    icc = image.info.get("icc_profile")
    xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    xmp = xmp.encode() if isinstance(xmp, str) else xmp
    return Metadata(
        icc=icc if isinstance(icc, bytes) else None,
        exif=block,
        xmp=_STALE_XMP.sub(b"", xmp) if isinstance(xmp, bytes) else None,
        dpi=resolution,
        format=image.format,
    ), orientation


def _exif_block(original: Image.Exif, tags: set[int]) -> bytes | None:
    """These tags of IFD 0 and the IFDs below, upright; not IFD 1, which is the thumbnail of the photo."""
    if not tags - {_ORIENTATION}:
        return None
    exif = Image.Exif()
    exif.endian = original.endian  # maker notes have the byte order of the whole
    for tag in tags:
        exif[tag] = dict(original.get_ifd(tag)) if tag in (_EXIF_IFD, _GPS_IFD) else original[tag]
    exif[_ORIENTATION] = 1
    if _EXIF_IFD in tags:
        details = exif[_EXIF_IFD]
        if _INTEROP_IFD in details:
            details[_INTEROP_IFD] = original.get_ifd(_INTEROP_IFD)
        for tag in _PIXEL_DIMENSIONS:  # wrong once the picture is turned or made smaller
            details.pop(tag, None)
    return exif.tobytes()


# ---------------------------------------------------------------------------------------------------------------- writing


def encode(samples: NDArray[Any], format: str, metadata: Metadata, quality: int) -> bytes:
    """A whole file of HWC RGB(A), uint8 or, for PNG and TIFF, uint16; colours are in the profile of the metadata."""
    if format == "PNG":
        return _encode_png(samples, metadata)
    if format == "TIFF":
        return _encode_tiff(samples, metadata)
    info = pil_info(metadata)
    if format == "JPEG":  # one segment holds no more
        info = {key: value for key, value in info.items() if key not in ("exif", "xmp") or len(value) < 65_500}
    buffer = io.BytesIO()
    try:  # speed: AVIF takes twice as long at its default of 6
        Image.fromarray(samples).save(buffer, format, quality=quality, subsampling="4:4:4", speed=8, **info)
    except (OSError, ValueError, KeyError) as error:  # KeyError: a Pillow built without this format
        raise LimnerError(f"the {format} encoder refuses it ({error}): try .png.") from error
    return buffer.getvalue()


def pil_info(metadata: Metadata) -> dict[str, Any]:
    """What there is of the metadata, under the names it has in Pillow's `info` and `save`."""
    info = {"icc_profile": metadata.icc, "exif": metadata.exif, "xmp": metadata.xmp, "dpi": metadata.dpi}
    return {key: value for key, value in info.items() if value}


def _encode_png(samples: NDArray[Any], metadata: Metadata) -> bytes:
    """8 or 16 bit RGB(A). The chunks of metadata are spliced in by hand: imagecodecs writes none."""
    if samples.dtype == np.uint8:
        buffer = io.BytesIO()
        Image.fromarray(samples).save(buffer, "PNG", compress_level=3)
        data = buffer.getvalue()
    else:
        import imagecodecs

        data = bytes(imagecodecs.png_encode(np.ascontiguousarray(samples), 3))
    chunks = png_metadata(metadata)
    end_of_header = 8 + 25
    return b"".join((data[:end_of_header], chunks, data[end_of_header:])) if chunks else data


def png_metadata(metadata: Metadata) -> bytes:
    """The chunks of a PNG file between its header and its pixels."""
    chunks = b""
    if metadata.icc:
        chunks += png_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(metadata.icc))
    if metadata.dpi:
        chunks += png_chunk(b"pHYs", struct.pack(">IIB", *(round(value / 0.0254) for value in metadata.dpi), 1))
    if metadata.exif:
        chunks += png_chunk(b"eXIf", metadata.exif.removeprefix(b"Exif\0\0"))
    if metadata.xmp:
        chunks += png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + metadata.xmp)
    return chunks


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _encode_tiff(samples: NDArray[Any], metadata: Metadata) -> bytes:
    """8 or 16 bit RGB(A) in strips, deflate with predictor. By hand: Pillow writes no 16-bit RGB, tifffile no EXIF."""
    rows = tiff_strip_rows(samples[0])
    strips = [tiff_strip(samples[top : top + rows]) for top in range(0, len(samples), rows)]
    return b"".join((tiff_header(samples.shape, samples.dtype, metadata, [len(strip) for strip in strips]), *strips))


def tiff_strip_rows(row: NDArray[Any]) -> int:
    """How many rows, like this one, go into a strip."""
    return max(1, 2**18 // row.nbytes)


def tiff_strip(samples: NDArray[Any]) -> bytes:
    """Rows of samples, HWC, as a strip: each as the difference from the one on its left, deflated."""
    import imagecodecs

    difference = samples.astype(samples.dtype.newbyteorder("<"))
    difference[:, 1:] -= samples[:, :-1]
    return bytes(imagecodecs.deflate_encode(difference.tobytes(), 6))


def tiff_header(shape: tuple[int, ...], dtype: np.dtype[Any], metadata: Metadata, lengths: list[int]) -> bytes:
    """All of a TIFF file before its strips, which have these lengths."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    height, width, channels = shape
    exif = Image.Exif()
    exif.load(metadata.exif or b"")
    ifd = ImageFileDirectory_v2(b"II*\0\0\0\0\0")
    for tag in set(exif) & _TIFF_DESCRIPTIONS:
        ifd[tag] = exif.get_ifd(tag) if tag in (_EXIF_IFD, _GPS_IFD) else exif[tag]
    details = exif.get_ifd(_EXIF_IFD)
    if _INTEROP_IFD in details and (interop := exif.get_ifd(_INTEROP_IFD)):
        ifd[_EXIF_IFD] = {**details, _INTEROP_IFD: interop}
    rows = tiff_strip_rows(np.empty(shape[1:], dtype))
    layout = {256: width, 257: height, 258: (8 * dtype.itemsize,) * channels, 259: 8, 262: 2, 277: channels, 278: rows, 317: 2}
    layout |= {338: 2} if channels == 4 else {}
    layout |= {282: metadata.dpi[0], 283: metadata.dpi[1], 296: 2} if metadata.dpi else {}
    layout |= {tag: value for tag, value in ((_XMP_TAG, metadata.xmp), (34675, metadata.icc)) if value}
    for tag, value in layout.items():
        ifd[tag] = value
    for tag, values in ((273, np.cumsum([0, *lengths[:-1]]).tolist()), (279, lengths)):
        ifd.tagtype[tag] = 4  # LONG; Pillow adds where the strips begin to the offsets
        ifd[tag] = tuple(values)
    buffer = io.BytesIO()
    ifd.save(buffer)
    return buffer.getvalue()
