"""What lies beside the pixels in a picture's file: EXIF, XMP, IPTC, comments and text; kept where there is room, mended where it would lie.

A painting is upright, may be smaller than the photograph, and is one picture: what tells of another orientation or size, of thumbnails,
films, gain maps and parts that lay behind the photograph is no longer true, and other programs would act on it.
"""

import re
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import IO, NamedTuple

from PIL import Image

from limner.limits import METADATA

ORIENTATION, EXIF_IFD, GPS_IFD, INTEROP_IFD, XMP, IPTC, ICC = 0x0112, 0x8769, 0x8825, 0xA005, 0x02BC, 0x83BB, 0x8773
# The IFD of a TIFF mixes what describes the picture with how the file is laid out; only the former may travel on.
TIFF_DESCRIPTIONS = frozenset((270, 271, 272, 274, 305, 306, 315, 316, 33432, EXIF_IFD, GPS_IFD, *range(40091, 40096)))
_LAYOUT = frozenset((254, 255, 256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 513, 514, XMP, IPTC, ICC))
# Compressed bits, size, and places in the photograph.
_DETAILS_NO_LONGER_TRUE = (0x9102, 0x9214, 0xA002, 0xA003, 0xA214)

_ATTRIBUTES = re.compile(
    rb"""\s(?:tiff:Orientation|tiff:Image(?:Width|Length)|exif:Pixel[XY]Dimension|xmpNote:HasExtendedXMP|hdrgm:\w{1,40}"""
    rb"""|G?Camera:M(?:otionPhoto|icroVideo)\w{0,40})\s{0,8}=\s{0,8}(?:"[^"]*"|'[^']*')"""
)
_ELEMENTS = tuple(
    name.encode()
    for name in (
        *("tiff:Orientation", "tiff:ImageWidth", "tiff:ImageLength", "exif:PixelXDimension", "exif:PixelYDimension"),
        *("xmp:Thumbnails", "xmpNote:HasExtendedXMP", "Container:Directory", "GContainer:Directory"),
        *("GCamera:MotionPhoto", "GCamera:MicroVideo", "Camera:MotionPhoto"),
    )
)

_XMP_KEYWORD = b"XML:com.adobe.xmp"
_PROFILES = frozenset(b"raw profile type " + name for name in (b"exif", b"app1", b"xmp", b"icc", b"icm"))
_TEXT = (b"tEXt", b"zTXt", b"iTXt")
_PILLOW_CHUNK, _PILLOW_TEXTS = 1 << 20, 64 << 20
"""What Pillow takes of unpacked text and profiles; it calls a file damaged that holds more."""


def true_xmp(xmp: bytes) -> bytes:
    """An XMP packet without what is no longer true of a painting. The time it takes grows with the packet's length, and no faster."""
    for name in _ELEMENTS:
        parts, at = [], 0
        while (begin := xmp.find(b"<" + name, at)) >= 0:
            after = begin + 1 + len(name)
            if xmp[after : after + 1] not in (b">", b" ", b"\t", b"\r", b"\n"):
                parts.append(xmp[at:after])  # a longer name
                at = after
                continue
            end = xmp.find(b"</" + name + b">", after)
            if end < 0:
                break
            parts.append(xmp[at:begin])
            at = end + len(name) + 3
        xmp = b"".join((*parts, xmp[at:]))
    return _ATTRIBUTES.sub(b"", xmp)


def true_exif(original: Image.Exif, *, is_tiff: bool) -> bytes | None:
    """EXIF of an upright picture: IFD 0 and the IFDs below; not IFD 1, which is the thumbnail of the photo. None where nothing is left."""
    tags = set(original) & TIFF_DESCRIPTIONS if is_tiff else set(original) - _LAYOUT
    if not tags - {ORIENTATION}:
        return None
    exif = Image.Exif()
    exif.endian = original.endian  # maker notes have the byte order of the whole
    for tag in tags:
        exif[tag] = dict(original.get_ifd(tag)) if tag in (EXIF_IFD, GPS_IFD) else original[tag]
    exif[ORIENTATION] = 1
    if EXIF_IFD in tags:
        details = exif[EXIF_IFD]
        if INTEROP_IFD in details:
            details[INTEROP_IFD] = original.get_ifd(INTEROP_IFD)
        for tag in _DETAILS_NO_LONGER_TRUE:
            details.pop(tag, None)
    return exif.tobytes()


# ------------------------------------------------------------------------------------------------------------------- IPTC


