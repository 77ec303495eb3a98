"""Journals: files of JSON, an object a line, that only grow. Of a program killed in the middle of a line, that line is lost; no more."""

import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any, Self

from limner import limits


def line(entry: Mapping[str, Any]) -> str:
    """An entry as it stands in the file. In ASCII: names that are no Unicode come back as they were."""
    return json.dumps(entry) + "\n"


def whole_lines(data: bytes) -> list[bytes]:
    """Lines without their ends; not the one that was torn, or is just being written."""
    return data.split(b"\n")[:-1]


def read(path: Path) -> list[bytes]:
    """The whole lines of a journal that may be another program's. Raises OSError, and ``LimnerError`` where it is too large for one."""
    return whole_lines(limits.read(path, limits.TABLE))


class Journal:
    """A journal open for more entries, made where it is missing. Threads may append. All of it may raise OSError.

    Nothing keeps other programs out: whoever opens it holds its folder.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._lock = path, Lock()
        self._file = path.open("ab", buffering=0)  # what does not fit onto the disk is told at once, and not once more at the end

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def lines(self) -> list[bytes]:
        """The whole lines that are there; a torn one is cut off, so that the next entry begins a line. Raises as ``read`` does."""
        lines = read(self.path)
        self._file.truncate(sum(len(each) + 1 for each in lines))
        return lines

    def append(self, entry: Mapping[str, Any]) -> None:
        """Put an entry on record, in one write; or leave all as it was, where the disk is full."""
        data = line(entry).encode("ascii")
        with self._lock:
            written = self._file.write(data)
            if written < len(data):
                self._file.truncate(self._file.seek(0, os.SEEK_END) - written)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self) -> None:
        self._file.close()
