"""Photographs and paintings that lie in object stores and tables, as a batch wants them."""

from collections.abc import Sequence
from pathlib import Path

from limner.batch import planning
from limner.batch.batch import Tell
from limner.batch.planning import Job
from limner.batch.stores import PaintedTable, Store, StoreManifest, Table, place
from limner.errors import require
from limner.files import clear_leftovers
from limner.pictures import image
from limner.pictures.manifest import AnyManifest, Manifest


class StorePhotographs:
    """A file of an object store, or all pictures below a place in it."""

    def __init__(self, store: Store, path: Path) -> None:
        self.store, self._path = store, path
        self._found: dict[Path, tuple[int, int]] = {}

    def plan(self, out: Path | None, style: str, format: str | None, tell: Tell) -> list[Job]:
        self._found = self.store.find(self._path)
        if self._path in self._found:
            return planning.jobs_for([(self._path, Path(self._path.name))], out, style, format)
        pictures = [file for file in self._found if file.suffix.lower() in image.SUFFIXES]
        if out is not None and self._path in out.parents:  # what was painted there is no photograph
            pictures = [file for file in pictures if out not in file.parents]
        found = [(file, file.relative_to(self._path)) for file in planning.without_paintings(pictures, style)]
        require(bool(found), f"There are no pictures in {self._path}: name a place that holds some.")
        return planning.jobs_for(found, out, style, format)

    def stat(self, job: Job) -> tuple[int, int]:
        return self._found.get(job.source, (0, 0))


class TablePhotographs:
    """The rows of a table. It knows no times of theirs."""

    def __init__(self, table: Table) -> None:
        self.table = table

    def plan(self, out: Path | None, style: str, format: str | None, tell: Tell) -> list[Job]:
        names = [place(name) for name in self.table.read_names()]
        require(bool(names), f"There are no pictures in {self.table.path}: name a place that holds some.")
        return planning.jobs_for([(name, name) for name in names], out, style, format)

    def stat(self, job: Job) -> tuple[int, int]:
        return 0, 0


class StorePaintings:
    """A folder of an object store; or of this machine, where the photographs lie elsewhere."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store, self.out = store, folder
        self._there: dict[Path, tuple[int, int]] = {}

    def hold(self, folder: Path, tell: Tell) -> AnyManifest:
        if self.store.is_local:
            return Manifest(folder, tell)
        self._there = self.store.find(folder)
        return StoreManifest(self.store, folder, self._there)

    def clear(self, jobs: Sequence[Job]) -> None:
        if self.store.is_local:
            clear_leftovers({job.target.parent for job in jobs})

    def is_there(self, target: Path) -> bool:
        return target.exists() if self.store.is_local else target in self._there


class TablePaintings:
    """The rows of a table, which is a folder of Parquet files."""

    def __init__(self, store: Store, folder: Path, *, overwrite: bool) -> None:
        self.store, self.out, self._overwrite = store, folder, overwrite
        self._there: set[Path] = set()

    def hold(self, folder: Path, tell: Tell) -> AnyManifest:
        table = PaintedTable(self.store, folder)
        again = bool(table.entries) and self._overwrite
        require(not again, f"{folder} cannot be painted again: delete it, or name another `out`.")
        self._there = {folder / target for target in table.entries}
        return table

    def clear(self, jobs: Sequence[Job]) -> None:
        """Nothing: a part of a table is there as a whole or not at all."""

    def is_there(self, target: Path) -> bool:
        return target in self._there
