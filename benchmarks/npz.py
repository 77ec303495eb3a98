"""What a .npz set of two domains costs in memory: 5,000 pictures of 256 x 256, made, written and opened again.

python benchmarks/npz.py
"""

import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

PICTURES, SIDE = 5000, 256

OPEN = """
import sys
from pathlib import Path
from limner.sources import open_source
domains = [open_source(Path(sys.argv[1]), domain=name) for name in "ab"]
print(sum(len(domain) for domain in domains), sum(int(domain[n].max()) > 0 for domain in domains for n in range(len(domain))))
"""


def main() -> None:
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for n in range(PICTURES):
            blocks = Image.fromarray(random.integers(0, 256, (16, 16, 3), dtype=np.uint8))
            path = folder / "ab"[n % 2] / f"{n:05}.jpg"
            path.parent.mkdir(exist_ok=True)
            blocks.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(path)
        words = ["-m", "limner", "prepare", "npz", "--domain-a", str(folder / "a"), "--domain-b", str(folder / "b")]
        rows = {"written": [*words, "-o", str(folder / "set.npz"), "--distance", "-1"], "opened": ["-c", OPEN, str(folder / "set.npz")]}
        print(f"{PICTURES} pictures of {SIDE} x {SIDE}, decoded {PICTURES * SIDE**2 * 3 / 2**20:.0f} MiB")
        for row, rest in rows.items():
            subprocess.run([sys.executable, *rest], check=True, capture_output=True)
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024  # of the largest so far: opening is the larger one
            print(f"{row}: peak {peak:.0f} MiB")


if __name__ == "__main__":
    main()
