"""VGG-19 features (Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015,
https://arxiv.org/abs/1409.1556, configuration E): the eyes of every perceptual loss in Limner.

Layers are named as in the style papers: ``conv3_2`` is the second convolution of the third block, before its ReLU; ``relu3_2`` the same
after it. Weights are torchvision's file (keys ``features.N.weight``), whole or cut off after some layer.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any, Literal
from urllib.request import urlopen

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from limner import limits
from limner.errors import LimnerError
from limner.files import replacing

BLOCKS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
"""Channels and number of 3 x 3 convolutions of each block; 2 x 2 max pooling stands between the blocks."""

URL = "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth"
SHA256_PREFIX = "dcbb9e9d"

SILENCE, PATIENCE, SLOWEST = 20.0, 60.0, 20_000.0
"""A download is given up after so many seconds without a word, or where after some time it came at fewer bytes a second."""

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def _index_of_convolutions() -> dict[str, int]:
    """Name of each convolution, e.g. ``conv1_2``, to its index in torchvision's ``features`` (ReLU and pooling take indices too)."""
    index, table = 0, {}
    for block, (_, convolutions) in enumerate(BLOCKS, start=1):
        for number in range(1, convolutions + 1):
            table[f"conv{block}_{number}"] = index
            index += 2
        index += 1
    return table


CONVOLUTIONS = _index_of_convolutions()
LAYERS = tuple(kind + name.removeprefix("conv") for name in CONVOLUTIONS for kind in ("conv", "relu"))


Pooling = Literal["max", "average", "l2"]
POOLINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "max": lambda x: F.max_pool2d(x, 2),
    # Factors that keep features about as large as max pooling, which the network was trained with, makes them.
    "average": lambda x: F.avg_pool2d(x, 2) * 2.0,
    "l2": lambda x: (F.avg_pool2d(x.square(), 2) * 4 + 1e-6).sqrt() * 0.78,  # 1e-6: the root has a slope where all is dark, too
}


class VGG19(nn.Module):
    """VGG-19 up to the deepest of ``layers``, frozen.

    ``forward`` takes float32 NCHW RGB in [0, 1] and returns ``{layer: features}``, features float NCHW with H and W divided by two for each
    block above the first. With ``tap`` it returns ``{layer: tap(layer, features)}``. Raises ``LimnerError`` for a layer that VGG-19 does
    not have.

    ``pooling`` stands between the blocks. ``edge`` is how the picture goes on beyond its own edge: in "zeros", as the network was trained,
    or as its outermost pixels ("replicate"), which a picture that is optimised shows no seam of.
    """

    mean: Tensor
    std: Tensor
    sparing = False
    """Keep no features for the backward pass but compute them again, block by block: slower, with less memory (see ``memory``)."""

    def __init__(self, layers: Iterable[str], *, pooling: Pooling = "max", edge: Literal["zeros", "replicate"] = "zeros") -> None:
        super().__init__()
        self.layers = frozenset(layers)
        self.pool = POOLINGS[pooling]
        for layer in sorted(self.layers):
            if layer not in LAYERS:
                raise LimnerError(f"VGG-19 has no layer {layer!r}: layers are called {LAYERS[0]}, {LAYERS[1]} ... {LAYERS[-1]}.")
        depth = max(LAYERS.index(layer) for layer in self.layers)
        self.names = [name for name in CONVOLUTIONS if LAYERS.index(name) <= depth]
        self.features = nn.ModuleDict()
        channels = 3
        for name in self.names:
            width = BLOCKS[int(name[4]) - 1][0]
            self.features[name] = nn.Conv2d(channels, width, 3, padding=1, padding_mode=edge if name == "conv1_1" else "zeros")
            channels = width
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False).eval()

    def forward(self, images: Tensor, tap: Callable[[str, Tensor], Any] = lambda _, x: x) -> dict[str, Any]:
        x = (images - self.mean) / self.std
        found: dict[str, Any] = {}
        for number in range(1, int(self.names[-1][4]) + 1):
            if self.sparing and torch.is_grad_enabled():
                x, new = checkpoint(self._block, number, x, tap, use_reentrant=False)
            else:
                x, new = self._block(number, x, tap)
            found |= new
        return found

    def _block(self, number: int, x: Tensor, tap: Callable[[str, Tensor], Any]) -> tuple[Tensor, dict[str, Any]]:
        """Convolutions of one block, and the pooling before them; what ``tap`` made of the wanted layers."""
        found: dict[str, Any] = {}
        if number > 1:
            x = self.pool(x)
        for name in (name for name in self.names if name[4] == str(number)):
            x = self.features[name](x)
            if name in self.layers:
                found[name] = tap(name, x)
            x = F.relu(x)
            relu = "relu" + name.removeprefix("conv")
            if relu in self.layers:
                found[relu] = tap(relu, x)
        return x, found


