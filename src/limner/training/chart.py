"""Charts as geometry: series of numbers in, paths and positions in a small SVG out. The report's template draws them."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 360, 190
LEFT, RIGHT, TOP, BOTTOM = 44, 338, 12, 164
"""Edges of the plot inside the SVG; what lies around them is for the labels."""
MOST_POINTS = 300
LOG_FROM = 20
"""Positive values that rise to more than so many times the least of their average are shown on a logarithmic axis."""

Floats: TypeAlias = NDArray[np.float64]
Series: TypeAlias = tuple[Floats, Floats]
"""(x, y), of equal length, x rising."""
EMPTY: Series = (np.empty(0), np.empty(0))


@dataclass(frozen=True)
class Chart:
    """What the template needs to draw one chart; all positions are in the SVG's own units."""

    name: str
    note: str
    """The number that stands beside the name."""
    line: str
    """Path of the values as they were logged."""
    smooth: str
    """Path of their moving average."""
    dots: list[tuple[float, float, str]]
    """(x, y, tooltip) of the second series."""
    dots_line: str
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    log: bool
    mark: float | None
    """x of the moment to point out."""


def draw(
    name: str, note: str, line: Series, dots: Series = EMPTY, *, until: float, mark: float | None = None, from_zero: bool = False
) -> Chart:
    """A chart of ``line`` (with its moving average) and of ``dots``, x from 0 to ``until``; at least one of them is not empty."""
    average = moving_average(line[1])
    values = np.concatenate((line[1], dots[1]))
    low, high = (0.0 if from_zero else values.min()), values.max()
    log = bool(low > 0 and np.concatenate((average, dots[1])).min() * LOG_FROM < high)
    if high == low:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2

    def x_of(x: Floats) -> Floats:
        return LEFT + x / (until or 1) * (RIGHT - LEFT)

    def y_of(y: Floats) -> Floats:
        part: Floats = np.log(y / low) / np.log(high / low) if log else (y - low) / (high - low)
        return BOTTOM - part * (BOTTOM - TOP)

    def path(series: Series) -> str:
        x, y = thin(series)
        points = [f"{a:.1f},{b:.1f}" for a, b in zip(x_of(x), y_of(y), strict=True)]
        return "M" + " ".join(points) + ("h0" if len(points) == 1 else "") if points else ""  # h0: a lone point shows by its round cap

    def ticks(low: float, high: float, *, log: bool = False) -> tuple[Floats, list[str]]:
        at = _log_ticks(low, high) if log else _ticks(low, high)
        return np.array(at), [f"{value:,.6g}" for value in at]

    shown = thin(dots)
    x_ticks, x_labels = ticks(0, until or 1)
    y_ticks, y_labels = ticks(low, high, log=log)
    return Chart(
        name=name,
        note=note,
        line=path(line),
        smooth=path((line[0], average)),
        dots=[
            (float(x), float(y), f"{step:,.6g}: {number(value)}")
            for x, y, step, value in zip(x_of(shown[0]), y_of(shown[1]), *shown, strict=True)
        ],
        dots_line=path(dots),
        x_ticks=list(zip(x_of(x_ticks).tolist(), x_labels, strict=True)),
        y_ticks=list(zip(y_of(y_ticks).tolist(), y_labels, strict=True)),
        log=log,
        mark=None if mark is None else float(x_of(np.array(mark))),
    )


def thin(series: Series, most: int = MOST_POINTS) -> Series:
    """At most ``most`` points that look the same: first, last, and the least and greatest of each stretch, so that no spike is lost."""
    x, y = series
    if len(x) <= most:
        return series
    edges = np.linspace(0, len(x), (most - 2) // 2 + 1).astype(int)
    stretches = [(a, y[a:b]) for a, b in pairwise(edges)]
    kept = sorted({0, len(x) - 1, *(a + int(part.argmin()) for a, part in stretches), *(a + int(part.argmax()) for a, part in stretches)})
    return x[kept], y[kept]


def moving_average(values: Floats) -> Floats:
    """Mean over a 25th of the values to either side: fewer near the start, where losses fall steeply; at the end over those there are."""
    n = len(values)
    place = np.arange(n)
    reach = np.minimum(place, n // 25)
    sums = np.concatenate(([0.0], values.cumsum()))
    first, last = place - reach, np.minimum(place + reach + 1, n)
    means: Floats = (sums[last] - sums[first]) / (last - first)
    return means


def number(value: float, digits: int = 4) -> str:
    """With so many significant digits, as people read them: 0.01738, 4.9, 12,345."""
    return f"{value:,.0f}" if 10 ** (digits - 1) <= abs(value) < 1e9 else f"{value:.{digits}g}"


def _ticks(low: float, high: float) -> list[float]:
    """About five round numbers from ``low`` to ``high``."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [k * step for k in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Round numbers from ``low`` to ``high``, at most seven: 1, 2, 5 of each power of ten, or powers of ten alone."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    if math.log10(high / low) > 2:
        found = found[::3]
    found = [value for value in found if low <= value <= high]
    return found[:: -(-len(found) // 7)]
