"""Report: what a training did so far, as one static HTML file with everything inside. It reads the run directory and nothing else."""

import importlib
import json
import math
import re
import shlex
import tomllib
from dataclasses import MISSING, Field, asdict, dataclass, fields
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from limner import journal
from limner.errors import LimnerError, require
from limner.files import replacing
from limner.gallery import card
from limner.training import chart, embed
from limner.training.chart import Chart, Series, draw, number
from limner.version import __version__

CLOCKS = ("step", "seconds", "pictures")
"""Entries of a line of metrics that are no losses."""
SPEEDS = 60
"""Points of the curve of speed."""
MOST_SKIPPED = 300
"""Sentences about skipped files that are listed."""

Row: TypeAlias = dict[str, Any]
Facts: TypeAlias = list[tuple[str, str]]


@dataclass(frozen=True)
class AlarmSummary:
    """All occurrences of one alarm; ``saw`` and ``what_to_try`` are from the last."""

    name: str
    times: int
    first: float
    last: float
    saw: str
    what_to_try: str


@dataclass(frozen=True)
class Option:
    name: str
    value: str
    default: str | None
    """Where it differs from ``value``."""


@dataclass(frozen=True)
class Timing:
    """Speeds are (over the whole training, in its last tenth)."""

    seconds: float
    pictures: float | None
    """None, as is their speed, where they were not counted."""
    steps_per_second: tuple[float, float]
    pictures_per_second: tuple[float, float] | None
    chart: Chart


def write(folder: Path, *, stopped: bool = False) -> Path:
    """Write the report of the run in ``folder`` as its ``report.html``, whole or not at all; returns the path.

    It may be called at any moment: what is not there yet is left out, and so is a line or a picture cut in two. ``stopped`` says that the
    training has ended before its last step. Raises ``LimnerError`` where ``folder`` holds no run or the disk refuses.
    """
    require(
        (folder / "config.toml").is_file(),
        f"{folder} holds no run (there is no config.toml in it): name the `out` directory of a training.",
    )
    page = _environment().get_template("report.html.j2").render(_content(folder, stopped), chart_size=chart)
    path = folder / "report.html"
    with replacing(path) as beside:
        beside.write_text(page, encoding="utf-8", errors="replace")  # a file name may hold what no encoding can
    return path


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(number=number, duration=duration, whole=lambda value: f"{value:,.0f}")
    return environment


