"""A painting's palette, and a photograph's colours in it as a layer of a network: the last one of a print.

What a network learns of a print by itself has soft borders between its inks, since it learns the mean of what may be there. So it learns to
draw the flat areas and the lines, and which ink they are printed in is worked out as ``limner.blocks.painterly.recoloured`` does.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

LIGHT = (0.0, 5.8, 11.7, 17.0, 21.9, 26.4, 30.7, 34.9, 38.9, 42.9, 46.7, 50.7, 54.5, 58.5, 62.5, 66.5, 71.0, 76.0, 81.7, 88.2, 100.0)
"""Lightness (L of CIE Lab) of photographs, each twentieth of 692 very different ones together."""

CHROMA = (0.0, 1.2, 2.3, 3.1, 4.0, 5.1, 6.3, 7.5, 8.8, 10.4, 12.1, 14.2, 16.3, 18.8, 21.6, 24.9, 28.6, 33.6, 40.1, 50.9, 84.8)
"""Their chroma (distance from grey in CIE Lab), likewise."""

PRINT = {"softness": 0.18, "gamma": 0.92, "inks": 0.6}
"""How ``recoloured`` and ``Inks`` print: each colour in nearly one ink."""

INKS = 7
"""Colours of a print's palette."""

UNITS = (20.0, 13.0, 11.0)
"""L, a and b by which colours are as far from one another."""

TO_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
"""Of linear RGB, sRGB's primaries."""

FROM_XYZ = np.linalg.inv(TO_XYZ).tolist()

WHITE = (0.950456, 1.0, 1.088754)


@dataclass(frozen=True)
class Palette:
    """The colours of one painting, how light and how colourful it is, and what its brush does."""

    colours: NDArray[np.float32]
    """K x 3, CIE Lab, from dark to light."""
    light: NDArray[np.float32]
    """Lightness, each twentieth of its pixels: as ``LIGHT``."""
    chroma: NDArray[np.float32]
    """Chroma, each twentieth of its pixels: as ``CHROMA``."""
    cast: NDArray[np.float32]
    """a and b that what is grey in a photograph leans towards, where it is as light as ``LIGHT``."""
    bristles: NDArray[np.float32]
    """2 x 3, CIE Lab: what neighbouring strokes differ in most, and second most, each by one deviation."""


class Inks(nn.Module):
    """Each pixel in the inks of a print: float32 N3HW RGB in [0, 1] to the same, as ``painterly.recoloured`` with ``PRINT``.

    It learns nothing; ``start`` gives it a palette. While a network learns, what is out of range is added as it is, so that it finds its
    way back.
    """

    def __init__(self) -> None:
        super().__init__()
        self.curves = nn.Conv2d(len(LIGHT), 3, 1)  # of light: light, and what grey leans towards
        self.chroma = nn.Conv2d(len(CHROMA), 1, 1)
        self.nearness = nn.Conv2d(3, INKS, 1)
        self.colours = nn.Conv2d(INKS, 3, 1, bias=False)
        self.requires_grad_(False)

    def start(self, palette: Palette) -> None:
        """Take the colours of a painting, ``INKS`` of them."""
        light, cast, chroma, colours = (torch.from_numpy(each) for each in (palette.light, palette.cast, palette.chroma, palette.colours))
        units = torch.tensor(UNITS)
        there, sharpness = colours / units, 2 * PRINT["softness"] ** 2
        _take_curves(self.curves, LIGHT, torch.cat([light[:, None], cast], 1))
        _take_curves(self.chroma, CHROMA, chroma[:, None])
        _take(self.nearness, 2 * there / units / sharpness, -there.square().sum(1) / sharpness)
        _take(self.colours, colours.T)

    def forward(self, image: Tensor) -> Tensor:
        inside = image.clamp(0, 1)
        lab = _to_lab(inside)
        own, hue = 100 * (lab[:, :1].clamp(min=0.01) / 100) ** PRINT["gamma"], lab[:, 1:]
        curves = self.curves(_hinges(own, LIGHT))
        light = 0.3 * own + 0.7 * curves[:, :1]
        size = _square(hue)
        cast = curves[:, 1:] * torch.exp(size / -(14.0**2))
        mixed = self.colours(self.nearness(torch.cat([light, hue + cast], 1)).softmax(1))
        warm = torch.sigmoid(0.18 * hue[:, :1] + 0.12 * hue[:, 1:] - 3.2)
        turned = mixed[:, 1:] * (1 - 0.55 * warm) + (0.18 + 0.5 * warm) * hue
        wanted, found = self.chroma(_hinges((size + 1e-6).sqrt(), CHROMA)), (_square(turned) + 1e-6).sqrt()
        turned = turned * ((wanted + 2) / (found + 2)).clamp(0.7, 2.2)
        printed = _to_rgb(torch.cat([(1 - PRINT["inks"]) * light + PRINT["inks"] * mixed[:, :1], turned], 1))
        return printed + (image - inside) if self.training else printed


def _take(layer: nn.Conv2d, weight: Tensor, bias: Tensor | None = None) -> None:
    layer.weight.copy_(weight[..., None, None])
    if layer.bias is not None and bias is not None:
        layer.bias.copy_(bias)


def _take_curves(layer: nn.Conv2d, places: tuple[float, ...], values: Tensor) -> None:
    """Of ``_hinges``: curves through ``values`` (P x C) at ``places`` (P), straight in between and level outside."""
    slopes = values.diff(dim=0) / torch.tensor(places).diff()[:, None]
    _take(layer, torch.cat([slopes[:1], slopes.diff(dim=0), -slopes[-1:]]).T, values[0])


def _hinges(plane: Tensor, places: tuple[float, ...]) -> Tensor:
    """How far N1HW lies above each place: N x P x H x W."""
    return F.relu(plane - torch.tensor(places, device=plane.device).view(1, -1, 1, 1))


def _square(hue: Tensor) -> Tensor:
    """Of the length of N2HW: N1HW."""
    return hue[:, :1].square() + hue[:, 1:].square()


def _to_lab(image: Tensor) -> Tensor:
    """CIE Lab, L in [0, 100], of float N3HW RGB in [0, 1], sRGB."""
    linear = torch.where(image <= 0.04045, image / 12.92, ((image.clamp(min=0.04) + 0.055) / 1.055) ** 2.4)
    matrix = torch.tensor(TO_XYZ, device=image.device) / torch.tensor(WHITE, device=image.device)[:, None]
    xyz = F.conv2d(linear, matrix[..., None, None])
    roots = torch.where(xyz > 0.008856, xyz.clamp(min=0.008) ** (1 / 3), 7.787 * xyz + 16 / 116)
    x, y, z = roots[:, :1], roots[:, 1:2], roots[:, 2:]
    return torch.cat([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


def _to_rgb(lab: Tensor) -> Tensor:
    """RGB in [0, 1] of CIE Lab."""
    y = (lab[:, :1] + 16) / 116
    roots = torch.cat([y + lab[:, 1:2] / 500, y, y - lab[:, 2:] / 200], 1)
    xyz = torch.where(roots > 6 / 29, roots**3, (roots - 16 / 116) / 7.787)
    matrix = torch.tensor(FROM_XYZ, device=lab.device) * torch.tensor(WHITE, device=lab.device)
    linear = F.conv2d(xyz, matrix[..., None, None]).clamp(0, 1)
    return torch.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clamp(min=0.003) ** (1 / 2.4) - 0.055)
