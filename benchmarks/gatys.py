"""What `limner paint` holds: how far the loss falls, which painting the result is nearest to, what --init saves, how much memory it takes.

    python benchmarks/gatys.py noise --vgg vgg19.pth --paintings folder/
    python benchmarks/gatys.py init --vgg vgg19.pth --painting starry-night.jpg --style starry-night
    python benchmarks/gatys.py memory

Paintings that are compared are all scaled to the result's own size.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from cyclopts import App
from safetensors.torch import save_file
from torch import Tensor

import limner
from limner.blocks import features
from limner.methods import gatys
from limner.pictures import image
from limner.training.painting import Easel, Options, paint

app = App(help=__doc__)
PHOTO = Path(__file__).parent.parent / "examples" / "photos" / "astronaut.jpg"
LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu3_4")
CONTENT = "relu3_3"


class Watched:
    """Losses of every iteration, while it is in force."""

    def __enter__(self) -> list[dict[str, float]]:
        self.show, found = Easel.show, []
        watched = self

        def show(self: Easel, painted: Callable[[], Tensor], losses: dict[str, Tensor]) -> None:
            found.append({name: loss.item() for name, loss in losses.items()} | {"done": self.done})
            watched.show(self, painted, losses)

        Easel.show = show  # type: ignore[method-assign]
        return found

    def __exit__(self, *_: object) -> None:
        Easel.show = self.show  # type: ignore[method-assign]


@app.command
def noise(vgg: Path, paintings: Path, *, photo: Path = PHOTO, size: int = 256, presets: Sequence[str] = ("", "paper")) -> None:
    """From noise: the loss at the first iteration against the last, and the Gram distance of the result to each of the paintings."""
    found = image.find(paintings)
    wanted = found[0]
    print("| way | loss, first | loss, last | times lower | nearest of the paintings | next | by Gram distance |\n|" + " --- |" * 7)
    for preset in presets:
        changes: dict[str, Any] = dict(gatys.Config.PRESETS[preset]) if preset else {}
        config = gatys.Config(
            vgg=vgg, size=size, style_layers=LAYERS, content_layer=CONTENT, **{**changes, "start": "noise", "smallest": size}
        )
        with tempfile.TemporaryDirectory() as folder, Watched() as losses:
            out = Path(folder) / "out.png"
            paint(photo, [wanted], out, config, Options(preview_every=0))
            ranked = sorted((_gram_distance(vgg, out, other), other.stem) for other in found)
        first, last = losses[0]["loss"], losses[-1]["loss"]
        names = [name.partition("_")[0] for _, name in ranked]
        print(f"| {preset or 'default'} | {first:.3f} | {last:.4f} | {first / last:.0f} | {names[0]} | {names[1]} | "
              f"{ranked[0][0]:.3f}, {ranked[1][0]:.3f} |", flush=True)  # fmt: skip
        assert ranked[0][1] == wanted.stem, "it looks like another painting"


def _gram_distance(vgg: Path, picture: Path, painting: Path) -> float:
    eyes = features.load(LAYERS, vgg)
    ours = torch.from_numpy(image.to_float(image.read(picture).pixels))
    theirs = torch.from_numpy(image.to_float(image.read(painting).pixels))
    with torch.no_grad():
        seen, wanted = eyes(ours), eyes(gatys.resized(theirs, gatys.fitted(*theirs.shape[-2:], max(ours.shape[-2:]))))  # type: ignore[call-arg]
        return sum(gatys.Gram(gatys.moments(wanted[layer]))(gatys.moments(seen[layer])).item() for layer in LAYERS) / len(LAYERS)


@app.command
def init(vgg: Path, painting: Path, style: str = "starry-night", *, photo: Path = PHOTO, size: int = 256) -> None:
    """How many iterations --init needs for the final loss of the plain run."""
    config = gatys.Config(vgg=vgg, size=size, style_layers=LAYERS, content_layer=CONTENT)
    with tempfile.TemporaryDirectory() as folder:
        with Watched() as plain:
            paint(photo, [painting], Path(folder) / "plain.png", config, Options(preview_every=0))
        with Watched() as begun:
            paint(photo, [painting], Path(folder) / "init.png", config, Options(preview_every=0, init=style), limner.load(style).paint)
    final = sum(each["loss"] for each in plain[-10:]) / 10
    scales = gatys.scales(config, *image.read(photo).pixels.shape[:2])
    work = [(scale, config.initial_iterations if number == 0 else config.iterations) for number, scale in enumerate(scales)]
    print(f"plain: {len(plain)} iterations at {', '.join(f'{count} x {scale} px' for scale, count in work)}; final loss {final:.5f}")
    last_scale = len(begun) - config.iterations
    reached = next((number + 1 for number, each in enumerate(begun) if number >= last_scale and each["loss"] <= final), None)
    print(f"--init {style}: {reached or 'never'} of its {len(begun)} iterations, final loss {begun[-1]['loss']:.5f}")
    if reached:
        print(f"iterations: {reached / len(plain):.2f} of the plain run's")


@app.command
def memory(sizes: Sequence[int] = (500, 1000, 2000), iterations: int = 2) -> None:
    """Peak memory of a square picture with the whole VGG-19 (seeded weights: what they are does not matter), against the estimate."""
    print("| pixels | numbers | way | estimated | measured |\n| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        vgg, photo = Path(folder) / "vgg.safetensors", Path(folder) / "photo.png"
        torch.manual_seed(0)
        whole = features.VGG19(["relu5_1"])
        save_file({f"features.{features.CONVOLUTIONS[name]}.{kind}": getattr(whole.features[name], kind).clone()
                   for name in whole.names for kind in ("weight", "bias")}, vgg)  # fmt: skip
        for size in sizes:
            picture = torch.rand(1, 3, size, size).numpy()
            image.write(image.Picture(image.from_float(picture, "uint8")), photo)
            for precision in ("auto", "float32"):
                for limit in (0.0, 1e-9):
                    words = [sys.executable, "-c", ONE, str(photo), str(vgg), str(size), str(iterations), precision, str(limit)]
                    found = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
                    way = "sparing" if found["sparing"] else "whole"
                    print(
                        f"| {size * size / 1e6:.2f} M | {precision} | {way} | {found['estimate']:.1f} GB | {found['peak']:.1f} GB |",
                        flush=True,
                    )


ONE = """
import json, resource, sys
from pathlib import Path
from limner.blocks import features
from limner.methods import gatys
from limner.training import painting
photo, vgg, size, iterations, precision, limit = *map(Path, sys.argv[1:3]), *map(int, sys.argv[3:5]), sys.argv[5], float(sys.argv[6])
asked = {}
def sparing(self, layers, size, *, painting, copies):
    each = 2 if self.bf16 else 4
    asked["sparing"] = limit > 0
    there_and_back = features.memory(layers, size, bytes_each=each, sparing=limit > 0)
    asked["estimate"] = (there_and_back + 12.0 * (copies * size[0] * size[1] + painting)) / 1e9
    return limit > 0
painting.Easel.sparing = sparing
config = gatys.Config(vgg=vgg, size=size, smallest=size, initial_iterations=iterations)
painting.paint(photo, [photo], photo.with_name(f"out-{precision}-{limit}.png"), config,
               painting.Options(preview_every=0, precision=precision, overwrite=True))
print(json.dumps(asked | {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9}))
"""


if __name__ == "__main__":
    app()