PROGRAM = 5.5e8
"""Bytes of the program itself, with torch and VGG-19."""


def memory(names: Sequence[str], size: tuple[float, float], *, bytes_each: int, sparing: bool) -> float:
    """Bytes that a picture's way through the convolutions ``names`` and back takes, about; size is height, width.

    What each convolution and its ReLU keep, the places of the pooled maxima, and what the largest layer needs besides while it is
    computed; as measured at 0.25 to 4 megapixels (`benchmarks/gatys.py memory`).
    """
    pixels = size[0] * size[1]
    block = [int(name[4]) for name in names]
    values: list[float] = [BLOCKS[number - 1][0] * pixels / 4 ** (number - 1) for number in block]
    places: dict[int, float] = {number: BLOCKS[number - 1][0] * pixels / 4**number * 8 for number in set(block) if number < max(block)}
    if sparing:  # the first block is the largest
        return bytes_each * (sum(values[: block.count(1)]) + 4.5 * values[0]) + places.get(1, 0.0) + 360.0 * pixels + PROGRAM
    return bytes_each * (sum(values) + 4 * values[0]) + sum(places.values()) + 200.0 * pixels + PROGRAM


def load(
    layers: Sequence[str],
    weights: Path | None = None,
    *,
    pooling: Pooling = "max",
    edge: Literal["zeros", "replicate"] = "zeros",
) -> VGG19:
    """VGG-19 up to the deepest of ``layers`` with the weights of the file ``weights`` (``.safetensors``, or torchvision's ``.pth``).

    Without ``weights`` torchvision's file (548 MB) is downloaded once into torch's cache and its hash checked. Raises ``LimnerError`` where
    the file cannot be read or lacks a layer.
    """
    network = VGG19(layers, pooling=pooling, edge=edge)
    path = weights or _download()
    state = _read(path)
    there = [name for name, index in CONVOLUTIONS.items() if f"features.{index}.weight" in state]
    missing = [name for name in network.names if name not in there]
    if missing:
        # What ends in the file's last convolution may still be wanted before or after its ReLU: both are there.
        reach = f"reaches as far as relu{there[-1].removeprefix('conv')}" if there else "holds none of VGG-19's layers"
        wanted = ", ".join(sorted(layer for layer in network.layers if layer[4:] not in {name[4:] for name in there}))
        raise LimnerError(
            f"The VGG-19 weights {path} cannot give {wanted}: the file {reach}. Give a whole VGG-19 with `vgg`, or choose layers that "
            "it has with `style_layers` and `content_layer`."
        )
    for name in network.names:
        convolution = network.features[name]
        assert isinstance(convolution, nn.Conv2d)
        index = CONVOLUTIONS[name]
        convolution.load_state_dict({"weight": state[f"features.{index}.weight"], "bias": state[f"features.{index}.bias"]})
    return network


def _download() -> Path:
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(URL).name
    if not path.exists():
        with replacing(path) as beside:
            try:
                _fetch(URL, beside)
            except (OSError, ValueError, HTTPException) as error:
                raise LimnerError(
                    f"The VGG-19 weights could not be downloaded from {URL} ({error}): fetch the file and name it with `vgg` FILE."
                ) from error
    return path


def _fetch(url: str, path: Path) -> None:
    """Download a file and check its hash. A server that is silent, slow or endless is given up."""
    digest, got, began = hashlib.sha256(), 0, time.monotonic()
    with urlopen(url, timeout=SILENCE) as answer, path.open("wb") as file:
        while data := answer.read1(1 << 20):
            digest.update(data)
            file.write(data)
            got += len(data)
            if got > limits.WEIGHTS:
                raise ValueError("it does not end")
            if time.monotonic() - began > PATIENCE + got / SLOWEST:
                raise ValueError("the connection is too slow")
    if not digest.hexdigest().startswith(SHA256_PREFIX):
        raise ValueError("what came is not the file, by its hash")


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise LimnerError(f"There are no VGG-19 weights at {path}: leave `vgg` out to download them, or name the file that holds them.")
    try:
        limits.open_file(path, limits.WEIGHTS).close()
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # each reader has its own set of exceptions for a file that is not what it expects
        raise LimnerError(f"The VGG-19 weights {path} cannot be read ({error}): download the file anew.") from error
    if not isinstance(state, dict):
        raise LimnerError(f"The VGG-19 weights {path} hold no table of tensors: give torchvision's vgg19-dcbb9e9d.pth.")
    return state