def duration(seconds: float) -> str:
    """As people say it: 48 s, 27 min, 3 h 05 min."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


def _content(folder: Path, stopped: bool) -> dict[str, Any]:
    """Everything that the template asks for."""
    config = _config(folder / "config.toml")
    metrics, held_out = _by_step(folder / "metrics.jsonl"), _by_step(folder / "held-out.jsonl")
    checkpoints = _checkpoints(folder / "checkpoints")
    done = max([*checkpoints, *(row["step"] for row in metrics)], default=0)
    total = config.get("steps")
    total = total if isinstance(total, int) and total > 0 else None
    scores = [row for row in held_out if _is_number(row.get("score"))]
    best = min(scores, key=lambda row: float(row["score"]), default=None)
    timing = _timing(metrics)
    data = _json(folder / "data.json")
    skipped = [str(sentence) for sentence in data.pop("skipped", [])]
    return {
        "title": str(config.get("title") or config.get("name") or folder.resolve().name),
        "method": str(config.get("method", "")),
        "description": str(config.get("description", "")),
        "resume": shlex.quote(str(folder)),
        "done": done,
        "total": total,
        "stopped": stopped,
        "left": (total - done) / timing.steps_per_second[1] if total and done < total and timing else None,
        "best": best,
        "timing": timing,
        "alarms": _alarms(_rows(folder / "alarms.jsonl")),
        "newest": embed.newest(folder / "samples"),
        "sheets": embed.sheets(folder / "samples"),
        "charts": _charts(metrics, held_out, best, done),
        "losses": _losses(metrics),
        "sources": {name: _facts(entry) for name, entry in data.items() if isinstance(entry, dict)},
        "skipped": skipped[:MOST_SKIPPED],
        "skipped_count": len(skipped),
        "options": _options(config),
        "machine": _facts(_json(folder / "machine.json")),
        "card": _card(folder / "style.onnx"),
        "checkpoints": [*(f"step {step:,}" for step in checkpoints), *(["best"] if (folder / "checkpoints" / "best.pt").exists() else [])],
        "version": __version__,
        "written": f"{datetime.now():%d %B %Y, %H:%M}",
    }


# ---------------------------------------------------------------------------------------- reading what may not be whole


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:  # not there yet, or being replaced: the report does without
        return ""


def _config(path: Path) -> Row:
    try:
        return tomllib.loads(_text(path))
    except tomllib.TOMLDecodeError:  # no reason to end a training that runs: `training.load` says it when it matters
        return {}


def _json(path: Path) -> Row:
    try:
        found = json.loads(_text(path))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _rows(path: Path) -> list[Row]:
    """The entries of a journal; what is none is left out."""
    try:
        lines = journal.read(path)
    except (LimnerError, OSError):
        return []
    found = []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and _is_number(row.get("step")):
            found.append(row)
    return found


def _by_step(path: Path) -> list[Row]:
    """Rows in the order of their steps; a step that was done twice, because a killed run was taken up again, counts as it was last."""
    rows = {row["step"]: row for row in _rows(path)}
    return [rows[step] for step in sorted(rows)]


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(cast(float, value))  # type(): true and false are no numbers


def _checkpoints(folder: Path) -> list[int]:
    named = (re.fullmatch(r"step-(\d+)\.pt", path.name) for path in folder.glob("step-*"))
    return sorted(int(match[1]) for match in named if match)


# ------------------------------------------------------------------------------------------------------- curves and times


def _series(rows: list[Row], name: str) -> Series:
    known = [row for row in rows if _is_number(row.get(name))]
    return np.array([row["step"] for row in known], float), np.array([row[name] for row in known], float)


def _names(rows: list[Row]) -> list[str]:
    """Names of all numbers in ``rows``, clocks aside, in the order in which they turn up."""
    return list({name: None for row in rows for name, value in row.items() if name not in CLOCKS and _is_number(value)})


def _charts(metrics: list[Row], held_out: list[Row], best: Row | None, done: float) -> list[Chart]:
    """The held-out score first, then every loss with the held-out part of the same name laid over it."""
    losses, parts = _names(metrics), _names(held_out)
    until = max([done, *(row["step"] for row in held_out)])
    charts = []
    for name in [*(part for part in parts if part not in losses), *losses]:
        line, dots = _series(metrics, name), _series(held_out, name)
        note = number(float((line if len(line[1]) else dots)[1][-1]))
        title = "held-out score" if name == "score" and not len(line[1]) else name
        charts.append(draw(title, note, line, dots, until=until, mark=best["step"] if best else None))
    return charts


def _losses(metrics: list[Row]) -> list[tuple[str, float, float, float, float, float]]:
    """(name, first, lowest, its step, mean of the last 25th, last) of each loss."""
    found = []
    for name in _names(metrics):
        steps, values = _series(metrics, name)
        lowest = values.argmin()
        mean = chart.moving_average(values)[-1]
        found.append((name, float(values[0]), float(values[lowest]), float(steps[lowest]), float(mean), float(values[-1])))
    return found


def _timing(metrics: list[Row]) -> Timing | None:
    """None where no times were recorded."""
    timed = [row for row in metrics if _is_number(row.get("seconds"))]
    with_pictures = all(_is_number(row.get("pictures")) for row in timed)
    clocks = [(row["seconds"], row["step"], row["pictures"] if with_pictures else 0) for row in timed]
    if timed and timed[0] is metrics[0]:  # else an older Limner made the first steps, and nobody knows how long they took
        clocks.insert(0, (0, 0, 0))
    table = np.array(clocks, float)
    if len(table) < 2 or table[-1, 0] <= table[0, 0]:
        return None
    table = table[np.linspace(0, len(table) - 1, min(len(table), SPEEDS + 1)).astype(int)]
    table = table[np.append(True, np.diff(np.maximum.accumulate(table[:, 0])) > 0)]
    spans = np.diff(table, axis=0)
    tenth = table[max(0, len(table) - 1 - max(1, len(spans) // 10))]
    _, steps, pictures = zip(*((span / span[0]).tolist() for span in (table[-1] - table[0], table[-1] - tenth)), strict=True)
    speed = spans[:, 2 if with_pictures else 1] / spans[:, 0]
    name = "pictures a second, by minute" if with_pictures else "steps a second, by minute"
    return Timing(
        seconds=float(table[-1, 0]),
        pictures=float(table[-1, 2]) if with_pictures else None,
        steps_per_second=steps,
        pictures_per_second=pictures if with_pictures else None,
        chart=draw(name, number(float(speed[-1]), 3), (table[1:, 0] / 60, speed), until=table[-1, 0] / 60, from_zero=True),
    )


def _alarms(rows: list[Row]) -> list[AlarmSummary]:
    """One entry for each alarm, the latest first."""
    kinds: dict[str, list[Row]] = {}
    for row in rows:
        kinds.setdefault(str(row.get("alarm", "alarm")), []).append(row)
    alarms = []
    for name, found in kinds.items():
        found.sort(key=lambda row: float(row["step"]))
        last = found[-1]
        alarms.append(AlarmSummary(name, len(found), found[0]["step"], last["step"], str(last.get("saw", "")), str(last.get("try", ""))))
    return sorted(alarms, key=lambda alarm: -alarm.last)


# ------------------------------------------------------------------------------------------------------------------ facts


def _facts(table: Row) -> Facts:
    return [(str(name).replace("_", " "), _said(value)) for name, value in table.items()]


def _card(path: Path) -> Facts:
    """What the finished style file promises."""
    try:
        found = _facts({name: value for name, value in asdict(card.read(path)).items() if value not in ("", [], {})})
        return [("file", f"{path.name}, {path.stat().st_size / 1000:,.0f} kB"), *found]
    except (LimnerError, OSError):  # not finished yet
        return []


def _options(config: Row) -> list[tuple[str, list[Option]]]:
    """All options in groups: the method's, those of every training, and what neither knows (any more)."""
    rest = dict(config)
    method = str(rest.pop("method", ""))
    groups = []
    for title, module, cls in ((method, f"limner.methods.{method}", "Config"), ("every training", "limner.training.options", "Options")):
        known = _dataclass_fields(module, cls)
        groups.append((title, [_option(name, rest.pop(name), known[name]) for name in known if name in rest]))
    groups.append(("others", [_option(name, value, None) for name, value in rest.items()]))
    return [(title, options) for title, options in groups if options]


def _dataclass_fields(module: str, cls: str) -> dict[str, Field[Any]]:
    try:
        return {field.name: field for field in fields(getattr(importlib.import_module(module), cls))}
    except (ImportError, AttributeError, TypeError):  # a method that this Limner does not have: its options are shown all the same
        return {}


def _option(name: str, value: Any, field: Field[Any] | None) -> Option:
    default = MISSING if field is None else field.default
    if field is not None and field.default_factory is not MISSING:
        default = field.default_factory()
    # What is empty by default is a text about the style, such as its title, rather than a setting.
    differs = default not in (MISSING, "", ()) and _said(default) != _said(value)
    return Option(name.replace("_", " "), _said(value), _said(default) if differs else None)


def _said(value: Any) -> str:
    """A value as the tables show it."""
    match value:
        case None | "" | [] | ():
            return "none"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case list() | tuple():
            items = [_said(item) for item in value]
            return ("\n" if sum(map(len, items)) > 80 else ", ").join(items)
        case dict():
            return ", ".join(f"{name} {_said(item)}" for name, item in value.items())
        case _:
            return str(value)
