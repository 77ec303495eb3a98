"""Averages of weights: what becomes the style file is smoother than the weights of any one step."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

Update = Callable[[Sequence[Tensor], Sequence[Tensor], Tensor | int], None]


def averaged(network: nn.Module, decay: float, *, warm_up: bool) -> AveragedModel:
    """An exponential average of the weights of ``network``, as it paints in a style file."""
    update: Update = running_average(decay) if warm_up else get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
    average = AveragedModel(network, multi_avg_fn=update)
    average.module.eval()
    return average


def running_average(decay: float) -> Update:
    """For ``AveragedModel``: an exponential average of weights that does not remember the beginning of a short training."""

    @torch.no_grad()
    def update(averages: Sequence[Tensor], weights: Sequence[Tensor], updates: Tensor | int) -> None:
        updates = torch.as_tensor(updates)
        kept = ((1 + updates) / (10 + updates)).clamp_max(decay)  # a tensor, so that nothing waits for a GPU
        for average, weight in zip(averages, weights, strict=True):
            average.lerp_(weight, (1 - kept).to(average.dtype))

    return update
