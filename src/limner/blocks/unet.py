"""A U-Net without norm, which draws on the photograph itself: the generator of cartoons."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from limner.blocks.bristles import COARSE, REACH_OF_DIRECTIONS, Bristles, Facets
from limner.blocks.network import StyleNetwork
from limner.blocks.palette import Inks
from limner.colour import LUMA

INK = (
    (0.000, 0.000, 0.000),
    (0.123, 0.125, 0.131),
    (0.246, 0.250, 0.260),
    (0.359, 0.375, 0.415),
    (0.492, 0.500, 0.520),
    (0.623, 0.625, 0.629),
    (0.755, 0.750, 0.734),
    (0.889, 0.874, 0.840),
    (1.000, 0.980, 0.930),
)
"""Colours of a drawing in ink with a blue-grey wash on warm paper by their luma, in eighths: those of
``abstraction.ink_wash`` to 1.5 of 255 (root mean square)."""


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

    With ``monochrome`` 1 it draws in the colours of ink and wash on paper alone (``INK``).

    With ``canvas`` 1 it sees bristles beside the photograph (``limner.blocks.bristles``): a canvas, which it holds itself, repeated over
    the picture and drawn out along its forms; with 2, a canvas of facets. ``canvas.start`` gives it one.

    With ``inks`` 1 it prints what it has drawn in the inks of a painting (``limner.blocks.palette``); ``tint.start`` gives it these.

    With ``smooth`` 1 it halves the picture by ``BlurPool``, not by convolutions with a stride: those have a grid of their own, which shows
    in what they paint, and in the gradients that come back through them.
    """

    may_lack = ("canvas.", "ground.", "halve.", "tint.")

    def __init__(
        self, width: int = 24, levels: int = 3, blocks: int = 4, canvas: int = 0, monochrome: int = 0, smooth: int = 0, inks: int = 0
    ) -> None:
        super().__init__()
        options = {"canvas": canvas, "monochrome": monochrome, "smooth": smooth, "inks": inks}
        chosen = {name: value for name, value in options.items() if value}
        self.arguments = {"width": width, "levels": levels, "blocks": blocks} | chosen
        self.multiple_of = max(2**levels, COARSE if canvas == 1 else 1)
        self.min_side = 2 * self.multiple_of
        self.receptive_field = _receptive_field(levels, blocks, 4 if smooth else 3) + (REACH_OF_DIRECTIONS if canvas == 1 else 0)
        sizes = [min(width * 2**n, 128) for n in range(levels + 1)]
        pairs = list(pairwise(sizes))
        self.enter = nn.Conv2d(3, width, 7, padding=3, padding_mode="reflect")
        self.halve = nn.ModuleList(BlurPool(a) if smooth else nn.Conv2d(a, a, 3, 2, 1) for a, _ in pairs)
        self.widen = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairs)
        made = [Block(sizes[-1]) for _ in range(blocks)]
        self.blocks = nn.ModuleList(made)
        self.narrow = nn.ModuleList(nn.Conv2d(b, a, 3, padding=1) for a, b in pairs[::-1])
        self.join = nn.ModuleList(nn.Conv2d(a, a, 3, padding=1) for a, _ in pairs[::-1])
        self.to_rgb = nn.Conv2d(width, 3, 7, padding=3, padding_mode="reflect")
        self.canvas = Bristles() if canvas == 1 else Facets() if canvas else None
        self.ground = None
        if self.canvas is not None:  # it is added to what enters, which has a bias already
            self.ground = nn.Conv2d(self.canvas.channels, width, 7, padding=3, padding_mode="reflect", bias=False)
        self.tint = Ramp(INK) if monochrome else Inks() if inks else None
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, 0.2)
                if module.bias is not None:
                    nn.init.constant_(module.bias, 0)
        with torch.no_grad():
            for block in made:
                block.second.weight.mul_(0.1)
            self.to_rgb.weight.mul_(0.05)  # it begins as the photograph, nearly
            if self.ground is not None:
                self.ground.weight.mul_(0.5)  # the canvas speaks no louder than the photograph

    def forward(self, image: Tensor, places: Tensor | None = None) -> Tensor:
        """``places`` are those of crops: N x 3, a crop's top and left in its photograph, and 1 where it is mirrored."""
        x = self.enter(image * 2 - 1)
        if self.ground is not None and self.canvas is not None:
            x = x + self.ground(self.canvas(image, places))
        x, skips = leaky(x), []
        for halve, widen in zip(self.halve, self.widen, strict=True):
            skips.append(x)
            halved = halve(x)
            x = leaky(widen(halved if isinstance(halve, BlurPool) else leaky(halved)))
        for block in self.blocks:
            x = block(x)
        for narrow, join in zip(self.narrow, self.join, strict=True):
            x = F.interpolate(leaky(narrow(x)), scale_factor=2.0, mode="bilinear")
            x = leaky(join(x + skips.pop()))
        drawn: Tensor = image + 0.5 * self.to_rgb(x)
        # While it learns, values may leave the range: what is cut off would have no gradient, and never come back.
        drawn = drawn if self.training else drawn.clamp(0, 1)
        return drawn if self.tint is None else self.tint(drawn)


