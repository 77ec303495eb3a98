"""Training: the textbooks' loop, and what each step away from it saves, side by side.

    python benchmarks/train.py                # fast neural style
    python benchmarks/train.py cyclegan

The method's default networks, losses and batch in all rows; VGG-19's weights are seeded random numbers, since speed does not depend on
them. Each row is a process of its own, they take turns, and the median of all steps after warming up counts. Where there is a GPU it is
used.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PHOTOS = Path(__file__).parent.parent / "examples" / "photos"
ROUNDS = 2
STEPS, WARM = 12, 4

# Each row is the one above it and one thing more.
ROWS = {
    "textbook: float32, eager, InstanceNorm2d": {"textbook"},
    "GroupNorm, channels_last, memory kept": {"layout"},
    "bf16": {"layout", "bf16"},
    "compiled: `limner train`": {"layout", "bf16", "compiled"},
}


def measure(method: str, row: str, folder: Path) -> None:
    """Train a few steps as ``row`` says; print the seconds of each step and the peak memory as JSON."""
    import resource

    import torch
    from torch import nn

    from limner.methods import cyclegan, fast_style
    from limner.training import run as run_module
    from limner.training.trainer import Options

    traits = ROWS[row]
    if "textbook" in traits:
        _as_in_the_textbooks(torch, nn, run_module)

    times: list[float] = []

    class Timed(run_module.Run):
        def log(self, step: int, **losses: Any) -> None:
            if self.device.type == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter())

    options = Options(
        folder / row.split(":")[0].replace(" ", "-"),
        precision="bf16" if "bf16" in traits else "float32",
        compile="yes" if "compiled" in traits else "no",
        checkpoint_every=10**6,
        preview_every=1e9,
        trackers=("none",),
    )
    run = Timed(options, steps=STEPS)
    config: Any
    if method == "cyclegan":
        papers = {"generator": "paper", "discriminator": "paper", "width": 32, "blocks": 6, "augment": False}
        config = cyclegan.Config(PHOTOS, PHOTOS, vgg=folder / "vgg.safetensors", steps=STEPS, **papers)
        cyclegan.train(config, run)
    else:
        config = fast_style.Config(folder / "painting.jpg", PHOTOS, vgg=folder / "vgg.safetensors", steps=STEPS)
        fast_style.train(config, run)
    steps = [b - a for a, b in zip(times[WARM:], times[WARM + 1 :], strict=False)]
    on_gpu = torch.cuda.is_available()
    peak = torch.cuda.max_memory_allocated() if on_gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    device = torch.cuda.get_device_name() if on_gpu else f"{os.cpu_count()} cores"
    found = {"steps": steps, "peak": peak, "batch": f"{config.batch_size} of {config.image_size} x {config.image_size}", "device": device}
    print(json.dumps({**found, "pictures": config.batch_size}))


def _as_in_the_textbooks(torch: Any, nn: Any, run_module: Any) -> None:
    """InstanceNorm2d, NCHW, Adam without fusion, memory given back at each step."""
    adam = torch.optim.Adam
    nn.GroupNorm = lambda groups, channels, affine=True: nn.InstanceNorm2d(channels, affine=affine)
    torch.optim.Adam = lambda *given, **named: adam(*given, **{**named, "fused": False, "foreach": False})
    run_module.machine.keep_large_blocks = lambda: None
    run_module.Run.place = lambda self, module: module.to(self.device)
    get = run_module.data.Stream.__getitem__
    run_module.data.Stream.__getitem__ = lambda self, step: get(self, step).contiguous()
    torch.set_float32_matmul_precision = lambda _: None


def make_inputs(folder: Path) -> None:
    import torch
    from PIL import Image
    from safetensors.torch import save_file

    from limner.blocks import features

    Image.open(PHOTOS / "coffee.jpg").save(folder / "painting.jpg")
    torch.manual_seed(0)
    state = {}
    network = features.VGG19(("relu3_3",))
    for name in network.names:
        module = network.features[name]
        if isinstance(module, torch.nn.Conv2d):
            index = features.CONVOLUTIONS[name]
            state[f"features.{index}.weight"] = torch.randn_like(module.weight) * (2 / module.weight[0].numel()) ** 0.5
            state[f"features.{index}.bias"] = torch.zeros_like(module.bias)
    save_file(state, folder / "vgg.safetensors")


def main(method: str) -> None:
    found: dict[str, list[Any]] = {row: [] for row in ROWS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_inputs(folder)
        for _ in range(ROUNDS):
            for row in ROWS:
                command = [sys.executable, __file__, method, row, name]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode:
                    sys.exit(done.stderr)
                found[row].append(json.loads(done.stdout.splitlines()[-1]))
    first = found[next(iter(ROWS))][0]
    print(f"{platform.processor() or platform.machine()}, {first['device']}; batch {first['batch']}")
    print("| loop | a step | pictures/s | | peak memory |\n| --- | --- | --- | --- | --- |")
    base = 0.0
    for row, results in found.items():
        seconds = statistics.median(step for result in results for step in result["steps"])
        peak = max(result["peak"] for result in results) / 1e9
        base = base or seconds
        print(f"| {row} | {seconds:.3f} s | {first['pictures'] / seconds:.1f} | {base / seconds:.1f} x | {peak:.1f} GB |")


if __name__ == "__main__":
    if len(sys.argv) == 4:
        measure(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
    else:
        main(sys.argv[1] if len(sys.argv) == 2 else "fast_style")
