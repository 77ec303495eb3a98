"""Big pictures: in bands against whole (difference, seams, time, memory), and 100 megapixels against 10.

    python benchmarks/big.py whole [STYLE ...]
    python benchmarks/big.py prints [STYLE]

Pictures are enlargements of the example photographs with a little grain. Every measurement runs in a process of its own.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile
from cyclopts import App
from numpy.typing import NDArray
from PIL import Image

import limner
from limner.pictures import image
from limner.style import style

app = App(help=__doc__)
PHOTOS = Path(__file__).parent.parent / "examples" / "photos"


def enlarged(name: str, height: int, width: int) -> NDArray[np.uint8]:
    """A photograph, enlarged until it covers the size, with grain of 4/255."""
    photo = Image.open(PHOTOS / f"{name}.jpg").convert("RGB")
    factor = max(width / photo.width, height / photo.height)
    big = photo.resize((max(width, round(photo.width * factor)), max(height, round(photo.height * factor))), Image.Resampling.BICUBIC)
    pixels = np.asarray(big.crop((0, 0, width, height))).copy()
    random = np.random.default_rng(0)
    for top in range(0, height, 256):
        rows = pixels[top : top + 256]
        rows[:] = np.clip(rows + random.normal(0, 4, rows.shape[:2])[..., None], 0, 255)
    return pixels


ONE = """
import json, sys, time
import numpy as np
import limner
from limner.pictures import image
from limner.style import banding, style
name, photo, out, whole = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
style.WHOLE = whole
opened = limner.load(name)
pixels = image.read(photo).pixels
times = []
for _ in range(2):
    start = time.perf_counter()
    painted = opened(pixels, working_size="full")
    times.append(time.perf_counter() - start)
np.save(out, painted)
stages, frame = opened._stages, opened._frame(*pixels.shape[:2])
edges = [] if whole else sorted({band[0] for stage in stages.stages for band in banding.bands(stages, stage, *frame.whole)})
print(json.dumps({"seconds": min(times), "edges": edges}))
"""


@app.command
def whole(*styles: str, height: int = 2000, width: int = 2000, alone: int = 256) -> None:
    """Four megapixels at once, in bands, and in bands that know nothing of one another."""
    print("| style | photo | whole | in bands | mean difference | gradient across borders | bands by themselves: difference, gradient |")
    print("|" + " --- |" * 7)
    with tempfile.TemporaryDirectory() as folder:
        for photo in ("china", "astronaut"):
            path = Path(folder) / f"{photo}.png"
            image.write(image.Picture(enlarged(photo, height, width)), path)
            for name in styles or ("starry-night", "great-wave"):
                found, painted = {}, {}
                for way, limit in (("whole", 10**9), ("bands", 0)):
                    out = Path(folder) / f"{way}.npy"
                    words = [sys.executable, "-c", ONE, name, str(path), str(out), str(limit)]
                    found[way] = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
                    painted[way] = np.load(out).astype(np.float32)
                difference = np.abs(painted["bands"] - painted["whole"]).mean()
                edges = np.array([edge - style.BORDER for edge in found["bands"]["edges"] if 0 < edge - style.BORDER < height])
                lone = by_themselves(name, image.read(path).pixels, alone)
                print(
                    f"| {Path(name).stem} | {photo} | {told(found['whole'])} | {told(found['bands'])} | {difference:.2f}/255 | "
                    f"{gradient(painted['bands'], edges):.3f} | {np.abs(lone - painted['whole']).mean():.1f}/255, "
                    f"{gradient(lone, np.arange(alone, height, alone)):.3f} |",
                    flush=True,
                )


def told(found: dict[str, float]) -> str:
    return f"{found['seconds']:.1f} s"


def gradient(picture: NDArray[np.float32], edges: NDArray[np.int64]) -> float:
    """Mean step from row to row across borders, as a part of the mean step at the rows near them (4 to 12 rows away)."""
    step = np.abs(np.diff(picture, axis=0)).mean((1, 2))
    near = np.concatenate([edges - 1 + away for away in (*range(-12, -3), *range(4, 13))])
    return float(step[edges - 1].mean() / step[near[(near >= 0) & (near < len(step))]].mean())


def by_themselves(name: str, photo: NDArray[np.uint8], height: int, beyond: int = 64) -> NDArray[np.float32]:
    opened, found = limner.load(name), []
    for start in range(0, len(photo), height):
        first = max(start - beyond, 0)
        found.append(opened(photo[first : start + height + beyond], working_size="full")[start - first :][:height])
    return np.concatenate(found).astype(np.float32)


# A program's peak memory begins with that of the one that starts it: a small one must.
PEAK = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9)
"""


@app.command
def make(path: Path, side: int) -> None:
    """Write a square TIFF."""
    Image.MAX_IMAGE_PIXELS = None
    tifffile.imwrite(path, enlarged("china", side, side), photometric="rgb", rowsperstrip=64, compression="deflate", predictor=True)


@app.command
def prints(name: str = "starry-night", *, sides: tuple[int, ...] = (3162, 10_000)) -> None:
    """`limner apply` on square TIFF files: 10 and 100 megapixels."""
    print("| picture | seconds | seconds a megapixel | peak memory |\n| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        for side in sides:
            path, out = Path(folder) / f"{side}.tif", Path(folder) / f"{side}.out.tif"
            subprocess.run([sys.executable, __file__, "make", str(path), str(side)], check=True)
            words = [sys.executable, "-c", PEAK, sys.executable, "-m", "limner", "apply", str(path), "-o", str(out), "-s", name]
            start = time.perf_counter()
            peak = float(subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
            seconds, pixels = time.perf_counter() - start, side * side / 1e6
            print(f"| {side} x {side} | {seconds:.0f} | {seconds / pixels:.2f} | {peak:.2f} GB |", flush=True)
            with tifffile.TiffFile(out) as made:
                assert made.pages[0].shape == (side, side, 3)


if __name__ == "__main__":
    app()
