"""A U-Net without norm, which draws on the photograph itself: the generator of cartoons."""

from itertools import pairwise
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from limner.blocks.canvas import MIRRORED, PERIOD
from limner.blocks.network import StyleNetwork

DIRECTIONS, REACH = 6, 14
"""In how many directions the canvas's bristles are drawn out for the network to choose from, and how many pixels both ways."""


class Block(nn.Module):
    """Two 3 x 3 convolutions without norm, whose result is added to the input; it begins at a tenth of its size."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect")
        self.second = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect")

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.second(leaky(self.first(x)))
        return x + residual


class UNet(StyleNetwork):
    """A generator that draws on the photograph: float32 NCHW RGB in [0, 1] to the same; H, W multiples of 2^levels.

    Olaf Ronneberger, Philipp Fischer, Thomas Brox, "U-Net", 2015, https://arxiv.org/abs/1505.04597, with sums in the place of joined
    channels, and without norm: what is at one place of a picture has no say far away, so bands are exact and films are calm.

    With ``canvas`` planes it sees a canvas (``limner.blocks.canvas``) beside the photograph: float32 1 x C x P x P, which it holds itself
    and repeats over the picture, with straight bristles in several directions already drawn. ``start_canvas`` gives it one.
    """

    def __init__(self, width: int = 24, levels: int = 3, blocks: int = 4, canvas: int = 0) -> None:
        super().__init__()
        self.arguments = {"width": width, "levels": levels, "blocks": blocks} | ({"canvas": canvas} if canvas else {})
        self.multiple_of = 2**levels
        self.min_side = 2 * self.multiple_of
        self.receptive_field = _receptive_field(levels, blocks)
        sizes = [min(width * 2**n, 128) for n in range(levels + 1)]
        pairs = list(pairwise(sizes))
        self.enter = nn.Conv2d(3, width, 7, padding=3, padding_mode="reflect")
        self.halve = nn.ModuleList(nn.Conv2d(a, a, 3, 2, 1) for a, _ in pairs)
        self.widen = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairs)
        made = [Block(sizes[-1]) for _ in range(blocks)]
        self.blocks = nn.ModuleList(made)
        self.narrow = nn.ModuleList(nn.Conv2d(b, a, 3, padding=1) for a, b in pairs[::-1])
        self.join = nn.ModuleList(nn.Conv2d(a, a, 3, padding=1) for a, _ in pairs[::-1])
        self.to_rgb = nn.Conv2d(width, 3, 7, padding=3, padding_mode="reflect")
        self.ground = nn.Conv2d(2 * DIRECTIONS + 2, width, 7, padding=3, padding_mode="reflect") if canvas else None
        if canvas:
            self.register_buffer("canvas", torch.zeros(1, canvas, PERIOD, PERIOD))
            self.register_buffer("lines", lines())
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, 0.2)
                nn.init.constant_(cast(Tensor, module.bias), 0)
        with torch.no_grad():
            for block in made:
                block.second.weight.mul_(0.1)
            self.to_rgb.weight.mul_(0.05)  # it begins as the photograph, nearly
            if self.ground is not None:
                self.ground.weight.mul_(0.5)  # the canvas speaks no louder than the photograph

    def start_canvas(self, planes: NDArray[np.float32]) -> None:
        """Take the canvas ``planes``, P x P x C."""
        self.get_buffer("canvas").copy_(torch.from_numpy(planes).permute(2, 0, 1)[None].roll((REACH, REACH), (2, 3)))

    def under(self, image: Tensor, places: Tensor | None) -> Tensor:
        """The canvas under ``image``: its bristles drawn out in each of the directions, and its own direction; N or 1 x C x H x W."""
        canvas, sides = self.get_buffer("canvas"), [side + 2 * REACH for side in image.shape[2:]]  # lines begin beyond the border
        wide = everywhere(canvas, *sides) if places is None else at(canvas, places, *sides)
        return torch.cat([F.conv2d(wide[:, :2], self.get_buffer("lines"), groups=2), wide[:, 2:, REACH:-REACH, REACH:-REACH]], 1)

    def forward(self, image: Tensor, places: Tensor | None = None) -> Tensor:
        """``places`` are those of crops: N x 3, a crop's top and left in its photograph, and 1 where it is mirrored."""
        x = self.enter(image * 2 - 1)
        if self.ground is not None:
            x = x + self.ground(self.under(image, places))
        x, skips = leaky(x), []
        for halve, widen in zip(self.halve, self.widen, strict=True):
            skips.append(x)
            x = leaky(widen(leaky(halve(x))))
        for block in self.blocks:
            x = block(x)
        for narrow, join in zip(self.narrow, self.join, strict=True):
            x = F.interpolate(leaky(narrow(x)), scale_factor=2.0, mode="bilinear")
            x = leaky(join(x + skips.pop()))
        drawn: Tensor = image + 0.5 * self.to_rgb(x)
        # While it learns, values may leave the range: what is cut off would have no gradient, and never come back.
        return drawn if self.training else drawn.clamp(0, 1)


def _receptive_field(levels: int, blocks: int) -> int:
    """Pixels in a row that one pixel comes from, followed backwards: each 3 x 3 convolution needs two more than it gives."""
    side = 7  # to_rgb
    for _ in range(levels):
        side = (side + 2) // 2 + 2 + 2  # join; enlarging, whose pixels lie between two; narrow
    side += 4 * blocks
    for _ in range(levels):
        side = 2 * (side + 2) + 1  # widen; halve
    return side + 6  # enter


def lines() -> Tensor:
    """Means along straight lines, ``REACH`` pixels both ways, in all directions, twice: for light and for warmth."""
    steps = torch.arange(-REACH, REACH + 1.0)
    down, right = torch.meshgrid(steps, steps, indexing="ij")
    angles = (torch.pi / DIRECTIONS * torch.arange(DIRECTIONS)).view(-1, 1, 1)
    along, across = right * angles.cos() + down * angles.sin(), down * angles.cos() - right * angles.sin()
    kernels = (1 - across.abs()).clamp(0) * (REACH + 0.5 - along.abs()).clamp(0, 1)
    kernels *= 5 / kernels.sum((1, 2), keepdim=True)  # drawn out, noise grows weaker
    return kernels.repeat(2, 1, 1)[:, None]


def everywhere(canvas: Tensor, height: int, width: int) -> Tensor:
    """The canvas, 1 x C x P x P, repeated over a picture: 1 x C x H x W."""
    times = [(side + PERIOD - 1) // PERIOD for side in (height, width)]  # ONNX rounds towards zero: nothing negative may be divided
    return canvas.repeat(1, 1, *times)[:, :, :height, :width]


def at(canvas: Tensor, places: Tensor, height: int, width: int) -> Tensor:
    """The canvas, 1 x C x P x P, under crops of pictures over which it is repeated: N x C x H x W."""
    top, left, mirrored = places[..., None].unbind(1)
    rows, columns = (torch.arange(side, device=canvas.device) for side in (height, width))
    columns = left + torch.where(mirrored == 1, width - 1 - columns, columns)
    sign = torch.where(mirrored == 1, canvas.new_tensor(MIRRORED), 1.0)
    found = canvas[0][:, ((top + rows) % PERIOD)[:, :, None], (columns % PERIOD)[:, None, :]]
    return found.transpose(0, 1) * sign[..., None, None]


def leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2)
