"""What a file is, told by its bytes and not by its name; and of a TIFF, which of its pages is the picture."""

import struct
from dataclasses import dataclass
from typing import IO, NamedTuple

from limner.errors import LimnerError

SUFFIXES = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".jfi", ".mpo", ".png", ".apng", ".webp", ".tif", ".tiff"),
        *(".bmp", ".dib", ".gif", ".avif", ".avifs", ".heic", ".heif", ".hif", ".heics", ".heifs"),
    )
)
"""Lower-case suffixes by which pictures are found in folders; HEIC needs the optional package pillow-heif."""

HEAD = 4096
"""Bytes that tell what a file is."""

DIRECTORIES = 1000
"""Pages of a TIFF that are looked at."""

_HEIF = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1", b"miaf"))
_AVIF = frozenset((b"avif", b"avis"))
_RAW = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FOVb", b"\0MRM")  # Fujifilm, Olympus, Panasonic, Sigma, Minolta
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_SUBFILE, _OLD_SUBFILE, _PHOTOMETRIC, _CHILDREN, _DNG = 254, 255, 262, 330, 50706
_SENSOR = (32803, 34892)
"""Photometric interpretations of raw photographs: a colour filter array, and its linear form."""
_SIZES = {1: 1, 3: 2, 4: 4, 13: 4, 16: 8, 18: 8}
"""Bytes of the integer types of a TIFF."""


def told_by(head: bytes) -> str:
    """ "TIFF", "HEIF", "AVIF", "PNG", "raw" (a camera's raw photograph), or "" for all others, by the file's first HEAD bytes."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith(_RAW) or (head.startswith(_TIFF) and head[8:10] == b"CR"):
        return "raw"
    if head.startswith(_TIFF):
        return "TIFF"
    if head[4:8] != b"ftyp":
        return ""
    size = min(max(int.from_bytes(head[:4], "big"), 16), len(head))
    brands = {head[8:12], *(head[at : at + 4] for at in range(16, size, 4))}
    if b"crx " in brands:
        return "raw"
    return "AVIF" if brands & _AVIF else "HEIF" if brands & _HEIF else ""


def raw(name: str) -> LimnerError:
    return LimnerError(f"{name} is a raw photograph, as the camera's sensor saw it: develop it first, as a JPEG or a TIFF, and give that.")


@dataclass(frozen=True)
class Page:
    """The page of a TIFF that is the picture: number ``index`` of the file, or ``child`` of that page."""

    index: int = 0
    child: int | None = None
    pages: int = 1
    """How many there are, without thumbnails and masks."""

    @property
    def is_first(self) -> bool:
        return self.index == 0 and self.child is None


class _Directory(NamedTuple):
    following: int
    """Where the next one lies."""
    tags: dict[int, tuple[int, ...]]

    @property
    def is_picture(self) -> bool:
        """No thumbnail, no mask."""
        return not self.tags.get(_SUBFILE, (0,))[0] & 5 and self.tags.get(_OLD_SUBFILE, (1,))[0] != 2

    @property
    def is_raw(self) -> bool:
        return _DNG in self.tags or self.tags.get(_PHOTOMETRIC, (0,))[0] in _SENSOR


def tiff_page(file: IO[bytes], name: str) -> Page:
    """Which page of a TIFF is the picture: the first that is no thumbnail. Raises LimnerError for a raw photograph."""
    chain, at, seen = list[_Directory](), _first(file), set[int]()
    while at and at not in seen and len(chain) < DIRECTORIES:
        seen.add(at)
        found = _directory(file, at)
        if found is None:
            break
        chain.append(found)
        at = found.following
    if not chain:
        return Page()  # what is wrong with it is told when it is read
    children = [_directory(file, place) for place in chain[0].tags.get(_CHILDREN, ())[:DIRECTORIES]]
    if any(found is not None and found.is_raw for found in (*chain, *children)):
        raise raw(name)
    pictures = [number for number, found in enumerate(chain) if found.is_picture]
    if not pictures:
        inside = [number for number, found in enumerate(children) if found is not None and found.is_picture]
        return Page(child=inside[0]) if inside else Page()
    return Page(pictures[0], pages=len(pictures))


def _layout(file: IO[bytes]) -> tuple[str, bool] | None:
    """Byte order, and whether it is a BigTIFF."""
    file.seek(0)
    head = file.read(4)
    return None if head not in _TIFF else (">" if head[:2] == b"MM" else "<", b"+" in head)


def _first(file: IO[bytes]) -> int:
    layout = _layout(file)
    if layout is None:
        return 0
    order, big = layout
    file.seek(8 if big else 4)
    return _numbers(file.read(8 if big else 4), order + ("Q" if big else "I"))[0]


def _directory(file: IO[bytes], at: int) -> _Directory | None:
    """The directory at this place; None where there is none."""
    layout = _layout(file)
    if layout is None or at >= 1 << 62:
        return None
    order, big = layout
    entry, offset = (20, 8) if big else (12, 4)
    word = order + ("Q" if big else "I")
    file.seek(at)
    count = _numbers(file.read(8 if big else 2), word if big else order + "H")[0]
    if not 0 < count <= 65_535:
        return None
    data = file.read(count * entry + offset)
    if len(data) < count * entry:
        return None
    tags = {}
    for place in range(0, count * entry, entry):
        tag, kind = struct.unpack_from(order + "HH", data, place)
        if tag in (_SUBFILE, _OLD_SUBFILE, _PHOTOMETRIC, _CHILDREN, _DNG) and kind in _SIZES:
            tags[tag] = _values(file, data[place + 4 : place + entry], kind, order, word)
    return _Directory(_numbers(data[count * entry :], word)[0], tags)


def _values(file: IO[bytes], entry: bytes, kind: int, order: str, word: str) -> tuple[int, ...]:
    """An entry's values, at least one: in the entry itself where there is room, else where it says."""
    offset = len(entry) // 2
    size, count = _SIZES[kind], min(_numbers(entry[:offset], word)[0], DIRECTORIES)
    values = entry[offset:]
    if size * count > offset:
        file.seek(min(_numbers(values, word)[0], 1 << 62))
        values = file.read(size * count)
    return _numbers(values[: size * count], order + {1: "B", 2: "H", 4: "I", 8: "Q"}[size])


def _numbers(data: bytes, kind: str) -> tuple[int, ...]:
    """All whole numbers in ``data``; 0 where there is none."""
    size = struct.calcsize(kind)
    return tuple(each[0] for each in struct.iter_unpack(kind, data[: len(data) // size * size])) or (0,)
