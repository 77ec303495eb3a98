"""A canvas in a network, repeated over the photograph, all by fixed operations: bristles, drawn out along its forms; or facets.

Bristles are the same as ``limner.blocks.painterly`` draws out, but for straight lines in a few directions in the place of curved ones in
any. A network that is shown them need not find out for itself where a form leads, and learns to paint in minutes.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from limner.blocks.canvas import MIRRORED, PERIOD, PERIOD_OF_FACETS, PLANES
from limner.colour import LUMA

DIRECTIONS, REACH = 8, 14
"""In how many directions bristles are drawn out, and how many pixels both ways."""

COARSE = 4
"""Pixels of a side of the squares for which directions are found."""

SIZES = (3.0, 8.0, 20.0)
"""Deviations, in pixels, of the surroundings that a direction is taken from; each is trusted 0.35 times as much as the one before."""

REACH_OF_DIRECTIONS = 2 * (4 + COARSE * 16 + COARSE)
"""Pixels across, beside its own, that a bristle's direction is taken from."""


STEPS = 28.0
"""In how many steps a style file stores one deviation of a canvas: 8 bits hold 4.5 of them."""


def stored(planes: NDArray[np.float32]) -> Tensor:
    """A canvas, P x P x C, as a network holds it: uint8, 1 x C x P x P."""
    values = np.round(planes * STEPS + 128).clip(0, 255).astype(np.uint8)
    return torch.from_numpy(values).permute(2, 0, 1)[None].contiguous()


class Bristles(nn.Module):
    """float32 NCHW RGB in [0, 1], H and W multiples of ``COARSE``, to N4HW: light and warmth of bristles, of deviation about 1; and twice
    the angle of the slope that they cross, as cosine and sine.
    """

    channels = 4

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("planes", torch.zeros(1, PLANES, PERIOD, PERIOD, dtype=torch.uint8))
        fixed = {"luma": torch.tensor(LUMA).view(1, 3, 1, 1), "slopes": _slopes(), "blurs": _blurs(), "lines": _lines()}
        angles = 2 * torch.pi / DIRECTIONS * torch.arange(DIRECTIONS)
        fixed["towards"] = torch.stack([angles.cos(), angles.sin()], 1)[..., None, None]
        for name, kernel in fixed.items():
            self.register_buffer(name, kernel, persistent=False)

    def start(self, planes: NDArray[np.float32]) -> None:
        """Take the canvas ``planes`` (``limner.blocks.canvas``), P x P x C."""
        self.get_buffer("planes").copy_(stored(planes).roll((REACH, REACH), (2, 3)))

    def forward(self, image: Tensor, places: Tensor | None = None) -> Tensor:
        """``places`` are those of crops: N x 3, a crop's top and left in its photograph, and 1 where it is mirrored."""
        height, width = (side + 2 * REACH for side in image.shape[2:])  # lines begin beyond the border
        canvas = self.get_buffer("planes")
        canvas = everywhere(canvas, height, width) if places is None else at(canvas, places, height, width)
        slope = self.directions(image, canvas[:, 2:, REACH:-REACH, REACH:-REACH])
        weight = F.relu(F.conv2d(-slope, self.get_buffer("towards"))) ** 4
        drawn = torch.cat([weight, weight], 1) * F.conv2d(canvas[:, :2], self.get_buffer("lines"), groups=2)
        return torch.cat([F.conv2d(drawn, drawn.new_ones(2, DIRECTIONS, 1, 1), groups=2), slope], 1)

    def directions(self, image: Tensor, ground: Tensor) -> Tensor:
        """Twice the angle of slopes, as a unit vector, N2HW; where nothing speaks, the canvas's: see ``painterly.directions``."""
        light = F.pad(F.conv2d(image, self.get_buffer("luma")), (4, 4, 4, 4), mode="reflect")
        right, down = F.conv2d(light, self.get_buffer("slopes")).chunk(2, 1)
        tensor = F.avg_pool2d(torch.cat([right * right, down * down, right * down], 1), COARSE)
        rights, downs, both = F.conv2d(tensor, self.get_buffer("blurs"), padding=15, groups=3).chunk(3, 1)
        steep = rights + downs + 2e-5
        trust = light.new_tensor([0.35**k for k in range(len(SIZES))]).view(1, -1, 1, 1)
        double = torch.cat([F.conv2d((rights - downs) / steep, trust), F.conv2d(2 * both / steep, trust)], 1)
        double = F.interpolate(double + 0.06 * F.avg_pool2d(ground, COARSE), scale_factor=float(COARSE), mode="bilinear")
        return double / (F.conv2d(double * double, double.new_ones(1, 2, 1, 1)) + 1e-8).sqrt()


