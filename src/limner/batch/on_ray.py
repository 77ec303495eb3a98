"""Many machines: the same batch on Ray Data. An actor on each machine holds the style, and paints as ``limner.batch.painter`` does.

Engines sum up in an order that depends on the number of cores: machines of the same kind paint the same bytes, as one does without Ray.
"""

import logging
import math
import os
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
import ray.data

from limner.batch.batch import Batch, LocalPaintings, LocalPhotographs, Paintings, Photographs, Tell
from limner.batch.options import Options
from limner.batch.painter import Elsewhere, Files, LocalFiles, Painter, open_for
from limner.batch.pipeline import Result, pipeline
from limner.batch.planning import Job, is_folder
from limner.batch.remote import StorePaintings, StorePhotographs, TablePaintings, TablePhotographs
from limner.batch.stores import PaintedTable, Store, Table, open_store, place
from limner.errors import LimnerError, require
from limner.pictures.image import Picture
from limner.style import style
from limner.style.style import Style

ROWS, TABLE_ROWS = 16, 128
"""Most pictures that are handed to an actor at once: it tells of them together, and if they go into a table, they are one file of it."""

Rows = dict[str, Any]
"""A batch of Ray Data: a NumPy array, or a list, for each column."""


def open_batch(inputs: Sequence[str], out: str | None, options: Options, tell: Tell) -> Batch:
    """A batch whose pictures are painted by Ray, on this machine or on the cluster of RAY_ADDRESS. Results come as they are done.

    An input is a folder or pattern of this machine (which the whole cluster must see), a URI that pyarrow knows, or a Parquet table of
    pictures; ``out`` is a folder, a URI, or a table likewise. Raises as ``limner.batch.opening.open_batch`` does.
    """
    if out is None:
        raise LimnerError("`executor` ray paints into a folder: name one with `out`.")
    opened = style.load(options.style, tier=options.tier, runtime=options.runtime, device=options.device)
    route, photographs, paintings = _route(inputs, out, options)
    return Batch(photographs, paintings, OnRay(opened, options, route), opened, options, tell)


@dataclass(frozen=True)
class Route:
    """How pictures reach the machines that paint them, and from there their places. It goes along to each machine."""

    source: Store | None = None
    target: Store | None = None
    table: Table | None = None
    """Whose rows the photographs are, if they are."""
    into: Path | None = None
    """The table whose rows the paintings become, if they do."""


def _route(inputs: Sequence[str], out: str, options: Options) -> tuple[Route, Photographs, Paintings]:
    remote = [name for name in inputs if "://" in name or name.endswith(".parquet")]
    into_table = out.endswith(".parquet")
    if not (remote or "://" in out or into_table):
        require(is_folder(Path(out)), f"`executor` ray paints into a folder, which {out} is not: name one with `out`.")
        return Route(), LocalPhotographs(inputs), LocalPaintings(out)
    target, folder = open_store(out)
    paintings: Paintings = TablePaintings(target, folder, overwrite=options.overwrite) if into_table else StorePaintings(target, folder)
    into = folder if into_table else None
    if not remote:
        return Route(target=target, into=into), LocalPhotographs(str(Path(name).absolute()) for name in inputs), paintings
    require(len(inputs) == 1, f"{remote[0]} cannot be painted together with other inputs: name it alone.")
    source, path = open_store(inputs[0])
    if path.suffix == ".parquet":
        table = Table.open(source, path)
        return Route(source, target, table, into), TablePhotographs(table), paintings
    return Route(source, target, into=into), StorePhotographs(source, path), paintings


class OnRay:
    """Ray's actors paint, one on each machine, or GPU."""

    def __init__(self, style: Style, options: Options, route: Route) -> None:
        self._style, self._options, self._route = style, options, route

    def open(self) -> None:
        """Nothing: the engine is opened where pictures are painted."""

    def results(
        self, jobs: Sequence[Job], lines: Mapping[Path, str], done: Callable[[Job], None], watch: Callable[[float], None]
    ) -> Generator[Result, None, None]:
        """As they are done."""
        by_target = {_full(job.target, self._route.target): job for job in jobs}
        with _ray():
            for row in self._dataset(jobs, lines).iter_rows():
                if row["fatal"]:
                    raise LimnerError(row["error"])
                job = by_target[row["target"]]
                if row["error"]:
                    yield Result(job, "failed", LimnerError(row["error"]))
                else:
                    done(job)
                    yield Result(job, "painted", lost=tuple(row["lost"].splitlines()))

    def _dataset(self, jobs: Sequence[Job], lines: Mapping[Path, str]) -> ray.data.Dataset:
        """Rows with `target`, `error` (a sentence, or empty), `fatal` (whether no picture can be painted) and `lost` (lines)."""
        gpu = self._options.device == "gpu"
        nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU" if gpu else "CPU", 0) >= 1]
        # One actor for each machine, or GPU: the engine takes all cores. One core is left for Ray's own tasks, which read.
        actors = max(1, sum(int(node["Resources"]["GPU"]) for node in nodes) if gpu else len(nodes))
        cores = min((int(node["Resources"]["CPU"]) for node in nodes), default=1)
        most = ROWS if self._route.into is None else TABLE_ROWS
        data, columns = self._given(jobs, lines, most, actors)
        path = self._style.path
        files = {each.name: each.read_bytes() for each in (path, path.with_suffix(".safetensors")) if each.is_file()}
        return data.map_batches(
            _Actor,
            fn_constructor_args=(files, path.name, self._options, self._route, columns),
            batch_size=most,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=actors),
            num_cpus=1 if gpu else max(1, cores - 1),
            num_gpus=1 if gpu else None,
        )

    def _given(self, jobs: Sequence[Job], lines: Mapping[Path, str], most: int, actors: int) -> tuple[ray.data.Dataset, "_Columns | None"]:
        """What the actors get: the jobs, or the rows of a table, and then what must be known of it."""
        table = self._route.table
        if table is not None:
            wanted = {job.source.as_posix(): (job.target, lines[job.target]) for job in jobs}
            columns = _Columns(table.names, table.pictures, wanted)
            names = [columns.names, columns.pictures]
            return ray.data.read_parquet(table.path, filesystem=table.files, columns=names, partitioning=None), columns
        rows = [
            {
                "source": _full(job.source, self._route.source),
                "target": _full(job.target, self._route.target),
                "place": job.place,
                "line": lines[job.target],
                "film": job.film,
            }
            for job in jobs
        ]
        blocks = max(math.ceil(len(rows) / most), min(len(rows), 2 * actors))
        return ray.data.from_items(rows, override_num_blocks=blocks), None


