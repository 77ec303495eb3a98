"""Many machines: the same batch on Ray Data. An actor on each machine holds the style, and paints as ``limner.batch.batch`` does.

Engines sum up in an order that depends on the number of cores: machines of the same kind paint the same bytes, as one does without Ray.
"""

import io
import logging
import math
import os
import sys
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray.data

from limner.batch import planning
from limner.batch.batch import Batch, Options, Painter, Result, pipeline
from limner.batch.planning import Job
from limner.batch.stores import PaintedTable, Store, StoreManifest, Table, open_store, place
from limner.errors import LimnerError, require
from limner.pictures import image
from limner.pictures.manifest import Record
from limner.style.style import Style

ROWS, TABLE_ROWS = 16, 128
"""Most pictures that are handed to an actor at once: it tells of them together, and if they go into a table, they are one file of it."""

Rows = dict[str, Any]
"""A batch of Ray Data: a NumPy array, or a list, for each column."""


class RayBatch(Batch):
    """A batch whose pictures are painted by Ray, on this machine or on the cluster of RAY_ADDRESS. Results come as they are done.

    An input is a folder or pattern of this machine (which the whole cluster must see), a URI that pyarrow knows, or a Parquet table of
    pictures; ``out`` is a folder, a URI, or a table likewise. Raises as ``Batch`` does.
    """

    _source: Store | None = None
    _target: Store | None = None
    _table: Table | None = None
    _painted: dict[Path, tuple[int, int]] | None = None
    """What lies in a target elsewhere, or in a table."""
    _there: dict[Path, tuple[int, int]]
    """Bytes and time of each photograph that lies elsewhere."""
    _into: Path | None = None
    """The table that the paintings go into, if they do."""

    def plan(self, inputs: Sequence[str], out: str | None) -> tuple[list[Job], Path | None]:
        require(out is not None, "`executor` ray paints into a folder: name one with `out`.")
        remote = [name for name in inputs if "://" in name or name.endswith(".parquet")]
        into_table = out is not None and out.endswith(".parquet")
        if out is None or not (remote or "://" in out or into_table):
            jobs, local = super().plan(inputs, out)
            require(local is not None, f"`executor` ray paints into a folder, which {out} is not: name one with `out`.")
            return jobs, local
        self._target, folder = open_store(out)
        self._into = folder if into_table else None
        if not remote:
            return planning.plan(
                [Path(name).absolute() for name in inputs], folder, self.style.card.name, self.options.format, self.tell
            ), folder
        require(len(inputs) == 1, f"{remote[0]} cannot be painted together with other inputs: name it alone.")
        self._source, path = open_store(inputs[0])
        found = self._find(self._source, path, folder)
        require(bool(found), f"There are no pictures in {path}: name a place that holds some.")
        return planning.jobs_for(found, folder, self.style.card.name, self.options.format), folder

    def _find(self, source: Store, path: Path, folder: Path) -> list[tuple[Path, Path]]:
        """(file, place below ``folder``) of each photograph."""
        if path.suffix == ".parquet":
            self._table = Table.open(source, path)
            self._there = {}  # a table tells no times
            return [(place(name), place(name)) for name in self._table.read_names()]
        self._there = source.find(path)
        if path in self._there:
            return [(path, Path(path.name))]
        pictures = [file for file in self._there if file.suffix.lower() in image.SUFFIXES]
        if path in folder.parents:  # what was painted there is no photograph
            pictures = [file for file in pictures if folder not in file.parents]
        return [(file, file.relative_to(path)) for file in planning.without_paintings(pictures, self.style.card.name)]

    def hold(self, folder: Path) -> Record:
        if self._target is not None and self._into is not None:
            table = PaintedTable(self._target, folder)
            require(not (table.entries and self.options.overwrite), f"{folder} cannot be painted again: delete it, or name another `out`.")
            self._painted = {folder / target: (0, 0) for target in table.entries}
            return table
        if self._target is None or self._target.is_local:
            return super().hold(folder)
        self._painted = self._target.find(folder)
        return StoreManifest(self._target, folder, self._painted)

    def clear(self) -> None:
        if self._target is None or self._target.is_local:
            super().clear()

    def stat(self, job: Job) -> tuple[int, int]:
        return super().stat(job) if self._source is None else self._there.get(job.source, (0, 0))

    def is_there(self, target: Path) -> bool:
        return super().is_there(target) if self._painted is None else target in self._painted

    def open(self) -> None:
        """Nothing: the engine is opened where pictures are painted."""

    def results(self, jobs: Sequence[Job]) -> Generator[Result, None, None]:
        by_target = {_full(job.target, self._target): job for job in jobs}
        with _ray():
            for row in self._dataset(jobs).iter_rows():
                if row["fatal"]:
                    raise LimnerError(row["error"])
                job = by_target[row["target"]]
                if row["error"]:
                    yield Result(job, "failed", LimnerError(row["error"]))
                else:
                    self.record(job)
                    yield Result(job, "painted", lost=tuple(row["lost"].splitlines()))

    def _dataset(self, jobs: Sequence[Job]) -> ray.data.Dataset:
        """Rows with `target`, `error` (a sentence, or empty), `fatal` (whether no picture can be painted) and `lost` (lines)."""
        gpu = self.options.device == "gpu"
        nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU" if gpu else "CPU", 0) >= 1]
        # One actor for each machine, or GPU: the engine takes all cores. One core is left for Ray's own tasks, which read.
        actors = max(1, sum(int(node["Resources"]["GPU"]) for node in nodes) if gpu else len(nodes))
        cores = min((int(node["Resources"]["CPU"]) for node in nodes), default=1)
        most = ROWS if self._into is None else TABLE_ROWS
        if self._table is None:
            rows = [
                {
                    "source": _full(job.source, self._source),
                    "target": _full(job.target, self._target),
                    "place": job.place,
                    "line": self._entries[job.target].line(),
                }
                for job in jobs
            ]
            blocks = max(math.ceil(len(rows) / most), min(len(rows), 2 * actors))
            data, columns = ray.data.from_items(rows, override_num_blocks=blocks), None
        else:
            columns = _Columns(
                self._table.names,
                self._table.pictures,
                {job.source.as_posix(): (job.target, self._entries[job.target].line()) for job in jobs},
            )
            data = ray.data.read_parquet(
                self._table.path, filesystem=self._table.files, columns=[columns.names, columns.pictures], partitioning=None
            )
        files = {path.name: path.read_bytes() for path in (self.style.path, self.style.path.with_suffix(".safetensors")) if path.is_file()}
        return data.map_batches(
            _Actor,
            fn_constructor_args=(files, self.style.path.name, self.options, self._source, self._target, columns, self._into),
            batch_size=most,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=actors),
            num_cpus=1 if gpu else max(1, cores - 1),
            num_gpus=1 if gpu else None,
        )


