"""Gatys: the picture itself is optimised until VGG-19 sees the photograph's content in it, in the style of one or several paintings.

Leon A. Gatys, Alexander S. Ecker, Matthias Bethge, "A Neural Algorithm of Artistic Style", 2015, https://arxiv.org/abs/1508.06576, and
"Image Style Transfer Using Convolutional Neural Networks", CVPR 2016. Nothing is trained: every picture takes minutes, and is the best that
this family of methods can do. It is what fast neural style is measured against.

Differs from the paper:
- Style is compared as a Gaussian of the features, by the Wasserstein-2 distance (after Ivan Ustyuzhaninov et al. and Katherine Crowson),
  not by Gram matrices. ``--form gram`` is the paper's.
- The picture grows: from 128 px in steps of the root of two, so that strokes are large where they should be. Adam's moments grow with it.
- Adam, each iterate within [0, 1]; the result is the average of the iterates, which is without Adam's noise.
- Each loss is a part of what it is measured against: the photograph's own feature energy, the painting's own. So the weights mean the same
  for any painting, any layer, and any of the VGG-19 files.
- The first convolution sees the picture's edge continued, not black.

``--preset paper`` is the paper's way: Gram matrices, one scale, L-BFGS from noise, average pooling, no total variation. Three things
remain: losses are relative, with weights for that; the edge is continued; and what average pooling gives is doubled, so that features
stay as large as VGG-19 was trained for, where the paper rescales its weights.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import torch
from annotated_types import Ge, Lt
from torch import Tensor
from torch.nn import functional as F

from limner.blocks import features
from limner.errors import require
from limner.methods.contract import Easel
from limner.ranges import Count, CountOrZero, Positive, PositiveOrZero, check


@dataclass(frozen=True)
class Config:
    """Options of ``limner paint``."""

    style_weights: tuple[float, ...] = ()
    """Share of each painting, where there are several; equal if left out."""
    size: int = 512
    """Longer side of the painted picture, in pixels, at most the photograph's own; 0 is just that."""
    content_weight: PositiveOrZero = 0.06
    """How much the photograph's content counts: more keeps closer to it, less paints more freely."""
    style_scale: Positive = 1.0
    """Longer side of the paintings, as a part of the picture's: larger gives larger strokes."""
    form: Literal["wasserstein", "gram"] = "wasserstein"
    """What style is: Gaussians of features and their Wasserstein-2 distance, or the paper's Gram matrices."""
    vgg: Path | None = None
    """VGG-19 weights (.safetensors or torchvision's .pth); downloaded once if left out."""
    style_layers: tuple[str, ...] = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
    """VGG-19 layers whose statistics are the style (CVPR 2016, section 3)."""
    layer_weights: tuple[float, ...] = ()
    """Weight of each style layer; equal if left out."""
    content_layer: str = "relu4_2"
    """VGG-19 layer in which the photograph's content must stay (CVPR 2016, section 3)."""
    tv_weight: PositiveOrZero = 0.5
    """Weight of the total variation, of which the paper has none: more gives a smoother picture."""
    pooling: features.Pooling = "max"
    """What stands between VGG-19's blocks: it was trained with max; the paper prefers average."""
    smallest: Annotated[int, Ge(32)] = 128
    """Longer side of the first scale; from --size on, that is the only one."""
    initial_iterations: Count = 500
    """Iterations at the first scale."""
    iterations: CountOrZero = 200
    """Iterations at each later scale."""
    optimizer: Literal["adam", "l-bfgs"] = "adam"
    """Adam, or the paper's L-BFGS."""
    learning_rate: Positive | None = None
    """Adam's rate (by default 0.02); with L-BFGS the length of a step, as a part of what it proposes (by default 1)."""
    start: Literal["content", "noise", "grey"] = "content"
    """The first picture; --init takes a style's output instead."""
    seed: Annotated[int, Ge(0), Lt(2**63)] = 0
    """Of the noise."""

    def __post_init__(self) -> None:
        check(self)
        require(self.size == 0 or self.size >= 32, f"`size` must be 0, the photograph's own, or at least 32, not {self.size}.")
        require(len(self.style_layers) > 0, "`style_layers` needs at least one layer, such as relu1_1.")
        given, wanted = len(self.layer_weights), len(self.style_layers)
        require(given in (0, wanted), f"`layer_weights` needs one weight for each of the {wanted} style layers, not {given}.")
        for name, weights in (("layer", self.layer_weights), ("style", self.style_weights)):
            require(all(weight >= 0 for weight in weights), f"`{name}_weights` must not be negative.")
            require(not weights or sum(weights) > 0, f"`{name}_weights` must not all be 0.")

    PRESETS: ClassVar[dict[str, dict[str, object]]] = {
        "paper": {
            "form": "gram",
            "pooling": "average",
            "smallest": 100_000,
            "initial_iterations": 500,
            "optimizer": "l-bfgs",
            "start": "noise",
            "content_weight": 0.02,
            "tv_weight": 0.0,
        },
    }


