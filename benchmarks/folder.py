"""`limner apply FOLDER -o OUT` of many small pictures: against single calls, and killed half-way.

    python benchmarks/folder.py [PICTURES]

Seeded pictures of small size, 1,000 by default: once all of one size, once each of another. `limner apply` of the folder takes turns with
a loop of single library calls in one process, both from start to end; single `limner apply` processes are measured on 20 of the pictures.
Then one run is killed (SIGKILL) half-way and started again.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROUNDS = 2
SINGLE = 20
ONE_SIZE = (256, 192)
SIDES = (96, 384)

LOOP = """
import sys
from pathlib import Path
import limner
style = limner.load("starry-night")
for path in sorted(Path(sys.argv[1]).rglob("*.jpg")):
    style(path)
"""


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    print("| pictures | limner apply FOLDER | library calls, one by one | limner apply, one by one | killed half-way |")
    print("| --- | --- | --- | --- | --- |")
    for title in ("one size", "mixed sizes"):
        with tempfile.TemporaryDirectory() as place:
            photos = Path(place) / "photos"
            _write_pictures(photos, count, mixed=title == "mixed sizes")
            folder, loop = [], []
            for n in range(ROUNDS):
                folder.append(_seconds(_apply(photos, "-o", Path(place) / f"out-{n}")))
                loop.append(_seconds([sys.executable, "-c", LOOP, str(photos)]))
                for painting in photos.rglob("*.starry-night.jpg"):
                    painting.unlink()
            first = sorted(photos.rglob("*.jpg"))[:SINGLE]
            single = sum(_seconds(_apply(photo, "-o", Path(place) / "single")) for photo in first) / len(first)
            rates = [count / min(folder), count / min(loop), 1 / single]
            cells = [f"{rate:.1f} pictures/s" + (f", {rates[0] / rate:.1f} x slower" if rate != rates[0] else "") for rate in rates]
            print(f"| {count:,}, {title} | {' | '.join(cells)} | {_killed(photos, Path(place), count)} |", flush=True)
    print(f"\nThe better of {ROUNDS} rounds; single processes on {SINGLE} of the pictures.")


def _write_pictures(folder: Path, count: int, *, mixed: bool) -> None:
    random = np.random.default_rng(0)
    for i in range(count):
        size = tuple(int(side) for side in random.integers(*SIDES, 2)) if mixed else ONE_SIZE
        coarse = Image.fromarray(random.integers(0, 256, (6, 8, 3), np.uint8))
        path = folder / f"{i // 100:02}" / f"{i:04}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse.resize(size, Image.Resampling.BICUBIC).save(path, quality=90)


def _apply(*words: object) -> list[str]:
    return [sys.executable, "-m", "limner", "apply", *map(str, words), "-s", "starry-night"]


def _seconds(words: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(words, check=True, capture_output=True)
    return time.perf_counter() - start


def _killed(photos: Path, place: Path, count: int) -> str:
    """Kill a run half-way, start it again; what was there must not have been touched, and all must be as in the run that was not killed."""
    out = place / "killed"
    manifest = out / "limner-manifest.jsonl"
    run = subprocess.Popen(_apply(photos, "-o", out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not manifest.exists() or manifest.read_bytes().count(b"\n") < count // 2:
        time.sleep(0.01)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.jpg")}
    start = time.perf_counter()
    subprocess.run(_apply(photos, "-o", out), check=True, capture_output=True)
    took = time.perf_counter() - start
    twice = sum(path.stat().st_mtime_ns != when for path, when in before.items())
    targets = [json.loads(line)["target"] for line in manifest.read_text().splitlines()]
    twice += len(targets) - len(set(targets))
    whole = {path.relative_to(place / "out-0"): path.read_bytes() for path in (place / "out-0").rglob("*.jpg")}
    same = whole == {path.relative_to(out): path.read_bytes() for path in out.rglob("*.jpg")} and len(whole) == count
    return f"{len(before)} done; the rest in {took:.0f} s, {twice} done twice, {'all bytes equal' if same else 'BYTES DIFFER'}"


if __name__ == "__main__":
    main()