@dataclass(frozen=True)
class _Columns:
    """What an actor must know of a table."""

    names: str
    pictures: str
    wanted: dict[str, tuple[Path, str]]
    """Target and line of the manifest of each row that is to be painted, by its place."""


class _Actor:
    """A style on one machine."""

    def __init__(
        self,
        files: dict[str, bytes],
        name: str,
        options: Options,
        source: Store | None,
        target: Store | None,
        columns: _Columns | None,
        into: Path | None,
    ) -> None:
        self._error = ""
        self._columns = columns
        self._folder = tempfile.TemporaryDirectory(prefix="limner-")  # the style goes along: no machine needs to have it
        for file, data in files.items():
            Path(self._folder.name, file).write_bytes(data)
        style = Style(Path(self._folder.name, name), runtime=options.runtime, device=options.device)
        try:
            style.open()
        except LimnerError as error:  # Ray would start it again and again
            self._error = str(error)
        here = open_store("")[0]
        self._painter: Painter
        if target is not None and into is not None:
            self._painter = _TablePainter(style, options, source or here, target, into)
        elif source or target:
            self._painter = _StorePainter(style, options, source or here, target or here)
        else:
            self._painter = Painter(style, options)

    def __call__(self, rows: Rows) -> Rows:
        jobs, lines = self._jobs(rows)
        if self._error:
            return {"target": [""], "error": [self._error], "fatal": [True], "lost": [""]}
        results = list(pipeline(jobs, self._painter.read, self._painter.paint, self._write))
        if isinstance(self._painter, _TablePainter):
            try:
                self._painter.put(lines)
            except LimnerError as error:
                results = [Result(result.job, "failed", result.error or error) for result in results]
        return {
            "target": [result.job.target.as_posix() for result in results],
            "error": [str(result.error or "") for result in results],
            "fatal": [False] * len(results),
            "lost": ["\n".join(result.lost) for result in results],
        }

    def _write(self, job: Job, painted: tuple[image.Picture | None, tuple[str, ...]]) -> tuple[str, ...]:
        self._painter.write(job, painted[0])
        return painted[1]

    def _jobs(self, rows: Rows) -> tuple[list[Job], dict[Path, str]]:
        """And the line of the manifest for each target."""
        if self._columns is None:
            columns = zip(rows["source"], rows["target"], rows["place"], strict=True)
            jobs = [Job(Path(str(source)), Path(str(target)), str(where)) for source, target, where in columns]
            return jobs, {job.target: str(line) for job, line in zip(jobs, rows["line"], strict=True)}
        places = [place(str(name)) for name in rows[self._columns.names]]
        pictures = dict(zip(places, rows[self._columns.pictures], strict=True))
        assert isinstance(self._painter, _StorePainter)
        self._painter.rows = {path: picture["bytes"] if isinstance(picture, dict) else picture for path, picture in pictures.items()}
        wanted = self._columns.wanted
        jobs = [Job(path, wanted[path.as_posix()][0], path.as_posix()) for path in places if path.as_posix() in wanted]
        return jobs, {job.target: wanted[job.place][1] for job in jobs}