def iptc_of(image: Image.Image, stored: object = None) -> bytes | None:
    """IPTC-IIM records of a picture; ``stored`` is what the tag of a TIFF holds."""
    if stored is None and image.format == "TIFF":
        stored = getattr(image, "tag_v2", {}).get(IPTC)
    if stored is None:
        resources = image.info.get("photoshop")
        stored = resources.get(0x0404) if isinstance(resources, dict) else None
    if isinstance(stored, tuple) and all(isinstance(number, int) and 0 <= number < 1 << 32 for number in stored):  # as Photoshop writes it
        order = getattr(getattr(image, "tag_v2", None), "_endian", "<")
        stored = struct.pack(f"{order}{len(stored)}I", *stored)
    return stored.rstrip(b"\0") if isinstance(stored, bytes) and stored.startswith(b"\x1c") else None


def iptc_resource(iptc: bytes) -> bytes:
    """IPTC-IIM records as the one image resource of a Photoshop block."""
    return b"8BIM\x04\x04\0\0" + struct.pack(">I", len(iptc)) + iptc + b"\0" * (len(iptc) % 2)


def iptc_segment(iptc: bytes) -> bytes:
    """The same as a segment of a JPEG file."""
    data = b"Photoshop 3.0\0" + iptc_resource(iptc)
    return b"\xff\xed" + struct.pack(">H", len(data) + 2) + data


# -------------------------------------------------------------------------------------------------------------------- PNG


class PngTexts(NamedTuple):
    """What a PNG file tells in words."""

    chunks: bytes
    """Text chunks as they are, without profiles that say it again."""
    xmp: bytes | None
    icc: bytes | None
    lost: tuple[str, ...]
    """What was too long to be kept."""
    readable: bool
    """Whether Pillow reads a file with such texts."""


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_chunks(file: IO[bytes]) -> Iterator[tuple[bytes, int, int]]:
    """(kind, place of its data, length) of each chunk of a PNG file, up to its end or the first damage."""
    at = 8
    while True:
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            return
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        yield kind, at + 8, length
        if kind == b"IEND":
            return
        at += length + 12


def png_texts(file: IO[bytes]) -> PngTexts:
    kept, xmp, icc, lost, readable, total, unpacked = list[bytes](), None, None, list[str](), True, 0, 0
    for kind, place, length in png_chunks(file):
        if kind not in (*_TEXT, b"iCCP"):
            continue
        file.seek(place)
        data = file.read(min(length, METADATA + 1))
        if len(data) < min(length, METADATA + 1):
            break  # cut short; told when it is decoded
        keyword, _, rest = data.partition(b"\0")
        text = _unpacked(kind, rest)
        unpacked += len(text)
        readable = readable and (len(text) <= _PILLOW_CHUNK or kind == b"tEXt") and unpacked <= _PILLOW_TEXTS
        total += len(data)
        if kind == b"iCCP":
            icc = text if len(text) <= METADATA else None
        elif keyword == _XMP_KEYWORD:
            xmp = text
        elif keyword.lower() in _PROFILES:
            continue  # it was read, and goes out mended
        elif total <= METADATA:
            kept.append(chunk(kind, data))
        else:
            lost.append(f"text of {length:,} bytes")
    return PngTexts(b"".join(kept), xmp, icc, tuple(lost), readable)


def _unpacked(kind: bytes, rest: bytes) -> bytes:
    """What follows the keyword, unpacked as far as it may be of use; nothing where it is damaged."""
    if kind == b"tEXt":
        return rest
    if kind == b"iTXt":
        packed, rest = rest[:1] == b"\1", rest[2:]
        rest = rest.partition(b"\0")[2].partition(b"\0")[2]  # language, translated keyword
        if not packed:
            return rest
    else:
        rest = rest[1:]
    try:
        return zlib.decompressobj().decompress(rest, METADATA + 1)
    except zlib.error:
        return b""


def png_without_texts(file: IO[bytes]) -> bytes:
    """A PNG file without text and colour profile."""
    parts = [b"\x89PNG\r\n\x1a\n"]
    for kind, place, length in png_chunks(file):
        if kind not in (*_TEXT, b"iCCP"):
            file.seek(place - 8)
            parts.append(file.read(length + 12))
    return b"".join(parts)


def png_iptc(iptc: bytes) -> bytes:
    """IPTC-IIM records as ImageMagick and ExifTool keep them in a PNG file."""
    resource = iptc_resource(iptc)
    digits = resource.hex().encode()
    lines = b"\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
    return chunk(b"zTXt", b"Raw profile type iptc\0\0" + zlib.compress(b"\niptc\n%8d\n%s\n" % (len(resource), lines)))


def png_text(keyword: bytes, text: bytes) -> bytes:
    return chunk(b"tEXt", keyword + b"\0" + text.replace(b"\0", b" "))


def too_long(kinds: Iterable[tuple[str, bytes | None]]) -> tuple[str, ...]:
    """Names of those kinds of metadata that are longer than what is kept."""
    return tuple(f"{name} of {len(data):,} bytes" for name, data in kinds if data is not None and len(data) > METADATA)
