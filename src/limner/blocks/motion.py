"""Calm learnt in training: the painting of a moved photograph is to be the moved painting of the photograph.

Wenjing Wang et al., "Consistent Video Style Transfer via Relaxation and Regularization", IEEE TIP 2020,
https://doi.org/10.1109/TIP.2020.3024018: no film is needed, for a second frame can be made of any photograph by moving it along a random
smooth flow and adding noise.

Differs from the paper:
- Flow is drawn at knots KNOT pixels apart and interpolated, not filtered from noise of full size: as smooth, with fewer steps.
- Pictures are moved with cubic interpolation. What is moved with the linear one is blurred, and blur would be learnt.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

KNOT = 32
"""Pixels from one knot of the flow to the next: how far motion is alike."""

SHIFT = 10.0
"""Most pixels by which a whole picture moves, along each axis."""

BEND = 2.0
"""Deviation of the flow at its knots, in pixels, from the shift of the whole."""

NOISE = 0.01
"""Deviation of the noise in which a second frame differs; the range of a picture is 1."""


class Second(NamedTuple):
    """What a film might show a moment later."""

    frames: Tensor
    """Float NCHW."""
    flow: Tensor
    """NHW2: how many pixels (x, y) away from its place each pixel was before."""


def second(images: Tensor, generator: torch.Generator | None = None) -> Second:
    """Second frames of float NCHW images in [0, 1], drawn by chance (``generator``, on the images' device, or torch's own)."""
    drawn: dict[str, Any] = {"device": images.device, "generator": generator}
    count, _, height, width = images.shape
    knots = BEND * torch.randn(count, 2, height // KNOT + 2, width // KNOT + 2, **drawn)
    shift = SHIFT * (2 * torch.rand(count, 2, 1, 1, **drawn) - 1)
    flow = F.interpolate(knots, (height, width), mode="bicubic", align_corners=True).add(shift).permute(0, 2, 3, 1)
    frames = moved(images, flow).clamp(0, 1)
    return Second(frames + NOISE * torch.randn(frames.shape, **drawn), flow)


def seconds(batches: Sequence[Tensor], *, drawn: bool) -> list[Second | None]:
    """Of each of some batches, alike each time: for a held-out number. None of each where there shall be none."""
    return [second(batch, torch.Generator(batch.device).manual_seed(n)) if drawn else None for n, batch in enumerate(batches)]


def moved(images: Tensor, flow: Tensor) -> Tensor:
    """Float NCHW images whose pixels come from ``flow`` (NHW2: x, y in pixels) away from their places; past a border, mirrored ones."""
    height, width = images.shape[-2:]
    rows, columns = (torch.arange(side, device=images.device, dtype=flow.dtype) for side in (height, width))
    places = flow + torch.stack([columns.expand(height, width), rows[:, None].expand(height, width)], -1)
    sides = torch.tensor([width, height], device=images.device, dtype=flow.dtype)
    # grid_sample counts from -1 to 1, from the first pixel's outer edge to the last one's.
    return F.grid_sample(images, (2 * places + 1) / sides - 1, "bicubic", "reflection", align_corners=False)


def unrest(painted: Tensor, later: Tensor, flow: Tensor) -> Tensor:
    """Mean absolute difference of the paintings ``later`` of second frames from those of the first ones (both float NCHW), moved along."""
    return (later - moved(painted, flow)).abs().mean()
