"""Numbers of cartoon styles side by side, on photographs that no training saw: a line for each style, in Markdown.

    .venv/bin/python runs/measure_cartoons.py storybook runs-out/mine/style.onnx --photos HELD_OUT --cartoons CARTOONS --vgg VGG19

Photographs and cartoons are looked at with a short side of 288 pixels at most, squares of 256 from their middle.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cyclopts import run
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

import limner
from limner.blocks import features, measures
from limner.blocks.adversarial import KernelDistance
from limner.methods.cartoongan import content_loss
from limner.pictures.sources import open_source
from limner.prepare.pictures import cut

SHORT, SIDE = 288, 256
COLUMNS = (
    "kernel distance",
    "drawing distance",
    "content lost",
    "skin hue, degrees",
    "outlines",
    "rims",
    "flat noise",
    "peak 2, 4 px",
    "moved 1 px",
)
LAYERS = ("relu1_2", "relu2_2", "relu3_4")
CONTENT = "conv2_2"


def measure(*styles: str, photos: Path, cartoons: Path, vgg: Path, abstractions: tuple[str, ...] = ("storybook",), every: int = 1) -> None:
    """Print the table.

    Parameters
    ----------
    styles
        Bundled styles, or style files.
    photos
        Photographs that no style was trained on.
    cartoons
        Cartoons; every fourth is taken, and half of those give the floor of the distances.
    vgg
        VGG-19 weights that reach conv3_4.
    abstractions
        Abstractions, drawn by rules alone, to measure as well.
    every
        Take every how-manieth photograph.
    """
    eyes = features.load((*LAYERS, CONTENT), vgg)
    kept = squares(photos)[::every]
    drawn = [tensor(each) for each in squares(cartoons)[::4]]
    seen = [tensor(each) for each in kept]
    with torch.no_grad():
        palette, lines = KernelDistance(eyes, LAYERS, drawn[::2]), measures.DrawingDistance(eyes, drawn[::2], seen)
        floor = palette(drawn[1::2]).item()
        print(f"| | {' | '.join(COLUMNS)} |")
        print("|" + " --- |" * (len(COLUMNS) + 1))
        ways: dict[str, Callable[[NDArray[np.uint8]], NDArray[Any]]] = {"photograph": lambda pixels: pixels}
        for name in abstractions:
            from limner.blocks.abstraction import of_pixels

            ways[f"rules: {name}"] = partial(of_pixels, name=name)
        ways |= {name: limner.load(name) for name in styles}
        for name, paint in ways.items():
            painted = [tensor(paint(pixels)) for pixels in kept]
            content = [content_loss(eyes(a)[CONTENT], eyes(b)[CONTENT]) for a, b in zip(painted, seen, strict=True)]
            pair = torch.cat(painted), torch.cat(seen)
            shifted = [tensor(paint(np.ascontiguousarray(pixels[:, 1:]))) for pixels in kept]
            moved = [a - b[..., 1:] for a, b in zip(shifted, painted, strict=True)]
            numbers = [f"{palette(painted).item():.3f}", f"{lines(painted).item():.2f}", f"{torch.stack(content).mean().item():.2f}"]
            numbers += [f"{each(*pair).item():.1f}" for each in (measures.skin_hue_shift, measures.outline_strength, measures.light_rims)]
            numbers += [
                f"{measures.flat_noise(*pair).item():.2f}",
                ", ".join(f"{measures.spectral_peak(*pair, period).item():.2f}" for period in (2, 4)),
            ]
            numbers.append(f"{255 * torch.stack([each[..., 32:-32, 32:-32].abs().mean() for each in moved]).mean().item():.2f}")
            print(f"| {name} | {' | '.join(numbers)} |", flush=True)
    print(f"\nKernel distance of half of the cartoons from the other half: {floor:.3f}. {len(kept)} photographs, {len(drawn)} cartoons.")


def squares(folder: Path) -> list[np.ndarray]:
    """Squares from the middle of each picture, uint8 HWC RGB."""
    source, found = open_source(folder), []
    for n in range(len(source)):
        pixels = np.asarray(cut(Image.fromarray(source[n]), SHORT, 0, np.random.default_rng(0))[0])
        top, left = ((side - SIDE) // 2 for side in pixels.shape[:2])
        if min(top, left) >= 0:
            found.append(np.ascontiguousarray(pixels[top : top + SIDE, left : left + SIDE]))
    return found


def tensor(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255


if __name__ == "__main__":
    run(measure)
