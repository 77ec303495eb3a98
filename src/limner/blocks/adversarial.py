"""What methods with a discriminator share: losses, the pool of generated pictures, changes by chance, and the distance of two sets."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


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


def hinge(scores: Tensor, *, real: bool) -> Tensor:
    """How far float scores are below 1, for what should pass as real, or above -1; nothing beyond."""
    return F.relu(1 - scores.float() if real else 1 + scores.float()).mean()


def least_squares(scores: Tensor, *, real: bool) -> Tensor:
    """How far float scores are from 1, for what should pass as real, or from 0 (Mao et al. 2017, https://arxiv.org/abs/1611.04076)."""
    return (scores.float() - float(real)).square().mean()


def log_loss(scores: Tensor, *, real: bool) -> Tensor:
    """-log D, for what should pass as real, or -log(1 - D), where D is the sigmoid of float scores (Goodfellow et al. 2014,
    https://arxiv.org/abs/1406.2661).

    The generator, too, minimises -log D of its pictures, and not log(1 - D): the same goal, with a slope where D is sure.
    """
    return F.softplus(-scores.float() if real else scores.float()).mean()


LOSSES: dict[str, Callable[..., Tensor]] = {"hinge": hinge, "least-squares": least_squares, "log": log_loss}


def augmented(pictures: Tensor) -> Tensor:
    """Pictures as a discriminator is shown them where there are few, real and generated alike, so that it cannot know them by heart.

    Float NCHW in [-1, 1] to the same; each is moved by up to an eighth of its side, and a square of half its side is taken out of it.
    Colours stay: a painter's are what is to be learnt. Draws from torch's global random numbers.

    Differs from the paper: brightness, saturation and contrast are left alone. Shengyu Zhao et al., "Differentiable Augmentation for
    Data-Efficient GAN Training", 2020, https://arxiv.org/abs/2006.10738.
    """
    count, _, height, width = pictures.shape
    kept, moved = [], []
    for side in (height, width):
        places = torch.arange(side, device=pictures.device)
        most, hole = side // 8, side // 2
        shift = torch.randint(-most, most + 1, (count, 1), device=pictures.device)
        corner = torch.randint(-(hole // 2), side - hole // 2 + 1, (count, 1), device=pictures.device)
        moved.append(places + shift)
        kept.append((places >= corner) & (places < corner + hole))
    rows, columns = ((each.clamp(0, side - 1), (each >= 0) & (each < side)) for each, side in zip(moved, (height, width), strict=True))
    number = torch.arange(count, device=pictures.device)[:, None, None]
    found = pictures.permute(0, 2, 3, 1)[number, rows[0][:, :, None], columns[0][:, None, :]].permute(0, 3, 1, 2)
    shown = (rows[1][:, :, None] & columns[1][:, None, :]) & ~(kept[0][:, :, None] & kept[1][:, None, :])
    return found * shown[:, None]


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
