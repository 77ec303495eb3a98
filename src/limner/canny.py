"""Canny's edges of a batch of pictures, on any device (John Canny, "A Computational Approach to Edge Detection", 1986).

``limner prepare edges`` has the same in NumPy, for pictures of any size.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

SOBEL = torch.tensor([[[[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]], [[[-1.0, -2, -1], [0, 0, 0], [1, 2, 1]]]])
REACH = 16
"""Pixels that a weak edge may lead away from a strong one."""


def edges(pictures: Tensor, low: float = 100 / 255, high: float = 200 / 255) -> Tensor:
    """Canny's edges of float32 NCHW RGB in [0, 1]: bool N1HW. Thresholds are of |dx| + |dy| by Sobel, as in OpenCV.

    A weak edge counts up to ``REACH`` pixels from a strong one: going on until nothing changes would wait for the GPU each time.
    """
    height, width = pictures.shape[2:]
    slopes = F.conv2d(F.pad(luma(pictures), (1, 1, 1, 1), mode="replicate"), SOBEL.to(pictures.device))
    x, y = slopes[:, :1], slopes[:, 1:]
    strength = x.abs() + y.abs()
    around = F.pad(strength, (1, 1, 1, 1))

    def beside(down: int, right: int) -> Tensor:
        return around[:, :, 1 + down : 1 + down + height, 1 + right : 1 + right + width]

    # Only ridges stay: pixels stronger than both neighbours along their slope, in one of four directions.
    flat, steep = y.abs() < 0.4142 * x.abs(), y.abs() > 2.4142 * x.abs()
    falling = (x * y) >= 0
    before = torch.where(flat, beside(0, -1), torch.where(steep, beside(-1, 0), torch.where(falling, beside(-1, -1), beside(-1, 1))))
    after = torch.where(flat, beside(0, 1), torch.where(steep, beside(1, 0), torch.where(falling, beside(1, 1), beside(1, -1))))
    weak = ((strength > low) & (strength > before) & (strength >= after)).float()
    found = weak * (strength > high)
    for _ in range(REACH):
        found = weak * F.max_pool2d(found, 3, 1, 1)
    return found > 0


def luma(images: Tensor) -> Tensor:
    """N1HW of float NCHW RGB."""
    return (images * torch.tensor([0.299, 0.587, 0.114], device=images.device).view(1, 3, 1, 1)).sum(1, keepdim=True)
