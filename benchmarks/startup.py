"""`limner apply` on a 1-megapixel JPEG, the whole process: how long, and where the time goes.

python benchmarks/startup.py [STYLE]
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

PHOTO = Path(__file__).parent.parent / "examples" / "photos" / "china.jpg"
SIZE = (1224, 816)  # 1.0 megapixels
REPEATS = 7

STAGES = """
import time
marks = [("", time.perf_counter())]
def mark(name): marks.append((name, time.perf_counter()))
import limner.cli.main; mark("import the command line (cyclopts)")
import limner.style.style; mark("import numpy and Pillow")
import openvino; mark("import OpenVINO")
from pathlib import Path
import sys
from limner.pictures import image
style = limner.style.style.load(sys.argv[1])
picture = image.read(sys.argv[2]); mark("read the photograph")
style(picture.pixels); mark("compile, and run once")
painted = style(picture.pixels); mark("of which running (measured by a second run)")
image.write(picture.with_pixels(painted), sys.argv[3]); mark("write the painting")
for (_, before), (name, after) in zip(marks, marks[1:]): print(f"{1000 * (after - before):.0f} {name}")
"""


def main() -> None:
    style = sys.argv[1] if len(sys.argv) > 1 else "starry-night"
    with tempfile.TemporaryDirectory() as folder:
        photo, target = Path(folder) / "photo.jpg", Path(folder) / "painted.jpg"
        with Image.open(PHOTO) as picture:
            picture.resize(SIZE, Image.Resampling.LANCZOS).save(photo, quality=95)
        words = [sys.executable, "-m", "limner", "apply", str(photo), "-o", str(target), "-s", style, "--overwrite"]
        times = []
        for _ in range(REPEATS):
            start = time.perf_counter()
            subprocess.run(words, check=True, capture_output=True)
            times.append(time.perf_counter() - start)
        median, best = statistics.median(times), min(times)
        print(f"`limner apply` of {SIZE[0]} x {SIZE[1]}, whole process: {median:.2f} s (median of {REPEATS}; best {best:.2f})")
        rows: dict[str, list[float]] = {}
        for _ in range(REPEATS):
            done = subprocess.run(
                [sys.executable, "-c", STAGES, style, str(photo), str(target)], check=True, capture_output=True, text=True
            )
            for line in done.stdout.splitlines():
                ms, _, name = line.partition(" ")
                rows.setdefault(name, []).append(float(ms))
        print("\n| stage | ms |\n| --- | --- |")
        for name, values in rows.items():
            print(f"| {name} | {statistics.median(values):.0f} |")


if __name__ == "__main__":
    main()
