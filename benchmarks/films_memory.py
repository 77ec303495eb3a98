"""Memory of a long film: what `limner apply` holds in its second minute of work, and in its last.

    python benchmarks/films_memory.py [--minutes 10] [--style storybook] [--tier live] [--calm flow]

A generated film of 320 x 180 pixels, 24 frames a second, is painted in a program of its own, whose resident memory is read each second.
A ratio above 1 comes from what grows with the length of a film.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import psutil

WIDTH, HEIGHT, RATE = 320, 180, 24


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--style", default="storybook")
    parser.add_argument("--tier", default="live")
    parser.add_argument("--calm", default="flow")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        film, out = Path(folder) / "film.mp4", Path(folder) / "out.mp4"
        _generate(film, round(chosen.minutes * 60 * RATE))
        words = ["apply", film, "-o", out, "-s", chosen.style, "--tier", chosen.tier, "--calm", chosen.calm]
        since = time.monotonic()
        samples = _watched([sys.executable, "-m", "limner", *map(str, words)])
        seconds = time.monotonic() - since
    if seconds < 180:
        print(f"painted in {seconds:.0f} s, too little for a second minute and a last one: set --minutes.")
        return
    second = max(size for when, size in samples if 60 <= when < 120)
    last = max(size for when, size in samples if when >= seconds - 60)
    print("| film | frames/s | wall | second minute | last minute | ratio |")
    print("| --- | --- | --- | --- | --- | --- |")
    speed = chosen.minutes * 60 * RATE / seconds
    print(f"| {chosen.minutes:g} min | {speed:.0f} | {seconds:.0f} s | {second / 1e6:.0f} MB | {last / 1e6:.0f} MB | {last / second:.3f} |")


def _watched(words: list[str]) -> list[tuple[float, int]]:
    """(seconds, bytes of resident memory), once a second as long as the program runs."""
    samples = []
    since = time.monotonic()
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as program:
        process = psutil.Process(program.pid)
        while program.poll() is None:
            samples.append((time.monotonic() - since, process.memory_info().rss))
            time.sleep(1)
    if program.returncode:
        sys.exit(program.returncode)
    return samples


def _generate(path: Path, count: int) -> None:
    """A plane that a lighter square wanders over."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    plane = np.stack((rows * 255 // HEIGHT, columns * 255 // WIDTH, (rows + columns) % 256), -1).astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {"preset": "ultrafast", "crf": "28"}
        for n in range(count):
            pixels = plane.copy()
            left, top = 2 * n % (WIDTH - 60), n % (HEIGHT - 60)
            pixels[top : top + 60, left : left + 60] = 230
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = n, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


if __name__ == "__main__":
    main()
