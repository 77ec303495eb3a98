"""A bundled cartoon style beside CartoonGAN's own generator (11.1 million parameters) in torch, eager: time and memory, side by side.

    python benchmarks/cartoon.py [STYLE]

A picture of 512 x 512 and one of 1920 x 1080 pixels, uint8 in and out. The style paints as `limner apply` does, at its working size and
enlarged, and at the picture's own size; the generator paints at the picture's own size, as published code does. Each way runs in a process
of its own, with all cores, in turns; the best of three counts. Memory is the most that the process held beyond what it held before the
first picture.
"""

import json
import subprocess
import sys

ROUNDS = 3
SIZES = {"512 x 512": (512, 512), "1920 x 1080": (1080, 1920)}

ONE = """
import json, resource, sys, time
from pathlib import Path
import numpy as np
way, height, width = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
pixels = (np.random.default_rng(0).random((height // 8 + 1, width // 8 + 1, 3)) * 255).astype(np.uint8)
pixels = np.ascontiguousarray(pixels.repeat(8, 0).repeat(8, 1)[:height, :width])
if way == "paper":
    import torch
    from limner.methods import cartoongan
    config = cartoongan.Config(Path(), Path(), **cartoongan.Config.PRESETS["paper"])
    network = cartoongan.build(config).eval()
    def paint(pixels):
        with torch.inference_mode():
            x = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
            return (network(x)[0].permute(1, 2, 0) * 255).round().byte().numpy()
else:
    import limner
    style = limner.load(sys.argv[4])
    def paint(pixels):
        return style(pixels, working_size="full" if way == "own" else None)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
times = []
for _ in range(3):
    start = time.perf_counter()
    assert paint(pixels).shape == pixels.shape
    times.append(time.perf_counter() - start)
print(json.dumps([min(times), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024]))
"""


def main(name: str) -> None:
    ways = {"paper": "CartoonGAN, torch eager", "own": f"{name}, at the picture's size", "style": f"{name}, as applied"}
    print("| picture | | seconds | times as fast | memory, MiB |\n| --- | --- | --- | --- | --- |")
    for size, (height, width) in SIZES.items():
        found: dict[str, list[list[float]]] = {way: [] for way in ways}
        for _ in range(ROUNDS):
            for way in ways:
                words = [sys.executable, "-W", "ignore", "-c", ONE, way, str(height), str(width), name]
                found[way].append(json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()[-1]))
        best = {way: (min(each[0] for each in runs), max(each[1] for each in runs)) for way, runs in found.items()}
        for way, title in ways.items():
            print(f"| {size} | {title} | {best[way][0]:.3f} | {best['paper'][0] / best[way][0]:.1f} | {best[way][1]:.0f} |")


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["storybook"]))
