"""Pictures that lie in no folder of this machine: anything that pyarrow reaches (``s3://``, ``gs://``, ...), and tables of pictures."""

import hashlib
import io
import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import dataset, fs, parquet

from limner import journal
from limner.errors import LimnerError
from limner.files import replacing
from limner.pictures import image
from limner.pictures.manifest import Entry, parse

NAME_COLUMNS = ("path", "file_name", "filename", "name", "key", "id")
"""Columns of a table that may hold the pictures' names; the first one that is there."""


OBJECT_STORES = ("s3", "gcs", "abfs")


@dataclass(frozen=True)
class Store:
    """A file system of pyarrow. Paths are its own: ``bucket/photos/a.jpg`` for ``s3://bucket/photos/a.jpg``."""

    files: fs.FileSystem

    @property
    def is_local(self) -> bool:
        return isinstance(self.files, fs.LocalFileSystem)

    def read(self, path: Path) -> bytes:
        try:
            with self.files.open_input_stream(path.as_posix()) as file:
                return bytes(file.read())
        except (OSError, pa.ArrowException) as error:
            raise LimnerError(f"{path} cannot be read ({_line(error)}): check that it is there, and your access to it.") from error

    def write(self, path: Path, data: bytes) -> None:
        """Write a file, whole or not at all."""
        if self.is_local:
            with replacing(path) as beside:
                beside.write_bytes(data)
            return
        # An object store has no folders to make, and shows an object when it is whole.
        beside = path if self.files.type_name in OBJECT_STORES else path.with_name(f".{secrets.token_hex(8)}.tmp")
        try:
            if beside != path:
                self.files.create_dir(path.parent.as_posix(), recursive=True)
            with self.files.open_output_stream(beside.as_posix()) as file:
                file.write(data)
            if beside != path:
                self.files.move(beside.as_posix(), path.as_posix())
        except (OSError, pa.ArrowException) as error:
            raise LimnerError(f"{path} cannot be written ({_line(error)}): check your access to it.") from error

    def find(self, place: Path) -> dict[Path, tuple[int, int]]:
        """The file ``place``, or all files below it, sorted, hidden ones left out: (bytes, nanoseconds since 1970) of each."""
        try:
            infos = [self.files.get_file_info(place.as_posix())]
            if infos[0].type == fs.FileType.Directory:
                infos = self.files.get_file_info(fs.FileSelector(place.as_posix(), recursive=True))
        except (OSError, pa.ArrowException) as error:
            raise LimnerError(f"{place} cannot be listed ({_line(error)}): check your access to it.") from error
        files = {Path(info.path): (info.size or 0, info.mtime_ns or 0) for info in infos if info.type == fs.FileType.File}
        return {path: files[path] for path in sorted(files) if not any(p.startswith(".") for p in path.relative_to(place).parts)}


def open_store(name: str) -> tuple[Store, Path]:
    """The file system of a URI or a local path, and the path in it. Raises ``LimnerError`` where it cannot be reached."""
    if "://" not in name:
        return Store(fs.LocalFileSystem()), Path(name).absolute()
    try:
        files, path = fs.FileSystem.from_uri(name)
    except (OSError, ValueError, ImportError) as error:  # ArrowInvalid is a ValueError
        shown = re.sub(r"//[^/@]*@", "//", name).partition("?")[0]  # without the keys that may stand in it
        raise LimnerError(f"{shown} cannot be reached ({_line(error)}): check the address, and your access to it.") from error
    return Store(files), Path(path)


