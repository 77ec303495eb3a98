"""What methods with a discriminator share: the pool of generated pictures, and the distance of two sets of pictures."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


class ImagePool:
    """Generated pictures, old and new, for the discriminator: half of the time an older one comes out and the newer takes its place."""

    def __init__(self, size: int, seed: int = 0) -> None:
        self.size = size
        self.pictures: list[Tensor] = []
        self.random = torch.Generator().manual_seed(seed)  # on the CPU: nothing waits for a GPU

    def swap(self, batch: Tensor) -> Tensor:
        """As many pictures as came in, NCHW."""
        out = []
        for picture in batch.detach():
            if len(self.pictures) < self.size:
                self.pictures.append(picture.clone())
            elif self.size and torch.rand((), generator=self.random) < 0.5:
                k = int(torch.randint(self.size, (), generator=self.random))
                picture, self.pictures[k] = self.pictures[k].to(picture.device), picture.clone()
            out.append(picture)
        return torch.stack(out).contiguous(memory_format=torch.channels_last)

    def state_dict(self) -> dict[str, Any]:
        return {"pictures": list(self.pictures), "random": self.random.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.pictures = list(state["pictures"])
        self.random.set_state(state["random"])


class KernelDistance:
    """Squared distance of two sets of pictures, as VGG-19 sees them: unbiased MMD with the kernel (x y / d + 1)^3 on mean features.

    Mikolaj Binkowski et al., "Demystifying MMD GANs", 2018, https://arxiv.org/abs/1801.01401, there on another network's features.
    Sets are lists of batches, float32 NCHW RGB in [0, 1]; the cartoons are given once.
    """

    def __init__(self, see: Callable[[Tensor], dict[str, Tensor]], layers: Sequence[str], cartoons: list[Tensor]) -> None:
        self.see, self.layers = see, layers
        means = self._means(cartoons)
        self.scales = [mean.square().mean().sqrt() + 1e-6 for mean in means]  # so that each layer's kernel is bent alike
        self.cartoons = [mean / scale for mean, scale in zip(means, self.scales, strict=True)]

    def __call__(self, pictures: list[Tensor]) -> Tensor:
        means = [mean / scale for mean, scale in zip(self._means(pictures), self.scales, strict=True)]
        return torch.stack([mmd(*pair) for pair in zip(means, self.cartoons, strict=True)]).mean()

    def _means(self, pictures: list[Tensor]) -> list[Tensor]:
        found = [self.see(batch) for batch in pictures]
        return [torch.cat([seen[layer].float().mean((2, 3)) for seen in found]) for layer in self.layers]


def mmd(a: Tensor, b: Tensor) -> Tensor:
    """Unbiased estimate from two sets, N x C and M x C, of the squared maximum mean discrepancy with the cubic kernel."""

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return ((x[:, None] * y).mean(2) + 1) ** 3  # no matrix product: autocast would round it to bf16

    def within(x: Tensor) -> Tensor:
        own = kernel(x, x)
        return (own.sum() - own.diagonal().sum()) / max(len(x) * (len(x) - 1), 1)

    return within(a) + within(b) - 2 * kernel(a, b).mean()