class _StorePainter(Painter):
    """The same steps for files that lie elsewhere."""

    def __init__(self, style: Style, options: Options, source: Store, target: Store) -> None:
        super().__init__(style, options)
        self._source, self._target = source, target
        self.rows: dict[Path, bytes | None] = {}
        """Files that came in a table."""

    def read(self, job: Job) -> image.Picture:
        return self._whole(job)

    def _whole(self, job: Job) -> image.Picture:
        return self.sized(image.decode(io.BytesIO(self._bytes(job)), str(job.source), max_pixels=self.options.max_pixels))

    def write(self, job: Job, painted: image.Picture | None) -> None:
        if painted is None:
            return
        if self.is_photograph(painted, job.target.suffix):
            data = self._bytes(job)
        else:
            data = image.encode(painted, job.target.suffix, strip=self.options.strip, quality=self.options.quality)
        self.keep(job.target, data)

    def keep(self, target: Path, data: bytes) -> None:
        self._target.write(target, data)

    def _bytes(self, job: Job) -> bytes:
        if job.source not in self.rows:
            return self._source.read(job.source)
        return self.rows[job.source] or b""  # told as an empty file


class _TablePainter(_StorePainter):
    """The same steps for paintings that become rows of a table, some at a time."""

    def __init__(self, style: Style, options: Options, source: Store, target: Store, table: Path) -> None:
        super().__init__(style, options, source, target)
        self._table = table
        self._finished: dict[Path, bytes] = {}

    def keep(self, target: Path, data: bytes) -> None:
        self._finished[target] = data

    def put(self, lines: dict[Path, str]) -> None:
        """Write what is finished as a part of the table, with the lines of the manifest."""
        rows = [(target.relative_to(self._table).as_posix(), data, lines[target]) for target, data in sorted(self._finished.items())]
        self._finished.clear()
        if rows:
            PaintedTable.write(self._target, self._table, rows)


def _full(path: Path, store: Store | None) -> str:
    """A path as another program must know it."""
    return (path.absolute() if store is None else path).as_posix()


@contextmanager
def _ray() -> Iterator[None]:
    """Ray, as quiet as can be: that of the caller, of RAY_ADDRESS, or one on this machine that ends with the batch."""
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    address = os.environ.get("RAY_ADDRESS", "local")
    try:
        with _silence():
            ray.init(address, logging_level=logging.ERROR, log_to_driver=False, include_dashboard=None if address != "local" else False)
    except ConnectionError as error:
        raise LimnerError(
            f"No Ray answers at {address}: start the cluster, correct RAY_ADDRESS, or set RAY_AUTH_MODE=token where it asks for one."
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _silence() -> Iterator[None]:
    """Nothing on stderr: Ray's core begins by telling its log level, to whom no logger of Python listens."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
