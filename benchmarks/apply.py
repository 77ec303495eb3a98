"""The same network in every engine, side by side: time and memory, as ratios to torch eager float32.

    python benchmarks/apply.py

The network is Johnson's at full width (1.68 M parameters) with seeded weights: what it paints does not matter here. Every engine runs in a
process of its own, so that peak memory is its own; the engines take turns, two rounds, and the median of all runs counts.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

SIZES = {"512 x 512": (512, 512), "1920 x 1080": (1080, 1920)}
CONVOLUTIONS = "OpenVINO, convolutions alone"
ENGINES = (CONVOLUTIONS, "torch eager float32", "torch runtime", "onnxruntime", "OpenVINO float32", "OpenVINO")
ROUNDS = 2
SECONDS = 4.0

WORK = 80.6
"""GFLOP of Johnson's network at 512 x 512."""

MEASURE = (
    f"WORK = {WORK}"
    + """
import json, resource, sys, time
import numpy as np

engine, path, height, width, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5])
image = np.random.default_rng(0).random((1, 3, height, width), np.float32)
if engine == "torch eager float32":
    # As in the well-known examples: InstanceNorm2d, contiguous layout, float32, no compilation.
    import torch
    from pathlib import Path
    from safetensors.torch import load_file
    from limner.methods.fast_style import Generator
    from limner.training.export import with_instance_norm
    network = Generator(32)
    network.load_state_dict({k: v.float() for k, v in load_file(Path(path).with_suffix(".safetensors")).items()})
    network = with_instance_norm(network)
    def run(image):
        with torch.inference_mode():
            return network(torch.from_numpy(image)).numpy()
elif engine == "OpenVINO, convolutions alone":
    # How fast this machine can be: as much work, in the network's own residual convolutions, with nothing between them.
    import openvino
    from openvino import opset13 as op
    shape, random = [1, 128, height // 4, width // 4], np.random.default_rng(0)
    first = out = op.parameter(shape, np.float32)
    count = round(WORK * 1e9 * height * width / 512**2 / (2 * 9 * 128 * 128 * shape[2] * shape[3]))
    for _ in range(count):
        weights = random.normal(0, 0.03, (128, 128, 3, 3)).astype(np.float32)
        out = op.convolution(out, op.constant(weights), [1, 1], [1, 1], [1, 1], [1, 1])
    network = openvino.Core().compile_model(openvino.Model([op.result(out)], [first]), "CPU", {"PERFORMANCE_HINT": "LATENCY"})
    features = random.random(shape, np.float32)
    def run(image):
        return network(features)
else:
    from pathlib import Path
    from limner.style.runtimes import opening
    name, precision = {"torch runtime": ("torch", "auto"), "onnxruntime": ("onnxruntime", "auto"),
                       "OpenVINO float32": ("openvino", "float32"), "OpenVINO": ("openvino", "auto")}[engine]
    run = opening.open_style(Path(path), runtime=name, precision=precision)
run(image)
times, until = [], time.perf_counter() + seconds
while len(times) < 3 or time.perf_counter() < until:
    start = time.perf_counter()
    run(image)
    times.append(time.perf_counter() - start)
print(json.dumps({"times": times, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
"""
)


def main() -> None:
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as folder:
        style = Path(folder) / "johnson.onnx"
        _write_network(style)
        for title, (height, width) in SIZES.items():
            times: dict[str, list[float]] = {engine: [] for engine in ENGINES}
            peak: dict[str, float] = {}
            for _ in range(ROUNDS):
                for engine in ENGINES:
                    words = [sys.executable, "-c", MEASURE, engine, str(style), str(height), str(width), str(SECONDS)]
                    found = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
                    times[engine] += found["times"]
                    peak[engine] = max(peak.get(engine, 0), found["peak"])
            _print_table(title, times, peak)


def _write_network(path: Path) -> None:
    import torch

    from limner.methods.fast_style import Generator
    from limner.training import export

    torch.manual_seed(0)
    export.write(Generator(32), {"name": "johnson", "title": "Johnson", "method": "fast_style", "best_short_side": 512}, path)


def _print_table(title: str, times: dict[str, list[float]], peak: dict[str, float]) -> None:
    base, limit = (statistics.median(times[engine]) for engine in ("torch eager float32", CONVOLUTIONS))
    print(f"\n| {title} | ms | times as fast | of the convolutions' rate | peak memory |\n| --- | --- | --- | --- | --- |")
    for engine in ENGINES:
        median = statistics.median(times[engine])
        print(f"| {engine} | {1000 * median:.0f} | {base / median:.1f} | {100 * limit / median:.0f} % | {peak[engine] / 2**30:.1f} GB |")


if __name__ == "__main__":
    main()
