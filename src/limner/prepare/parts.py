"""What is written part by part: files, tar shards, pieces of an .npz; and the record of those, which knows the parts that are whole."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np

from limner import files as disk
from limner import journal
from limner.errors import LimnerError, require
from limner.files import replacing
from limner.journal import Journal

NAME = "prepared.jsonl"
"""First line: what was asked for. Then one line for each part: which pictures were taken, which were not, and why."""

Add: TypeAlias = Callable[[str, bytes], None]
"""Writes one picture: (name without suffix, its bytes)."""

OpenPart: TypeAlias = Callable[[str, int], AbstractContextManager[Add]]
"""(array, number of the part) -> what adds to it. The part is whole where the context ends, and there is nothing of it where it fails."""


@dataclass
class Part:
    """One line of the record: what became of the pictures that were read for it."""

    array: str
    read: int = 0
    taken: dict[str, list[str]] = field(default_factory=dict)
    """Name of the output, without suffix and number of the crop -> [key in its source, difference hash]."""
    near: list[str] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)
    written: int = 0


def _sound(part: Part) -> Part:
    """The part itself, where its values are of their types. Raises ValueError for another."""
    numbers = all(type(number) is int and number >= 0 for number in (part.read, part.written))
    texts = all(isinstance(text, str) for text in (part.array, *part.near, *part.bad))
    if not (
        numbers and texts and all(len(key_and_hash) == 2 and int(key_and_hash[1], 16) < 1 << 64 for key_and_hash in part.taken.values())
    ):
        raise ValueError("a value is of another type")
    return part


@contextmanager
def files(folder: Path, array: str, number: int, suffix: str = ".jpg") -> Iterator[Add]:
    def add(name: str, data: bytes) -> None:
        with replacing(folder / f"{name}{suffix}") as beside:
            beside.write_bytes(data)

    yield add


@contextmanager
def shard(folder: Path, array: str, number: int) -> Iterator[Add]:
    path = folder / f"shard-{number:05d}.tar"
    with replacing(path) as beside, tarfile.open(beside, "w") as tar:

        def add(name: str, data: bytes) -> None:
            member = tarfile.TarInfo(f"{name}.jpg")  # its time and owner are zero: the same pictures give the same bytes
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))

        yield add
        empty = not tar.getmembers()
    if empty:  # where the last pictures were all near-duplicates
        path.unlink()


@contextmanager
def piece(folder: Path, array: str, number: int) -> Iterator[Add]:
    with replacing(folder / f"{array}-{number:05d}.raw") as beside, beside.open("wb") as file:

        def add(name: str, data: bytes) -> None:
            file.write(data)

        yield add


def join(out: Path, folder: Path, counts: Mapping[str, int], size: int, about: Mapping[str, Any] = MappingProxyType({})) -> None:
    """Join the parts in `folder` to the file `out`, a piece at a time, and remove the folder. `about` goes along, for `told_by`."""
    with replacing(folder / "whole") as beside, zipfile.ZipFile(beside, "w") as file:
        file.comment = json.dumps(dict(about)).encode()
        for name, count in counts.items():
            member = zipfile.ZipInfo(f"{name}.npy")  # its date is that of 1980
            member.compress_type = zipfile.ZIP_DEFLATED
            with file.open(member, "w", force_zip64=True) as stream:
                header = {"descr": "|u1", "fortran_order": False, "shape": (count, size, size, 3)}
                np.lib.format.write_array_header_1_0(stream, header)
                for part in sorted(folder.glob(f"{name}-*.raw")):
                    with part.open("rb") as raw:
                        shutil.copyfileobj(raw, stream)
    trash = _trash(folder)
    try:
        (folder / "whole").replace(out)
        shutil.rmtree(trash, ignore_errors=True)
        folder.rename(trash)  # gone at one stroke: a folder half deleted would look like a run that was ended
        shutil.rmtree(trash)
    except OSError as error:
        raise LimnerError(f"{out} cannot be written ({error.strerror}): check access rights, and give the same command again.") from error


def told_by(out: Path, folder: Path) -> dict[str, Any]:
    """What `join` was told about a file that is whole; nothing where it is another's. Sweeps up what a run killed at its very end left."""
    shutil.rmtree(_trash(folder), ignore_errors=True)
    with suppress(OSError, ValueError, RecursionError, zipfile.BadZipFile), zipfile.ZipFile(out) as file:
        about = json.loads(file.comment)
        return about if isinstance(about, dict) else {}
    return {}


def _trash(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.done")


class PreparedParts:
    """What was asked for, and the parts that are whole. Begins a new one, or reads the one of a run that was ended.

    Raises LimnerError where that one was asked for something else, or the folder holds something else.
    """

    def __init__(self, folder: Path, header: dict[str, Any]) -> None:
        self.path = folder / NAME
        self.parts: list[Part] = []
        foreign = f"{folder} is there already, and not by `limner prepare`: name another `out`."
        require(not folder.exists() or folder.is_dir(), foreign)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise disk.cannot_write(folder, error) from error
        self._held = ExitStack()
        with ExitStack() as held:
            held.enter_context(disk.holding(folder, f"Another Limner is preparing {folder}: wait until it is done, or name another `out`."))
            if self.path.exists():
                self._read(header)
            else:
                require(all(file.suffix == ".tmp" for file in folder.iterdir()), foreign)
                with replacing(self.path) as beside:
                    beside.write_text(journal.line(header), encoding="ascii")
            for left in folder.rglob(".*.tmp"):  # by a run that was killed
                left.unlink()
            self._held = held.pop_all()

    def close(self) -> None:
        """Let others in."""
        self._held.close()

    def _read(self, header: dict[str, Any]) -> None:
        try:
            with Journal(self.path) as file:
                begun, *parts = map(json.loads, file.lines())
            self.parts = [_sound(Part(**part)) for part in parts]
            other = [name for name in {**begun, **header} if begun.get(name) != header.get(name)]
        except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise LimnerError(f"{self.path} is damaged ({error}): delete its folder, and begin anew.") from error
        if other:
            raise LimnerError(
                f"{self.path.parent} was begun with other {', '.join(other)}: repeat what was asked then, or name another `out`."
            )

    def append(self, part: Part) -> None:
        try:
            with Journal(self.path) as file:
                file.append(asdict(part))
        except OSError as error:
            raise LimnerError(f"{self.path} cannot be written ({error.strerror}): make room, and give the same command again.") from error
        self.parts.append(part)

    def forget(self) -> None:
        """Leave nothing behind of a run that found nothing."""
        for file in (self.path, *self.path.parent.glob("*.raw")):
            file.unlink()
        with suppress(OSError):  # not empty: something else has been put there
            self.path.parent.rmdir()