@dataclass(frozen=True)
class Table:
    """Parquet files with a picture's file in each row."""

    path: str
    files: fs.FileSystem
    names: str
    """Column of the names."""
    pictures: str
    """Column of the files: binary, or a struct with binary `bytes`."""

    @classmethod
    def open(cls, store: Store, path: Path) -> "Table":
        """Raises ``LimnerError`` where it is no such table."""
        try:
            schema = dataset.dataset(path.as_posix(), filesystem=store.files, format="parquet").schema
        except (OSError, pa.ArrowException) as error:
            raise LimnerError(f"{path} cannot be read as Parquet ({_line(error)}): check the file.") from error
        names = [name for name in NAME_COLUMNS if name in schema.names and _is_text(schema.field(name).type)]
        pictures = [field.name for field in schema if _holds_files(field.type)]
        if not names or not pictures:
            raise LimnerError(
                f"{path} is no table of pictures: it needs a column of names ({', '.join(NAME_COLUMNS)}) "
                "and one of whole picture files (binary, or a struct with a binary field named bytes)."
            )
        return cls(path.as_posix(), store.files, names[0], pictures[0])

    def read_names(self) -> list[str]:
        table = dataset.dataset(self.path, filesystem=self.files, format="parquet").to_table(columns=[self.names])
        names: list[str | None] = table.column(self.names).to_pylist()
        for name in names:
            if not name or Path(name).is_absolute() or ".." in Path(name).parts:
                raise LimnerError(f"{self.path} has a row with the name {name!r}, which is none for a file: give each row a relative path.")
        return [name for name in names if name]


class PaintedTable:
    """A folder of Parquet files with a painting in each row: `path`, `image` (its file) and `limner`, its line of the manifest.

    A painting and what is known of it come at one stroke. Raises ``LimnerError`` where something else is there.
    """

    SCHEMA = pa.schema([("path", pa.string()), ("image", pa.binary()), ("limner", pa.string())])

    def __init__(self, store: Store, folder: Path) -> None:
        self._store, self._folder = store, folder
        self.entries: dict[str, Entry] = {}
        parts = [path.as_posix() for path in store.find(folder) if path.suffix == ".parquet"]
        try:
            rows = [dataset.dataset(parts, filesystem=store.files, format="parquet").to_table(columns=["limner"])] if parts else []
        except (OSError, pa.ArrowException) as error:
            raise LimnerError(f"{folder} is there, and no table that Limner painted ({_line(error)}): name another `out`.") from error
        for table in rows:
            self.entries |= parse(journal.whole_lines("".join(table.column("limner").to_pylist()).encode()), str(folder))

    def add(self, entry: Entry) -> None:
        """On record already: in its row."""

    def close(self) -> None:
        pass

    @classmethod
    def write(cls, store: Store, folder: Path, rows: Sequence[tuple[str, bytes, str]]) -> None:
        """Write a part: path, file and line of each painting. The same paintings make the same part, should they be painted twice."""
        columns = dict(zip(cls.SCHEMA.names, zip(*rows, strict=True), strict=True))
        sink = io.BytesIO()
        parquet.write_table(pa.table(columns, cls.SCHEMA), sink, compression="none")  # the files in it are compressed
        name = hashlib.sha256("\n".join(sorted(columns["path"])).encode()).hexdigest()[:16]
        store.write(folder / f"part-{name}.parquet", sink.getvalue())


def place(name: str) -> Path:
    """A row's name as that of a file: with the suffix of a picture, which may be missing."""
    path = Path(name)
    return path if path.suffix.lower() in image.SUFFIXES else path.with_name(f"{path.name}.png")


class StoreManifest:
    """The manifest of a place where nothing can be appended to a file: a new ``limner-manifest-*.jsonl`` now and then."""

    MOST, SECONDS = 500, 30.0
    """Paintings, or time, after which the next one is written."""

    def __init__(self, store: Store, folder: Path, there: dict[Path, tuple[int, int]]) -> None:
        self._store, self._folder = store, folder
        self.entries: dict[str, Entry] = {}
        for path in there:
            if path.parent == folder and re.fullmatch(r"limner-manifest(-\d+)?\.jsonl", path.name):
                self.entries |= parse(journal.whole_lines(store.read(path)), str(path))
        self._new: list[Entry] = []
        self._since = time.monotonic()

    def add(self, entry: Entry) -> None:
        self._new.append(entry)
        self.entries[entry.target] = entry
        if len(self._new) >= self.MOST or time.monotonic() - self._since >= self.SECONDS:
            self._flush()

    def close(self) -> None:
        self._flush()

    def _flush(self) -> None:
        if self._new:
            path = self._folder / f"limner-manifest-{time.time_ns():020d}.jsonl"
            self._store.write(path, "".join(entry.line() for entry in self._new).encode("ascii"))
        self._new, self._since = [], time.monotonic()


def _holds_files(kind: Any) -> bool:
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" and _holds_files(field.type) for field in kind)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
