"""A style's tiers in each precision, side by side: time at two sizes, and how far the pictures are from float32 of the standard tier.

    python benchmarks/int8.py [STYLE]

The distance is the mean absolute difference in 255ths over the example photographs, the worst of them in brackets; that of live is from
live in float32, because what a small network paints differently is no matter of precision. The rows take turns, three rounds, and the
median of all runs counts.
"""

import os
import platform
import statistics
import sys
import time
from pathlib import Path

import numpy as np

from limner.gallery import bundled
from limner.pictures import image
from limner.style.style import Style

SIZES = {"512 x 512": (512, 512), "1920 x 1080": (1080, 1920)}
PHOTOS = Path(__file__).parent.parent / "examples" / "photos"
ROUNDS, SECONDS = 3, 2.0


def main(name: str) -> None:
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {name}\n")
    rows = {}
    for tier in bundled.tiers(name):
        for precision in ("float32", "auto"):
            rows[f"{tier}, {precision}"] = tier, precision
    times: dict[tuple[str, str], list[float]] = {(row, size): [] for size in SIZES for row in rows}
    for size, (height, width) in SIZES.items():
        picture = np.random.default_rng(0).random((1, 3, height, width), np.float32)
        engines = {row: Style(bundled.find(name, tier), precision=precision).open() for row, (tier, precision) in rows.items()}
        for engine in engines.values():
            engine(picture)
        for _ in range(ROUNDS):
            for row, engine in engines.items():
                until = time.perf_counter() + SECONDS
                while time.perf_counter() < until:
                    start = time.perf_counter()
                    engine(picture)
                    times[row, size].append(time.perf_counter() - start)
    print(f"| tier, precision | {' | '.join(f'{size}: ms | times as fast' for size in SIZES)} | distance |")
    print("| --- |" + " --- | --- |" * len(SIZES) + " --- |")
    base = next(iter(rows))
    for row, (tier, precision) in rows.items():
        cells = []
        for size in SIZES:
            median = statistics.median(times[row, size])
            cells += [f"{1000 * median:.0f}", f"{statistics.median(times[base, size]) / median:.1f}"]
        print(f"| {row} | {' | '.join(cells)} | {_distance(name, tier, precision)} |")


def _distance(name: str, tier: str, precision: str) -> str:
    exact = Style(bundled.find(name, "live" if tier == "live" else "standard"), precision="float32")
    other = Style(bundled.find(name, tier), precision=precision)
    found = []
    for path in image.find(PHOTOS):
        pixels = image.read(path).pixels
        found.append(np.abs(exact(pixels).astype(float) - other(pixels)).mean())
    return f"{np.mean(found):.2f} ({max(found):.2f})"


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else bundled.default())
