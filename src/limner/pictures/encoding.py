"""The other way: samples and metadata as the bytes of a file, with what has room in its format."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from limner.errors import LimnerError
from limner.pictures import tags
from limner.pictures.formats import Metadata


def encode(samples: NDArray[Any], format: str, metadata: Metadata, quality: int) -> bytes:
    """A whole file of HWC RGB(A), uint8 or, for PNG and TIFF, uint16; colours are in the profile of the metadata."""
    if format == "PNG":
        return _encode_png(samples, metadata)
    if format == "TIFF":
        return _encode_tiff(samples, metadata)
    info = {key: value for key, value in pil_info(metadata).items() if _has_room(format, key, value)}
    if metadata.iptc and _has_room(format, "iptc", metadata.iptc):
        info["extra"] = tags.iptc_segment(metadata.iptc)
    buffer = io.BytesIO()
    try:  # speed: AVIF takes twice as long at its default of 6
        Image.fromarray(samples).save(buffer, format, quality=quality, subsampling="4:4:4", speed=8, **info)
    except (OSError, ValueError, KeyError) as error:  # KeyError: a Pillow built without this format
        raise LimnerError(f"the {format} encoder refuses it ({error}): try .png.") from error
    return buffer.getvalue()


def left_behind(metadata: Metadata, format: str) -> list[str]:
    """Which of the metadata a file of this format has no room for."""
    kept = {"EXIF": metadata.exif, "XMP": metadata.xmp, "IPTC": metadata.iptc, "comment": metadata.comment, "text": metadata.text}
    return [name for name, value in kept.items() if value and not _has_room(format, name.lower(), value)]


_ROOM = {
    "JPEG": {"exif", "xmp", "iptc", "comment", "dpi", "icc_profile"},
    "PNG": {"exif", "xmp", "iptc", "comment", "text", "dpi", "icc_profile"},
    "TIFF": {"exif", "xmp", "iptc", "dpi", "icc_profile"},
    "WEBP": {"exif", "xmp", "icc_profile"},
    "AVIF": {"exif", "xmp", "icc_profile"},
    "GIF": {"comment"},
    "BMP": {"dpi"},
}


def _has_room(format: str, key: str, value: Any) -> bool:
    if key not in _ROOM[format]:
        return False
    # One segment holds no more; a profile may have many.
    return format != "JPEG" or key in ("dpi", "icc_profile") or len(value) < 65_480


def pil_info(metadata: Metadata) -> dict[str, Any]:
    """What there is of the metadata, under the names it has in Pillow's `info` and `save`."""
    info = {"icc_profile": metadata.icc, "exif": metadata.exif, "xmp": metadata.xmp, "dpi": metadata.dpi, "comment": metadata.comment}
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
        chunks += tags.chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(metadata.icc))
    if metadata.dpi:
        chunks += tags.chunk(b"pHYs", struct.pack(">IIB", *(round(value / 0.0254) for value in metadata.dpi), 1))
    if metadata.exif:
        chunks += tags.chunk(b"eXIf", metadata.exif.removeprefix(b"Exif\0\0"))
    if metadata.xmp:
        chunks += tags.chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + metadata.xmp)
    if metadata.iptc:
        chunks += tags.png_iptc(metadata.iptc)
    if metadata.comment:
        chunks += tags.png_text(b"Comment", metadata.comment)
    return chunks + metadata.text


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
    for tag in set(exif) & tags.TIFF_DESCRIPTIONS:
        ifd[tag] = exif.get_ifd(tag) if tag in (tags.EXIF_IFD, tags.GPS_IFD) else exif[tag]
    details = exif.get_ifd(tags.EXIF_IFD)
    if tags.INTEROP_IFD in details and (interop := exif.get_ifd(tags.INTEROP_IFD)):
        ifd[tags.EXIF_IFD] = {**details, tags.INTEROP_IFD: interop}
    rows = tiff_strip_rows(np.empty(shape[1:], dtype))
    layout = {256: width, 257: height, 258: (8 * dtype.itemsize,) * channels, 259: 8, 262: 2, 277: channels, 278: rows, 317: 2}
    layout |= {338: 2} if channels == 4 else {}
    layout |= {282: metadata.dpi[0], 283: metadata.dpi[1], 296: 2} if metadata.dpi else {}
    layout |= {tag: value for tag, value in ((tags.XMP, metadata.xmp), (tags.ICC, metadata.icc)) if value}
    if metadata.iptc:
        ifd.tagtype[tags.IPTC] = 7
        layout[tags.IPTC] = metadata.iptc
    for tag, value in layout.items():
        ifd[tag] = value
    for tag, values in ((273, np.cumsum([0, *lengths[:-1]]).tolist()), (279, lengths)):
        ifd.tagtype[tag] = 4  # LONG; Pillow adds where the strips begin to the offsets
        ifd[tag] = tuple(values)
    buffer = io.BytesIO()
    ifd.save(buffer)
    return buffer.getvalue()
