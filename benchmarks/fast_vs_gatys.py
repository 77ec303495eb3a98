"""How much faster is a trained network than optimisation? Seconds a picture, and the time that Gatys needs to be as good.

    python benchmarks/fast_vs_gatys.py --vgg vgg19.pth --style starry-night --painting starry-night.jpg

Same photograph, same painting, same size. Both are measured by the loss that the style's own training minimised. For Gatys, that loss is
what is optimised, from the photograph, with Adam as in `limner paint`; it is asked how long it takes to reach what the network reached.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from cyclopts import run
from torch import Tensor

import limner
from limner.blocks import features
from limner.methods import fast_style
from limner.methods.gatys import fitted, resized
from limner.pictures import image

PHOTO = Path(__file__).parent.parent / "examples" / "photos" / "chelsea.jpg"


def compare(
    painting: Path,
    vgg: Path,
    *,
    style: str = "starry-night",
    photo: Path = PHOTO,
    sizes: tuple[int, ...] = (256, 512),
    iterations: int = 500,
) -> None:
    """Print the table.

    Parameters
    ----------
    painting
        What the style was trained on.
    vgg
        VGG-19 weights.
    style
        A fast neural style.
    photo
        What is painted.
    sizes
        Longer sides.
    iterations
        Of Gatys, at most.
    """
    torch.set_float32_matmul_precision("high")
    config = fast_style.Config(painting, photo, vgg=vgg, style_layers=("relu1_1", "relu2_1", "relu3_1", "relu3_3"), content_layer="relu3_3")
    eyes = features.load((*config.style_layers, config.content_layer), vgg)
    eyes = torch.nn.utils.convert_conv2d_weight_memory_format(eyes, torch.channels_last)
    print("| size | network, a picture | its loss | Gatys to the same loss | iterations | times slower | Gatys, after as many again |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    network = limner.load(style)
    for size in sizes:
        content = torch.from_numpy(image.to_float(image.read(photo).pixels))
        content = resized(content, tuple(side // 4 * 4 for side in fitted(*content.shape[-2:], size)))  # type: ignore[call-arg]
        paint = torch.from_numpy(image.to_float(image.read(painting).pixels))
        loss_of = objective(eyes, config, content, resized(paint, fitted(*paint.shape[-2:], size)))  # type: ignore[call-arg]
        pixels = image.from_float(content.numpy(), "uint8")
        network(pixels)  # the engine is opened, the network compiled for this size
        seconds = []
        for _ in range(5):
            began = time.perf_counter()
            drawn = network(pixels)
            seconds.append(time.perf_counter() - began)
        with torch.no_grad():
            wanted = loss_of(torch.from_numpy(image.to_float(drawn))).item()
        reached, needed, after = optimise(loss_of, content, wanted, iterations)
        fast = statistics.median(seconds)
        slow = (
            f"{reached:.0f} s | {needed} | {reached / fast:,.0f} x"
            if needed
            else f"not in {reached:.0f} s | {iterations} | over {reached / fast:,.0f} x"
        )
        print(f"| {content.shape[3]} x {content.shape[2]} | {1000 * fast:.0f} ms | {wanted:.3f} | {slow} | {after:.3f} |", flush=True)


def objective(eyes: features.VGG19, config: fast_style.Config, content: Tensor, painting: Tensor) -> Callable[[Tensor], Tensor]:
    """The loss of fast neural style's training, for one photograph."""
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        style_loss = fast_style.StyleLoss(eyes, config, painting)
        kept = eyes(content)[config.content_layer]

    def loss(picture: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            seen = eyes(picture)
            found: Tensor = fast_style.relative_error(seen[config.content_layer], kept, floor=1e-6) + config.style_weight * style_loss(
                picture, seen
            )
            return (
                found
                + config.tv_weight * fast_style.total_variation(picture)
                + config.tone_weight * fast_style.tone_difference(picture, content)
            )

    return loss


def optimise(loss_of: Callable[[Tensor], Tensor], content: Tensor, wanted: float, iterations: int) -> tuple[float, int, float]:
    """Seconds and iterations until the loss is ``wanted`` (0 iterations: never), and the loss after twice as many."""
    picture = content.clone().contiguous(memory_format=torch.channels_last).requires_grad_()
    adam = torch.optim.Adam([picture], 0.02, betas=(0.9, 0.99))
    began, reached, needed, value = time.perf_counter(), 0.0, 0, float("inf")
    for step in range(1, iterations + 1):
        adam.zero_grad()
        loss = loss_of(picture)
        torch.autograd.backward(loss)
        adam.step()
        with torch.no_grad():
            picture.clamp_(0, 1)
        value = loss.item()
        if value <= wanted and not needed:
            reached, needed = time.perf_counter() - began, step
        if needed and step >= 2 * needed:
            break
    return reached or time.perf_counter() - began, needed, value


if __name__ == "__main__":
    run(compare)
