"""Files that appear whole or not at all, folders that belong to one program at a time, and what killed programs left."""

import errno
import hashlib
import os
import re
import secrets
import stat
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from limner.errors import LimnerError

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows, where what another program is writing to cannot be deleted or replaced
    fcntl = None

NAME = 255
"""Bytes that a file's name may have, on all common disks."""

OLD = 86_400.0
"""Seconds after which a left-over file has no writer any more, on disks that know no locks."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A place beside ``path`` to write to; at the end it takes ``path``'s name at one stroke. What fails leaves ``path`` as it was.

    Missing folders are made; a link is followed, and access rights of a file that was there stay. Raises ``LimnerError`` where the disk
    refuses.
    """
    place, writer = path, None
    beside = _beside(path)
    try:
        if path.is_symlink():
            place = Path(os.path.realpath(path))
            beside = _beside(place)
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.is_dir():
            raise LimnerError(f"{path} is a folder: give the name of a file to write.")
        writer = _create(beside, place)
        yield beside
        beside.replace(place)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):  # the folder may not be there, and what was to be told is told
            beside.unlink(missing_ok=True)
        if writer is not None:
            os.close(writer)


def _beside(path: Path) -> Path:
    """Hidden, short, and no name that a search for pictures would list."""
    return path.with_name(f".{secrets.token_hex(8)}.tmp")


def cannot_write(path: Path, error: OSError) -> LimnerError:
    reason = error.strerror or error
    return LimnerError(f"{path} cannot be written ({reason}): choose another place, or check access rights and free space.")


def _create(beside: Path, place: Path) -> int | None:
    """The empty file to write to, with the access rights of the one that it will replace; locked, which tells that its writer lives."""
    before = place.stat() if place.exists() else None
    mode = 0o666 if before is None else stat.S_IMODE(before.st_mode)
    writer = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)
    if before is not None and os.name == "posix":
        os.fchmod(writer, mode)  # what the umask took
        if (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
            with suppress(OSError):  # another's file, which only root may give back to its owner
                os.fchown(writer, before.st_uid, before.st_gid)
    if fcntl is None:  # what is open cannot be replaced there
        os.close(writer)
        return None
    lock(writer)
    return writer


def check_place(path: Path) -> None:
    """Raise ``LimnerError`` at once where a file cannot be written, before hours are spent on what goes into it. Leaves nothing behind."""
    missing: list[Path] = []
    beside = _beside(path)
    try:
        missing = [folder for folder in path.parents if not folder.exists()]
        if path.is_dir():
            raise LimnerError(f"{path} is a folder: give the name of a file to write.")
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(b"\0")  # a byte: a full disk makes empty files still
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        for folder in missing:
            with suppress(OSError):
                folder.rmdir()


@contextmanager
def trial() -> Iterator[Path]:
    """A place for a style file that is to be tried, gone afterwards. Raises ``LimnerError`` where TMPDIR has no room."""
    try:
        with tempfile.TemporaryDirectory(prefix="limner-") as folder:
            yield Path(folder) / "style.onnx"
    except OSError as error:
        raise LimnerError(
            f"A trial file cannot be written to {tempfile.gettempdir()} ({error.strerror or error}): make room, or name another folder in "
            "the environment variable TMPDIR."
        ) from error


# ----------------------------------------------------------- what is there, asked without exceptions: a name may be too long


def exists(path: Path) -> bool:
    with suppress(OSError, ValueError):
        return path.exists()
    return False


def is_file(path: Path) -> bool:
    with suppress(OSError, ValueError):
        return path.is_file()
    return False


def is_folder(path: Path) -> bool:
    with suppress(OSError, ValueError):
        return path.is_dir()
    return False


# ------------------------------------------------------------------------------------------------------------------ locks


def lock(file: int) -> bool | None:
    """Lock an open file or folder for this program, until it is closed: whether that worked; None where the disk knows no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES):
            return False
        return None  # network shares: ENOTSUP, ENOLCK, ENOSYS, EBADF for a folder, EINVAL, EIO, ...
    return True


_held: set[tuple[str, int]] = set()
"""Folders that this program holds, by which of its threads."""


@contextmanager
def holding(folder: Path, taken: str) -> Iterator[None]:
    """A folder, made where it is missing, that is this program's alone meanwhile; a thread that holds it may ask again.

    Raises ``LimnerError(taken)`` where another one holds it, or the disk's refusal. Where the disk knows no locks, nobody is kept out.
    """
    me = os.path.realpath(folder), threading.get_ident()
    if me in _held or fcntl is None:
        yield
        return
    made = not exists(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise cannot_write(folder, error) from error
    try:
        if lock(handle) is False:
            raise LimnerError(taken)
        _held.add(me)
        yield
    finally:
        _held.discard(me)
        os.close(handle)
        if made:
            with suppress(OSError):  # there is something in it
                folder.rmdir()


# ---------------------------------------------------------------------------------------------------------- left-over files


def clear_leftovers(folders: Iterable[Path]) -> None:
    """Delete what programs that were killed inside ``replacing`` have left in ``folders``; not what others are writing."""
    for folder in folders:
        for path in folder.glob(".*.tmp"):
            if re.fullmatch(r"\.[0-9a-f]{16}\.tmp", path.name) and _is_left(path):
                path.unlink(missing_ok=True)


def _is_left(path: Path) -> bool:
    """Whether nobody writes to a file any more."""
    try:
        handle = os.open(path, os.O_RDWR | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return False
    try:
        free = lock(handle)
        return time.time() - os.fstat(handle).st_mtime > OLD if free is None else free
    finally:
        os.close(handle)


def shortened(name: str, ending: str) -> str:
    """``name`` + ``ending``, where that is too long for a file's name with a part of ``name`` and a hash of it."""
    encoded = os.fsencode(name)
    if len(encoded) + len(os.fsencode(ending)) <= NAME:
        return name + ending
    mark = "~" + hashlib.sha256(encoded).hexdigest()[:8]
    room = max(NAME - len(mark) - len(os.fsencode(ending)), 1)
    return encoded[:room].decode("utf-8", "ignore") + mark + ending
