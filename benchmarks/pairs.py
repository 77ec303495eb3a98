"""What a CycleGAN makes of pictures never trained on, beside what it was to make.

    python benchmarks/pairs.py photographs/ paintings/ --vgg weights.safetensors runs-out/monet [another run ...]

One row for the photographs themselves, one for one half of the paintings beside the other half, one for each run, there and back:

- ``kernel``: kernel distance of VGG-19's features from the paintings' (the photographs' distance is 1, where the way back is measured, the
  paintings' from the photographs); ``content``: how much of its features at relu3_4 a picture loses, as a part
- ``away``: distance of colours from theirs, the Wasserstein distance of L, a and b each, in units of CIE Lab
- ``cycle``: mean difference of the picture that comes back, of 255
- ``droplets``, ``fine``, ``peak``: what the alarms measure (``limner.training.alarms``)
- ``outside``: share of pixels that are quite black or white

All pictures are squares of 256 pixels from the middle.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import limner
from limner.blocks import features
from limner.blocks.adversarial import KernelDistance
from limner.blocks.painterly import to_lab
from limner.pictures import image
from limner.training import alarms

SIDE, LAYERS = 256, ("relu1_2", "relu2_2", "relu3_4")
COLUMNS = ("kernel", "content", "away", "cycle", "droplets", "fine", "peak", "outside")


def read(path: Path) -> NDArray[np.uint8]:
    pixels = image.flat(image.read(path))
    scale = SIDE / min(pixels.shape[:2])
    small = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    top, left = ((side - SIDE) // 2 for side in small.shape[:2])
    return np.ascontiguousarray(small[top : top + SIDE, left : left + SIDE])


def folder(path: Path) -> list[NDArray[np.uint8]]:
    return [read(each) for each in sorted(path.iterdir()) if each.suffix.lower() in (".jpg", ".jpeg", ".png")]


def batches(pictures: list[NDArray[np.uint8]]) -> list[Tensor]:
    return list(torch.split(torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255, 8))


def away(pictures: list[NDArray[np.uint8]], wanted: list[NDArray[np.uint8]]) -> float:
    steps = np.linspace(0.5, 99.5, 100)
    own, theirs = (
        np.percentile(np.concatenate([to_lab(each.astype(np.float32) / np.float32(255)).reshape(-1, 3) for each in some]), steps, axis=0)
        for some in (pictures, wanted)
    )
    return float(np.abs(own - theirs).mean())


def main(photos_path: Path, paintings_path: Path, vgg_path: Path, runs: list[Path]) -> None:
    vgg = features.load(LAYERS, vgg_path)
    photos, paintings = folder(photos_path), folder(paintings_path)

    def content(made: list[NDArray[np.uint8]], given: list[NDArray[np.uint8]]) -> float:
        lost = []
        for a, b in zip(batches(made), batches(given), strict=True):
            seen_a, seen_b = (vgg(batch)[LAYERS[-1]] for batch in (a, b))
            lost.append(((seen_a - seen_b).abs().mean() / seen_b.abs().mean()).item())
        return float(np.mean(lost))

    def row(name: str, *numbers: float) -> None:
        print(f"{name:<32}" + "".join(f"{number:>10.3f}" for number in numbers), flush=True)

    with torch.no_grad():
        print(f"{'':<32}" + "".join(f"{column:>10}" for column in COLUMNS))
        nothing = float("nan")
        ways = {"there": (photos, paintings), "back": (paintings, photos)}
        distances = {way: KernelDistance(vgg, LAYERS, batches(wanted)) for way, (_, wanted) in ways.items()}
        at_first = {way: distances[way](batches(given)).item() for way, (given, _) in ways.items()}
        row("photographs", 1.0, 0.0, away(photos, paintings), 0.0, 0.0, *[nothing] * 3)
        halves = paintings[::2], paintings[1::2]
        floor = KernelDistance(vgg, LAYERS, batches(halves[0]))(batches(halves[1])).item() / at_first["there"]
        row("half of the paintings", floor, nothing, away(*halves), *[nothing] * 5)
        for run in runs:
            styles = {"there": limner.load(run / "style.onnx"), "back": limner.load(run / "style-back.onnx")}
            for way, (given, wanted) in ways.items():
                other = "back" if way == "there" else "there"
                made = [styles[way](each, working_size="full") for each in given]
                returned = [styles[other](each, working_size="full") for each in made]
                cycle = float(np.mean([np.abs(a.astype(float) - b).mean() for a, b in zip(returned, given, strict=True)]))
                before, after = torch.cat(batches(given)), torch.cat(batches(made))
                grey = (after.mean(1) < 0.01) | (after.mean(1) > 0.99)
                numbers = (
                    distances[way](batches(made)).item() / at_first[way],
                    content(made, given),
                    away(made, wanted),
                    cycle,
                    alarms.droplets(before, after),
                    *alarms.weave(before, after),
                    grey.float().mean().item(),
                )
                row(f"{run.name}, {way}", *numbers)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("paintings", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--vgg", type=Path, required=True)
    given = parser.parse_args()
    main(given.photographs, given.paintings, given.vgg, given.runs)