class BlurPool(nn.Module):
    """Half the size, each pixel a mean over 4 x 4 of them with the weights 1, 3, 3, 1: nothing finer is left that could pass for something
    coarser. It has no weights to learn. Float NCHW to the same; ``padding`` 1, by reflection, for exactly half the size.

    Richard Zhang, "Making Convolutional Networks Shift-Invariant Again", ICML 2019, https://arxiv.org/abs/1904.11486.
    """

    def __init__(self, channels: int, padding: int = 1) -> None:
        super().__init__()
        row = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
        self.channels, self.padding = channels, padding
        self.register_buffer("kernel", (row[:, None] * row).repeat(channels, 1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.padding:
            x = F.pad(x, (self.padding,) * 4, mode="reflect")
        return F.conv2d(x, self.get_buffer("kernel"), stride=2, groups=self.channels)


class Ramp(nn.Module):
    """Each pixel in the colour that its luma has in a table, from that of black to that of white in equal steps, straight in between:
    float32 N3HW RGB to the same. It has no weights.
    """

    def __init__(self, colours: Sequence[Sequence[float]]) -> None:
        super().__init__()
        table, steps = torch.tensor(colours), len(colours) - 1
        slopes = table.diff(dim=0)
        bends = slopes.diff(dim=0, prepend=torch.zeros(1, 3))  # hinges, one at the beginning of each step
        fixed = {
            "luma": (steps * torch.tensor(LUMA)).view(1, 3, 1, 1).repeat(steps, 1, 1, 1),
            "starts": -torch.arange(steps, dtype=torch.float32),
            "bends": bends.T[..., None, None].contiguous(),
            "black": table[0],
        }
        for name, values in fixed.items():
            self.register_buffer(name, values, persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        hinges = F.conv2d(image, self.get_buffer("luma"), self.get_buffer("starts"))
        # While it learns, the first one goes on below black, so that what is out of range finds its way back.
        hinges = torch.cat([hinges[:, :1], F.relu(hinges[:, 1:])], 1) if self.training else F.relu(hinges)
        return F.conv2d(hinges, self.get_buffer("bends"), self.get_buffer("black"))


def _receptive_field(levels: int, blocks: int, halving: int) -> int:
    """Pixels in a row that one pixel comes from, followed backwards: each 3 x 3 convolution needs two more than it gives.
    ``halving`` is the side of what halves.
    """
    side = 7  # to_rgb
    for _ in range(levels):
        side = (side + 2) // 2 + 2 + 2  # join; enlarging, whose pixels lie between two; narrow
    side += 4 * blocks
    for _ in range(levels):
        side = 2 * (side + 2 - 1) + halving  # widen; halve
    return side + 6  # enter


def leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2)
