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
        shapes = {"colours": (INKS, 3), "light": (len(LIGHT),), "chroma": (len(CHROMA),), "cast": (len(LIGHT), 2)}
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros(shape))

    def start(self, palette: Palette) -> None:
        """Take the colours of a painting, ``INKS`` of them."""
        for name, buffer in self.named_buffers():
            buffer.copy_(torch.from_numpy(getattr(palette, name)))

    def forward(self, image: Tensor) -> Tensor:
        inside = image.clamp(0, 1)
        lab = _to_lab(inside)
        own, hue = 100 * (lab[:, :1].clamp(min=0.01) / 100) ** PRINT["gamma"], lab[:, 1:]
        curves = _curves(own, LIGHT, torch.cat([self.get_buffer("light")[:, None], self.get_buffer("cast")], 1))
        light = 0.3 * own + 0.7 * curves[:, :1]
        size = _square(hue)
        cast = curves[:, 1:] * torch.exp(size / -(14.0**2))
        colours, units = self.get_buffer("colours"), torch.tensor(UNITS, device=image.device)
        there = colours / units
        asked = torch.cat([light, hue + cast], 1) / units.view(1, 3, 1, 1)
        closeness = F.conv2d(asked, 2 * there[..., None, None], -there.square().sum(1))
        weight = (closeness / (2 * PRINT["softness"] ** 2)).softmax(1)
        mixed = F.conv2d(weight, colours.T[..., None, None])
        warm = torch.sigmoid(0.18 * hue[:, :1] + 0.12 * hue[:, 1:] - 3.2)
        turned = mixed[:, 1:] * (1 - 0.55 * warm) + (0.18 + 0.5 * warm) * hue
        wanted = _curves((size + 1e-6).sqrt(), CHROMA, self.get_buffer("chroma")[:, None])
        found = (_square(turned) + 1e-6).sqrt()
        turned = turned * ((wanted + 2) / (found + 2)).clamp(0.7, 2.2)
        printed = _to_rgb(torch.cat([(1 - PRINT["inks"]) * light + PRINT["inks"] * mixed[:, :1], turned], 1))
        return printed + (image - inside) if self.training else printed


def _square(hue: Tensor) -> Tensor:
    """Of the length of N2HW: N1HW."""
    return hue[:, :1].square() + hue[:, 1:].square()


def _curves(plane: Tensor, places: tuple[float, ...], values: Tensor) -> Tensor:
    """Curves of N1HW through ``values`` (P x C) at ``places`` (P), straight in between and level outside: N x C x H x W."""
    at = torch.tensor(places, device=plane.device)
    slopes = values.diff(dim=0) / at.diff()[:, None]
    bends = torch.cat([slopes[:1], slopes.diff(dim=0), -slopes[-1:]])
    hinges = F.relu(plane - at.view(1, -1, 1, 1))
    return F.conv2d(hinges, bends.T[..., None, None].contiguous(), values[0])


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