class Moments(NamedTuple):
    """What is left of a layer's features, wherever in the picture they are."""

    mean: Tensor
    """float32, C."""
    covariance: Tensor
    """float32, C x C."""

    @property
    def second(self) -> Tensor:
        """Mean of the features' products, C x C: the Gram matrix divided by H W."""
        return self.covariance + self.mean[:, None] * self.mean


PIECE = 65_536
"""Rows of features that are copied as float32 at a time."""


class WeightedMoments(torch.autograd.Function):
    """Mean, C, and covariance, C x C, of features, rows N x C of any type, with weights N x 1 of sum 1. All sums are float32.

    A piece at a time, forward and backward: features in bf16 are never copied whole, and their sums are never rounded to bf16.
    """

    @staticmethod
    def forward(context: Any, rows: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        pieces = list(zip(torch.split(rows, PIECE), torch.split(weights, PIECE), strict=True))
        mean = torch.stack([(weight * piece).sum(0) for piece, weight in pieces]).sum(0)
        covariance = torch.zeros(rows.shape[1], rows.shape[1], device=rows.device)
        for piece, weight in pieces:
            centred = piece.float() - mean
            covariance.addmm_((weight * centred).T, centred)
        context.save_for_backward(rows, weights, mean)
        return mean, covariance

    @staticmethod
    def backward(context: Any, of_mean: Tensor, of_covariance: Tensor) -> tuple[Tensor, None]:
        rows, weights, mean = context.saved_tensors
        both, gradient = of_covariance + of_covariance.T, torch.empty_like(rows)
        for piece, weight, out in zip(*(torch.split(each, PIECE) for each in (rows, weights, gradient)), strict=True):
            out.copy_(weight * (of_mean + (piece.float() - mean) @ both))
        return gradient, None


def moments(feature: Tensor, mask: Tensor | None = None) -> Moments:
    """Of one picture's features, float 1 x C x H x W; with a mask, float32 1 x 1 x H x W in [0, 1], of that region."""
    rows = feature.permute(0, 2, 3, 1).flatten(0, 2)
    weights = torch.ones(len(rows), 1, device=rows.device) if mask is None else mask.reshape(-1, 1) + 1e-9
    return Moments(*WeightedMoments.apply(rows, weights / weights.sum()))  # type: ignore[no-untyped-call]


def blended(paintings: Sequence[Moments], weights: Sequence[float]) -> Moments:
    """Of all paintings together, as if each were so large a part of one: the moments are averaged, and not the covariances."""
    shares = [weight / sum(weights) for weight in weights]
    mean = torch.stack([share * each.mean for share, each in zip(shares, paintings, strict=True)]).sum(0)
    apart = [
        share * (each.covariance + torch.outer(each.mean - mean, each.mean - mean)) for share, each in zip(shares, paintings, strict=True)
    ]
    return Moments(mean, torch.stack(apart).sum(0))


def inverse_root(matrix: Tensor, iterations: int = 18) -> tuple[Tensor, Tensor]:
    """Square root and inverse square root of a symmetric positive matrix, by Newton-Schulz iterations: matrix products alone.

    Nicholas J. Higham, "Functions of Matrices", 2008, equation 6.35. Eigenvalues below about 1e-5 of the largest are not inverted whole.
    """
    size = matrix.norm()
    identity = torch.eye(len(matrix), device=matrix.device)
    root, inverse = matrix / size, identity
    for _ in range(iterations):
        step = (3 * identity - inverse @ root) / 2
        root, inverse = root @ step, step @ inverse
    return root * size.sqrt(), inverse / size.sqrt()


class TraceOfRoot(torch.autograd.Function):
    """Trace of the square root of a symmetric positive matrix. Its gradient is half of the inverse root: no iteration is kept for it."""

    @staticmethod
    def forward(context: Any, matrix: Tensor) -> Tensor:
        root, inverse = inverse_root(matrix)
        context.save_for_backward(inverse)
        return root.trace()

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        (inverse,) = context.saved_tensors
        half: Tensor = gradient * (inverse + inverse.T) / 4
        return half


class Wasserstein:
    """Squared Wasserstein-2 distance of two Gaussians, as a part of the painting's energy: call it with a picture's moments.

    |m - n|^2 + tr(S) + tr(T) - 2 tr((T^1/2 S T^1/2)^1/2), with means m, n and covariances S, T.
    """

    def __init__(self, painting: Moments) -> None:
        self.mean, covariance = painting.mean, _covariance(painting)
        values, vectors = torch.linalg.eigh(covariance.double())
        self.root = ((vectors * values.clamp_min(0).sqrt()) @ vectors.T).float()
        self.trace = covariance.trace()
        self.energy = painting.second.trace()

    def __call__(self, picture: Moments) -> Tensor:
        covariance = _covariance(picture)
        between: Tensor = TraceOfRoot.apply(self.root @ covariance @ self.root)  # type: ignore[no-untyped-call]
        return ((picture.mean - self.mean).square().sum() + covariance.trace() + self.trace - 2 * between) / self.energy


def _covariance(of: Moments) -> Tensor:
    """Never quite singular: a little is added on the diagonal."""
    little = 1e-5 * (of.covariance.trace() + of.mean.square().sum()).detach() / len(of.mean)
    return of.covariance + little * torch.eye(len(of.mean), device=of.mean.device)


class Gram:
    """Squared distance of Gram matrices, as a part of the painting's (CVPR 2016, equation 4)."""

    def __init__(self, painting: Moments) -> None:
        self.second, self.energy = painting.second, painting.second.square().sum()

    def __call__(self, picture: Moments) -> Tensor:
        return (picture.second - self.second).square().sum() / self.energy


FORMS: dict[str, Callable[[Moments], Callable[[Moments], Tensor]]] = {"wasserstein": Wasserstein, "gram": Gram}


def total_variation(image: Tensor) -> Tensor:
    """Mean squared difference of neighbours, float32 NCHW in [0, 1]; diagonal ones count half (the nine points around and with a pixel)."""
    x = F.pad(image, (1, 1, 1, 1), mode="replicate")
    middle = x[..., 1:-1, 1:-1]
    straight = (x[..., 1:-1, 2:] - middle).square().mean() + (x[..., 2:, 1:-1] - middle).square().mean()
    diagonal = (x[..., 2:, 2:] - middle).square().mean() + (x[..., 2:, :-2] - middle).square().mean()
    return straight + diagonal / 2


class Objective:
    """The losses at one scale; call it with the picture, float32 1 x 3 x H x W in [0, 1].

    ``content`` and ``styles`` are float32 1 x 3 x H x W in [0, 1]; a mask for each style, 1 x 1 x H x W, gives it a region.
    """

    def __init__(
        self, vgg: features.VGG19, config: Config, content: Tensor, styles: Sequence[Tensor], masks: Sequence[Tensor] = ()
    ) -> None:
        self.vgg, self.config, self.masks = vgg, config, masks
        self.regions: dict[tuple[int, int], list[Tensor]] = {}
        self.layer_weights = config.layer_weights or (1.0,) * len(config.style_layers)
        with torch.no_grad():
            self.content: Tensor = vgg(content)[config.content_layer].float()
            self.energy = self.content.square().mean() + 1e-6
            seen = [vgg(style, lambda layer, x: moments(x)) for style in styles]
        self.weights = config.style_weights or (1.0,) * len(styles)
        self.styles = {}
        for layer in config.style_layers:
            paintings = [each[layer] for each in seen]
            wanted = paintings if masks else [blended(paintings, self.weights)]
            self.styles[layer] = [FORMS[config.form](painting) for painting in wanted]

    def __call__(self, picture: Tensor) -> dict[str, Tensor]:
        found = self.vgg(picture, self._compare)
        style = sum(weight * found[layer]["style"] for weight, layer in zip(self.layer_weights, self.config.style_layers, strict=True))
        style, content, tv = style / sum(self.layer_weights), found[self.config.content_layer]["content"], total_variation(picture)
        loss = style + self.config.content_weight * content + self.config.tv_weight * tv
        return {"loss": loss, "style": style, "content": content, "tv": tv}

    def _compare(self, layer: str, seen: Tensor) -> dict[str, Tensor]:
        """A layer's share in the losses: computed where the features are, so that none need to be kept for it."""
        found = {}
        with torch.autocast(seen.device.type, enabled=False):  # sums over a whole picture want float32
            if layer == self.config.content_layer:
                found["content"] = (seen.float() - self.content).square().mean() / self.energy
            if layer in self.styles:
                found["style"] = self._style(self.styles[layer], seen)
        return found

    def _style(self, wanted: list[Callable[[Moments], Tensor]], seen: Tensor) -> Tensor:
        if not self.masks:
            return wanted[0](moments(seen))
        size = (seen.shape[2], seen.shape[3])
        if size not in self.regions:
            self.regions[size] = [F.interpolate(mask, size, mode="area") for mask in self.masks]
        shares = [weight * mask.mean() for weight, mask in zip(self.weights, self.masks, strict=True)]
        terms = [share * form(moments(seen, mask)) for share, form, mask in zip(shares, wanted, self.regions[size], strict=True)]
        return torch.stack(terms).sum() / torch.stack(shares).sum()


HISTORY = 20
"""Steps that L-BFGS remembers."""


class Canvas:
    """The picture that is painted, the optimizer's memory of it, and the average of its iterates."""

    def __init__(self, config: Config, first: Tensor) -> None:
        self.config = config
        self.begin(first)

    def begin(self, picture: Tensor) -> None:
        """Paint on from ``picture``, float32 1 x 3 x H x W in [0, 1]."""
        self.picture = picture.clone(memory_format=torch.contiguous_format).requires_grad_()
        self.sum, self.decay = torch.zeros_like(picture), 1.0
        if self.config.optimizer == "adam":
            self.optimizer: Any = torch.optim.Adam([self.picture], self.config.learning_rate or 0.02, betas=(0.9, 0.99))
        else:
            # Losses are small numbers here: torch's tolerances, meant for large ones, would end the work at once.
            rates: dict[str, Any] = {"lr": self.config.learning_rate or 1.0, "max_iter": 1, "history_size": HISTORY}
            self.optimizer = torch.optim.LBFGS([self.picture], **rates, tolerance_grad=0, tolerance_change=0)

    def enlarge(self, size: tuple[int, int]) -> None:
        """Go on at another size; Adam's moments go along."""
        before = self.optimizer.state_dict()["state"].get(0, {})
        self.begin(resized(self.painted(), size))
        if self.config.optimizer == "adam" and before:
            mean = F.interpolate(before["exp_avg"], size, mode="bicubic")
            square = F.interpolate(before["exp_avg_sq"], size, mode="bilinear").clamp_min(0)
            self.optimizer.state[self.picture] = {"step": before["step"], "exp_avg": mean, "exp_avg_sq": square}

    def paint(self, objective: Callable[[Tensor], dict[str, Tensor]]) -> dict[str, Tensor]:
        """One iteration; the losses before it."""
        found: dict[str, Tensor] = {}

        def loss() -> Tensor:
            self.optimizer.zero_grad()
            found.update(objective(self.picture))
            found["loss"].backward()  # type: ignore[no-untyped-call]
            return found["loss"]

        self.optimizer.step(loss)
        with torch.no_grad():
            kept = 0.0
            if self.config.optimizer == "adam":
                self.picture.clamp_(0, 1)
                kept = 0.99
            self.sum.lerp_(self.picture, 1 - kept)
            self.decay *= kept
        return {name: each.detach() for name, each in found.items()}

    def painted(self) -> Tensor:
        """The average of the iterates, without the bias of its beginning; the first picture before there are any."""
        return self.picture.detach().clone() if self.decay == 1 else (self.sum / (1 - self.decay)).clamp(0, 1)

    def state_dict(self) -> dict[str, Any]:
        return {"picture": self.picture.detach(), "sum": self.sum, "decay": self.decay, "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.begin(state["picture"].to(self.picture.device))
        self.sum, self.decay = state["sum"].to(self.picture.device), state["decay"]
        self.optimizer.load_state_dict(state["optimizer"])


def resized(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """float32 NCHW in [0, 1], bicubic; smoothed first where it shrinks."""
    return F.interpolate(picture, size, mode="bicubic", antialias=True).clamp(0, 1) if picture.shape[-2:] != size else picture


def fitted(height: int, width: int, longer: float) -> tuple[int, int]:
    """The size whose longer side is ``longer``, in proportion; at least 16 pixels, which VGG-19's fifth block needs."""
    return max(16, round(height * longer / max(height, width))), max(16, round(width * longer / max(height, width)))


def scales(config: Config, height: int, width: int) -> list[int]:
    """Longer side of each scale, from --smallest to --size (the photograph's own where that is less) in steps of about the root of two."""
    last = min(config.size or max(height, width), max(height, width))
    steps = max(0, round(2 * math.log2(last / config.smallest))) if config.smallest < last else 0
    return [round(last / 2 ** ((steps - n) / 2)) for n in range(steps + 1)]


def stylize(
    content: Tensor, styles: Sequence[Tensor], config: Config, easel: Easel, *, start: Tensor | None = None, masks: Sequence[Tensor] = ()
) -> Tensor:
    """Paint ``content`` in the style of ``styles``: float32 1 x 3 x H x W RGB in [0, 1], all of any size, to the same, at --size.

    ``start`` is the first picture, where it is given: what is there already needs the last two scales only, and time for the last.
    ``masks``, float32 1 x 1 x H x W in [0, 1], one for each style, are their regions.
    """
    given, wanted = len(config.style_weights), len(styles)
    require(given in (0, wanted), f"`style_weights` needs one number for each of the {wanted} paintings, not {given}.")
    vgg = easel.place(features.load((*config.style_layers, config.content_layer), config.vgg, pooling=config.pooling, edge="replicate"))
    height, width = content.shape[-2:]
    sizes = scales(config, height, width)[0 if start is None else -2 :]
    iterations = [config.initial_iterations, *(config.iterations for _ in sizes[1:])]
    if start is not None:
        iterations = [*(config.iterations for _ in sizes[1:]), max(1, config.initial_iterations // 2)]
    plan = [number for number, count in enumerate(iterations) for _ in range(count)]
    # From their largest size on they are only made smaller, scale by scale; and never enlarged: there is nothing more in them.
    longest = [min(config.style_scale * sizes[-1], max(each.shape[2:])) for each in styles]
    styles = [resized(each, fitted(each.shape[2], each.shape[3], longer)) for each, longer in zip(styles, longest, strict=True)]
    copies = 2 * HISTORY + 6 if config.optimizer == "l-bfgs" else 6
    seen = max(each.shape[2] * each.shape[3] for each in styles)
    vgg.sparing = easel.sparing(vgg.names, fitted(height, width, sizes[-1]), painting=seen, copies=copies)

    small = resized(content if start is None else start, fitted(height, width, sizes[0]))
    if start is None and config.start != "content":
        random = torch.Generator().manual_seed(config.seed)
        small = torch.rand(small.shape, generator=random).to(small.device) if config.start == "noise" else torch.full_like(small, 0.5)
    canvas = Canvas(config, small)
    easel.keep(canvas)

    def objective_at(longer: int) -> Objective:
        sides = [min(config.style_scale * longer, max(each.shape[2:])) for each in styles]
        paintings = [resized(each, fitted(each.shape[2], each.shape[3], side)) for each, side in zip(styles, sides, strict=True)]
        with easel.autocast():
            return Objective(vgg, config, resized(content, fitted(height, width, longer)), paintings, masks)

    def losses(picture: Tensor) -> dict[str, Tensor]:
        with easel.autocast():
            return objectives[scale](picture)

    scale, objectives = -1, {}
    # In pixels: what does not depend on the size takes about as long as 100 x 100 of them.
    for step in easel.steps([float(sizes[number] ** 2 + 100**2) for number in plan]):
        if plan[step] != scale:
            scale = plan[step]
            objectives = {scale: objective_at(sizes[scale])}
            if canvas.picture.shape[2:] != fitted(height, width, sizes[scale]):
                canvas.enlarge(fitted(height, width, sizes[scale]))
        easel.show(canvas.painted, canvas.paint(losses))
    return resized(canvas.painted(), fitted(height, width, sizes[-1]))
