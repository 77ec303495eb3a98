"""How a network learns to draw what it is shown: the loss and the rate of an initialisation phase whose target is a picture."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from limner.colour import LUMA


def drawing_loss(images: Tensor, targets: Tensor, ink_weight: float = 3.0) -> Tensor:
    """Mean absolute difference of float NCHW images in [0, 1], lines of ink counted more, and that of their slopes.

    Ink is what a closing of 7 x 7 pixels of the target's luma fills: dark, and narrower than that.
    """
    light = luma(targets)
    lines = (-F.max_pool2d(-F.max_pool2d(light, 7, 1, 3), 7, 1, 3) - light).clamp(0, 0.5) * 2
    difference = images - targets
    slopes = difference.diff(dim=2).abs().mean() + difference.diff(dim=3).abs().mean()
    return (difference.abs() * (1 + ink_weight * lines)).mean() + slopes


def luma(images: Tensor) -> Tensor:
    """N1HW of float NCHW RGB."""
    return (images * torch.tensor(LUMA, device=images.device).view(1, 3, 1, 1)).sum(1, keepdim=True)


def rise_and_fall(step: int, steps: int) -> float:
    """Part of the highest rate: a rise over 100 steps, then a cosine down to a hundredth."""
    falling = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(step / max(steps, 1), 1)))
    return min(1.0, (step + 1) / 100) * falling
