"""Edge smoothing for CartoonGAN: pictures a second against the loop over pixels of the paper's ports, side by side.

    python benchmarks/edges.py [FOLDER]

Both smooth the same pixels of the same pictures, scaled to 256 x 256 as the ports do, and give the same result to a rounding.
"""

import os
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from limner.blocks.edge_smoothing import edge_smoothed
from limner.pictures.sources import open_source

PHOTOS = Path(__file__).parent.parent / "examples" / "photos"
PICTURES = 8
ROUNDS = 5


def per_pixel(pixels: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Each pixel near an edge is the Gaussian mean of the 5 x 5 around it, one after the other."""
    line = np.exp(-0.5 * (np.arange(-2, 3) / 1.1) ** 2)
    kernel = np.outer(line, line) / line.sum() ** 2
    padded = np.pad(pixels, ((2, 2), (2, 2), (0, 0)), mode="reflect").astype(float)
    out = pixels.copy()
    for y, x in np.argwhere(mask):
        for channel in range(3):
            out[y, x, channel] = round(float((padded[y : y + 5, x : x + 5, channel] * kernel).sum()))
    return out


def rate(work: Callable[[], object], pictures: int) -> float:
    """Pictures a second, the median of all rounds."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return pictures / statistics.median(times)


def main() -> None:
    source = open_source(Path(sys.argv[1]) if len(sys.argv) > 1 else PHOTOS)
    numbers = np.linspace(0, len(source) - 1, min(PICTURES, len(source))).round().astype(int)
    squashed = [Image.fromarray(source[int(n)]).resize((256, 256), Image.Resampling.BICUBIC) for n in numbers]
    pictures = [np.asarray(picture) for picture in squashed]
    smoothed = [edge_smoothed(picture) for picture in pictures]
    looped = [per_pixel(picture, mask) for picture, (_, mask) in zip(pictures, smoothed, strict=True)]
    apart = max(int(np.abs(a.astype(int) - b).max()) for a, (b, _) in zip(looped, smoothed, strict=True))
    near = statistics.mean(float(mask.mean()) for _, mask in smoothed)
    cores = os.cpu_count() or 1
    many = pictures * 8
    with ThreadPoolExecutor(cores) as pool:
        rows = {
            "loop over pixels (blurring alone; the edges are given)": rate(
                lambda: [per_pixel(p, mask) for p, (_, mask) in zip(pictures, smoothed, strict=True)], len(pictures)
            ),
            "Limner, one thread (edges found too)": rate(lambda: [edge_smoothed(p) for p in many], len(many)),
            f"Limner, {cores} threads": rate(lambda: list(pool.map(edge_smoothed, many)), len(many)),
        }
    print(f"{len(pictures)} pictures of 256 x 256, {100 * near:.0f} % of the pixels near an edge; largest difference {apart} of 255")
    print("| | pictures/s | |\n| --- | --- | --- |")
    base = rows[next(iter(rows))]
    for name, median in rows.items():
        print(f"| {name} | {median:.1f} | {median / base:.0f} x |")


if __name__ == "__main__":
    main()