@dataclass(frozen=True)
class _Columns:
    """What an actor must know of a table."""

    names: str
    pictures: str
    wanted: dict[str, tuple[Path, str]]
    """Target and line of the manifest of each row that is to be painted, by its place."""


@dataclass
class _Shelf:
    """What an actor has in memory: files that came in a table, and those that are to become rows of one."""

    came: dict[Path, bytes] = field(default_factory=dict)
    finished: dict[Path, bytes] = field(default_factory=dict)

    def put(self, target: Path, data: bytes) -> None:
        self.finished[target] = data


def _files(route: Route, shelf: _Shelf) -> Files:
    if route.source is None and route.target is None:
        return LocalFiles()
    here = open_store("")[0]
    get = shelf.came.__getitem__ if route.table is not None else (route.source or here).read
    return Elsewhere(get, shelf.put if route.into is not None else (route.target or here).write)


class _Actor:
    """A style on one machine."""

    def __init__(self, files: dict[str, bytes], name: str, options: Options, route: Route, columns: _Columns | None) -> None:
        self._error = ""
        self._route, self._columns, self._shelf = route, columns, _Shelf()
        self._folder = tempfile.TemporaryDirectory(prefix="limner-")  # the style goes along: no machine needs to have it
        for file, data in files.items():
            Path(self._folder.name, file).write_bytes(data)
        opened = Style(Path(self._folder.name, name), runtime=options.runtime, device=options.device)
        try:
            open_for(opened, options)
        except LimnerError as error:  # Ray would start it again and again
            self._error = str(error)
        self._painter = Painter(opened, options, files=_files(route, self._shelf))

    def __call__(self, rows: Rows) -> Rows:
        jobs, lines = self._jobs(rows)
        if self._error:
            return {"target": [""], "error": [self._error], "fatal": [True], "lost": [""]}
        results = list(pipeline(jobs, self._painter.read, self._painter.paint, self._write))
        try:
            self._put(lines)
        except LimnerError as error:
            results = [Result(result.job, "failed", result.error or error) for result in results]
        return {
            "target": [result.job.target.as_posix() for result in results],
            "error": [str(result.error or "") for result in results],
            "fatal": [False] * len(results),
            "lost": ["\n".join(result.lost) for result in results],
        }

    def _write(self, job: Job, painted: tuple[Picture | None, tuple[str, ...]]) -> tuple[str, ...]:
        self._painter.write(job, painted[0])
        return painted[1]

    def _put(self, lines: dict[Path, str]) -> None:
        """Write what is to become rows as a part of its table, with the lines of the manifest."""
        into, target, finished = self._route.into, self._route.target, sorted(self._shelf.finished.items())
        self._shelf.finished.clear()
        if into is not None and target is not None and finished:
            PaintedTable.write(target, into, [(path.relative_to(into).as_posix(), data, lines[path]) for path, data in finished])

    def _jobs(self, rows: Rows) -> tuple[list[Job], dict[Path, str]]:
        """And the line of the manifest for each target."""
        if self._columns is None:
            columns = zip(rows["source"], rows["target"], rows["place"], rows["film"], strict=True)
            jobs = [Job(Path(str(source)), Path(str(target)), str(where), bool(film)) for source, target, where, film in columns]
            return jobs, {job.target: str(line) for job, line in zip(jobs, rows["line"], strict=True)}
        places = [place(str(name)) for name in rows[self._columns.names]]
        self._shelf.came.clear()
        for path, picture in zip(places, rows[self._columns.pictures], strict=True):
            data = picture["bytes"] if isinstance(picture, dict) else picture
            self._shelf.came[path] = data or b""  # told as an empty file
        wanted = self._columns.wanted
        jobs = [Job(path, wanted[path.as_posix()][0], path.as_posix()) for path in places if path.as_posix() in wanted]
        return jobs, {job.target: wanted[job.place][1] for job in jobs}


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
