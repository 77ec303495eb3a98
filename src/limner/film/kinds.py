"""What is a film, told by its bytes and not by its name, and what a film can become."""

from contextlib import suppress
from pathlib import Path
from typing import Literal

from limner import limits
from limner.errors import require
from limner.pictures import signatures

Kind = Literal["film", "animation", ""]

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
"""ffmpeg's names of the formats of films that are written, by suffix."""

ANIMATIONS = {".gif": "GIF", ".webp": "WEBP", ".png": "PNG", ".apng": "PNG"}
"""Pillow's names of the formats of animated pictures, by suffix."""

FRAMES = ".frames"
"""Suffix of a folder that gets each frame as a PNG file."""

WRITABLE = (*CONTAINERS, *ANIMATIONS, FRAMES)

_SOUND = frozenset((".mka", ".m4a", ".m4b", ".wma", ".aac", ".ogg", ".oga", ".opus", ".mp3"))
"""Suffixes of containers of films that hold only sound."""

_STILL = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"RIFF")
_ASF = bytes.fromhex("3026b2758e66cf11")


def kind(path: Path) -> Kind:
    """Of a file: "film", "animation" (a picture of several frames), or "" for all others, and for what cannot be opened."""
    with suppress(Exception), limits.open_file(path) as file:
        head = file.read(signatures.HEAD)
        if _is_film(head) or (path.suffix.lower() in CONTAINERS and not head.startswith(_STILL)):
            return "" if path.suffix.lower() in _SOUND else "film"
        return "animation" if _is_animation(head) or (head[:4] == b"GIF8" and _frames_of_gif(path) > 1) else ""
    return ""


def _is_film(head: bytes) -> bool:
    if head[4:8] == b"ftyp":  # which HEIF and AVIF have as well, and say so
        return not signatures.told_by(head) and head[8:11] not in (b"M4A", b"M4B")
    transport = len(head) > 4 * 192 and any(all(head[first + n * step] == 0x47 for n in range(4)) for first, step in ((0, 188), (4, 192)))
    known = (b"\x1aE\xdf\xa3", b"FLV\1", _ASF, b"\0\0\1\xba", b"\0\0\1\xb3", b"OggS")  # Matroska and WebM, Flash, ASF, MPEG, Ogg
    older = head[4:8] in (b"moov", b"wide", b"mdat") or (head[:4] == b"RIFF" and head[8:12] == b"AVI ")
    return transport or older or head.startswith(known)


def _is_animation(head: bytes) -> bool:
    webp = head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and bool(head[20:21]) and bool(head[20] & 2)
    return webp or (head.startswith(b"\x89PNG\r\n\x1a\n") and b"acTL" in head[: head.find(b"IDAT")])


def _frames_of_gif(path: Path) -> int:
    from PIL import Image

    with Image.open(path, formats=["GIF"]) as image:
        try:
            image.seek(1)
        except EOFError:
            return 1
    return 2


def suffix_for(source: Path) -> str:
    """Of the painting of a film or an animation: the same, where that can be written."""
    suffix = source.suffix.lower()
    if kind(source) == "film":
        return source.suffix if suffix in CONTAINERS else ".mp4"
    with limits.open_file(source) as file:
        head = file.read(4)
    formats = {b"GIF8": ".gif", b"RIFF": ".webp"}
    fitting = formats.get(head, ".png")
    return source.suffix if ANIMATIONS.get(suffix) == ANIMATIONS[fitting] else fitting


def check_suffix(path: Path) -> None:
    """Raise ``LimnerError`` where a film of this name cannot be written."""
    require(
        path.suffix.lower() in WRITABLE,
        f"{path} is no name for a film that Limner writes: end it with {', '.join(CONTAINERS)}, {', '.join(ANIMATIONS)}, "
        f"or with {FRAMES} for a folder of single frames.",
    )
