"""Frames a second at 1280 x 720 of each tier of a style, side by side, as a ratio to the standard tier.

    python benchmarks/live.py [STYLE]

"engine" is the network alone, float32 in and out; "frame" is the whole call from a uint8 frame to a uint8 frame, with the border that is
painted and cut off again. The tiers take turns, rounds of a second or so each, and the median of all frames counts.
"""

import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

import limner
from limner.gallery import bundled
from limner.style.style import BORDER

HEIGHT, WIDTH = 720, 1280
ROUNDS, SECONDS = 5, 1.0


def main(name: str) -> None:
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {WIDTH} x {HEIGHT}, {name}\n")
    frame = _frame()
    padded = np.random.default_rng(0).random((1, 3, HEIGHT + 2 * BORDER, WIDTH + 2 * BORDER), np.float32)
    works: dict[tuple[str, str], Callable[[], Any]] = {}
    for tier in bundled.tiers(name):
        # One for each: an engine is compiled for the size at hand, and the two sizes may differ.
        alone, whole = limner.load(name, tier=tier).open(), limner.load(name, tier=tier)
        works[tier, "engine"] = partial(alone, padded)
        works[tier, "frame"] = partial(whole, frame)
    times: dict[tuple[str, str], list[float]] = {key: [] for key in works}
    for work in works.values():
        work()
    for _ in range(ROUNDS):
        for key, work in works.items():
            until = time.perf_counter() + SECONDS
            while time.perf_counter() < until:
                start = time.perf_counter()
                work()
                times[key].append(time.perf_counter() - start)
    medians = {key: statistics.median(each) for key, each in times.items()}
    print("| tier | engine: ms | frames/s | times as fast | frame: ms | frames/s | times as fast |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for tier in bundled.tiers(name):
        cells = []
        for kind in ("engine", "frame"):
            median = medians[tier, kind]
            cells += [f"{1000 * median:.1f}", f"{1 / median:.1f}", f"{medians['standard', kind] / median:.1f}"]
        print(f"| {tier} | {' | '.join(cells)} |")


def _frame() -> Any:
    """A seeded frame with soft and hard edges; uint8 HWC RGB."""
    random = np.random.default_rng(0)
    frame = np.array(Image.fromarray(random.integers(0, 256, (9, 16, 3), np.uint8)).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
    frame[HEIGHT // 3 : HEIGHT // 2, WIDTH // 4 : WIDTH // 2] = random.integers(0, 256, 3)
    return frame


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else bundled.default())