class Facets(nn.Module):
    """float32 NCHW RGB in [0, 1] to N2HW: light and warmth of facets, of deviation about 1, whatever the photograph."""

    channels = 2

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("planes", torch.zeros(1, 2, PERIOD_OF_FACETS, PERIOD_OF_FACETS, dtype=torch.uint8))

    def start(self, planes: NDArray[np.float32]) -> None:
        """Take the canvas ``planes`` (``limner.blocks.canvas.facets``), P x P x 2."""
        self.get_buffer("planes").copy_(stored(planes))

    def forward(self, image: Tensor, places: Tensor | None = None) -> Tensor:
        """``places`` as for ``Bristles``."""
        planes, (height, width) = self.get_buffer("planes"), image.shape[2:]
        return everywhere(planes, height, width) if places is None else at(planes, places, height, width)


def everywhere(canvas: Tensor, height: int, width: int) -> Tensor:
    """The canvas as it is stored, repeated over a picture: float32, 1 x C x H x W."""
    period = canvas.shape[-1]
    times = [(side + period - 1) // period for side in (height, width)]  # ONNX rounds towards zero: nothing negative may be divided
    whole = canvas.repeat(1, 1, *times)
    for side, most in zip((height, width), whole.shape[2:], strict=True):
        torch._check(side <= most)  # type: ignore[no-untyped-call]  # torch 2.11 does not find this out by itself when it exports
    return _values(whole[:, :, :height, :width])


def at(canvas: Tensor, places: Tensor, height: int, width: int) -> Tensor:
    """The canvas as it is stored, under crops of pictures over which it is repeated: float32, N x C x H x W."""
    period = canvas.shape[-1]
    top, left, mirrored = places[..., None].unbind(1)
    rows, columns = (torch.arange(side, device=canvas.device) for side in (height, width))
    columns = left + torch.where(mirrored == 1, width - 1 - columns, columns)
    sign = torch.where(mirrored == 1, torch.tensor(MIRRORED[: canvas.shape[1]], device=canvas.device), 1.0)
    found = canvas[0][:, ((top + rows) % period)[:, :, None], (columns % period)[:, None, :]]
    return _values(found.transpose(0, 1)) * sign[..., None, None]


def _values(stored: Tensor) -> Tensor:
    return (stored.float() - 128) / STEPS


def _grid(reach: int) -> tuple[Tensor, Tensor]:
    """How far down and to the right the places of a kernel are from its middle."""
    steps = torch.arange(-reach, reach + 1.0)
    down, right = torch.meshgrid(steps, steps, indexing="ij")
    return down, right


def _slopes() -> Tensor:
    """Slopes to the right and downwards of a plane that is smoothed by 1.3 pixels: 2 x 1 x 9 x 9."""
    down, right = _grid(4)
    bell = torch.exp(-(down**2 + right**2) / (2 * 1.3**2))
    return torch.stack([each * bell / (each * each * bell).sum() for each in (right, down)])[:, None]


def _blurs() -> Tensor:
    """Gaussian means of ``SIZES``, for each of three planes: 9 x 1 x 31 x 31."""
    down, right = _grid(15)
    bells = torch.stack([torch.exp(-(down**2 + right**2) / (2 * (size / COARSE) ** 2)) for size in SIZES])
    return (bells / bells.sum((1, 2), keepdim=True)).repeat(3, 1, 1)[:, None]


def _lines() -> Tensor:
    """Means along straight lines, ``REACH`` pixels both ways, in all directions, twice: 2 ``DIRECTIONS`` x 1 x 29 x 29."""
    down, right = _grid(REACH)
    angles = (torch.pi / DIRECTIONS * torch.arange(DIRECTIONS)).view(-1, 1, 1)
    along, across = right * angles.cos() + down * angles.sin(), down * angles.cos() - right * angles.sin()
    kernels = (1 - across.abs()).clamp(0) * (REACH + 0.5 - along.abs()).clamp(0, 1)
    return (2.5 * kernels / kernels.sum((1, 2), keepdim=True)).repeat(2, 1, 1)[:, None]
