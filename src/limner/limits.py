"""What files from anywhere may ask of this machine. Sizes are compared with these limits before anything is opened, for every door.

``docs/trust.md`` tells them to users; change both together.
"""

import os
import stat
from pathlib import Path
from typing import IO

from limner.errors import TooLargeError, require

PIXELS = 200_000_000
"""Of a picture, unless --max-pixels says otherwise: a few bytes can promise gigabytes (a decompression bomb)."""

SAMPLES = 8
"""Of each pixel: colours, alpha, and what some cameras and scanners add."""

METADATA = 16_000_000
"""Bytes of each kind of metadata (EXIF, XMP, text, ...); a longer one is left behind, and that is said."""

AHEAD = 25_000_000
"""Pixels up to which pictures are read while others are painted; of larger ones a single one is in memory."""

PIPE = 1 << 30
"""Bytes that are taken from a pipe, whose end nobody knows."""

PAINTING = 3e9
"""Bytes of memory that painting a picture may take, about."""

STYLE = 512_000_000
"""Bytes of a style file, or of weights beside one."""

CARD = 1_000_000
"""Bytes of a card."""

TABLE = 256_000_000
"""Bytes of what Limner itself writes down: manifests (some 600,000 paintings), configurations, records of runs."""

ARRAY = 4e9
"""Bytes of the pictures in an .npz file, which are kept in memory."""

MEMBERS = 10_000_000
"""Pictures in one film or archive."""

WEIGHTS = 2_000_000_000
"""Bytes of a VGG-19."""


def open_file(path: Path, most: float = float("inf")) -> IO[bytes]:
    """Open an ordinary file of at most so many bytes. Raises LimnerError for another, and OSError where it cannot be opened."""
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0)))  # noqa: SIM115 (pipes)
    try:
        found = os.fstat(file.fileno())
        require(stat.S_ISREG(found.st_mode), f"{path} is no ordinary file: name one.")
        require(
            found.st_size <= most, f"{path} has {found.st_size:,} bytes, more than the {most:,.0f} that such a file may have: name another."
        )
    except BaseException:
        file.close()
        raise
    return file


def read(path: Path, most: int) -> bytes:
    """All of an ordinary file. Raises as ``open_file`` does."""
    with open_file(path, most) as file:
        return file.read(most)


def read_text(path: Path, most: int = TABLE) -> str:
    """The same as text in UTF-8; raises UnicodeDecodeError, too."""
    return read(path, most).decode("utf-8")


def memory() -> float:
    """Bytes of memory that this machine has; infinite where it does not tell."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):  # Windows
        return float("inf")


def painting(needed: float, what: str, way_out: str, most: float = PAINTING) -> None:
    """Raise TooLargeError where ``what`` would take more memory than a picture may."""
    if needed > most:
        raise TooLargeError(f"{what} would take {needed / 1e9:,.1f} GB of memory, more than the limit of {most / 1e9:.3g}: {way_out}")
