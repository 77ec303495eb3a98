"""Fast neural style: one painting becomes a network that paints any photograph in one pass.

Justin Johnson, Alexandre Alahi, Li Fei-Fei, "Perceptual Losses for Real-Time Style Transfer and Super-Resolution", ECCV 2016,
https://arxiv.org/abs/1603.08155, with the instance normalisation of Dmitry Ulyanov, Andrea Vedaldi, Victor Lempitsky, "Instance
Normalization: The Missing Ingredient for Fast Stylization", 2016, https://arxiv.org/abs/1607.08022, and VGG-19 in the place of VGG-16.

Differs from the paper:
- The style loss is taken on shallow layers at three sizes of the picture, not on deep layers at one: large strokes, cheaply.
- Upsampling is nearest-neighbour and convolution, not a transposed convolution (checkerboard).
- Residual blocks pad by reflection instead of shrinking the picture.
- The Gram matrix is taken apart into mean and covariance, each with its own loss. As one matrix, the mean outweighs the rest by far: the
  network then learns the painting's palette long before its strokes (option ``statistic``).
- Each loss is divided by the energy of what it is compared with, so that one style weight can serve very different paintings.
- A tone loss keeps what is light light and what is dark dark. Content features say little about flat areas: without it, black hair or a
  night sky may come out as cream paper, with a dark halo where the area ends.
- Adam's rate rises and falls again, its beta1 the other way round (one cycle); gradients are clipped at a norm of 5.
- Photographs are not squashed to squares: crops of 0.5 to 1 of the short side, half of them mirrored.
- The style file holds an average of the weights, at the checkpoint with the best held-out number.

``--preset paper`` is the paper's width, steps, rate, Gram matrices at one size of the picture, and largest squares. The rest of the above
remains; the layers are those of Gatys et al., as others use them with VGG-19, and the weights suit losses that are relative.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from limner import features
from limner.errors import require
from limner.methods import Run, StyleNetwork

WIDTHS = {"full": 32, "half": 16, "quarter": 8}


@dataclass(frozen=True)
class Config:
    """Options of ``limner train fast-style``."""

    style_image: Path
    """The painting to learn from; never squashed to a square."""
    photos: Path
    """Folder of photographs to practise on (searched recursively); a few hundred are enough."""
    vgg: Path | None = None
    """VGG-19 weights (.safetensors or torchvision's .pth); downloaded once if left out."""
    steps: int = 2000
    """Training steps (paper, section 4.1: 40,000); the first two thousand bring most of it."""
    batch_size: int = 4
    """Photographs a step (section 4.1)."""
    image_size: int = 256
    """Side of the square crops, in pixels (section 4.1)."""
    min_scale: float = 0.5
    """Smallest crop, as a part of the photograph's short side; crops between it and 1 make the style work at many sizes."""
    width: Literal["full", "half", "quarter"] = "half"
    """Channels of the network: full is the paper's (1.68 M parameters), half is four times cheaper, quarter is for live video."""
    style_size: int = 512
    """Short side, in pixels, that the painting is scaled to: smaller gives smaller strokes."""
    style_weight: float = 2.5
    """Strength of the style against the content. Losses are relative, so that one value can serve very different paintings."""
    statistic: Literal["moments", "gram"] = "moments"
    """What the style loss compares: mean and covariance of the features, or the paper's Gram matrix, in which both are one."""
    tv_weight: float = 2.0
    """Weight of the total variation (section 3.2): more gives cleaner flat areas and softer strokes."""
    tone_weight: float = 2.0
    """Weight of the tone loss: more keeps light and shade closer to the photograph's, 0 leaves them to the painting."""
    learning_rate: float = 2e-3
    """Highest rate of Adam's one-cycle schedule (section 4.1: 1e-3, constant)."""
    style_layers: tuple[str, ...] = ("relu1_1", "relu2_1", "relu3_1", "relu3_3")
    """VGG-19 layers of the style loss."""
    content_layer: str = "relu3_3"
    """VGG-19 layer of the content loss (section 4.1)."""
    pyramid: int = 3
    """Levels of the picture pyramid on which the style loss is taken; each level is half the size of the one before."""

    def __post_init__(self) -> None:
        require(self.steps >= 1, f"--steps must be at least 1, not {self.steps}.")
        require(self.batch_size >= 1, f"--batch-size must be at least 1, not {self.batch_size}.")
        require(
            self.image_size >= 32 and self.image_size % 4 == 0, f"--image-size must be a multiple of 4 from 32 on, not {self.image_size}."
        )
        require(0 < self.min_scale <= 1, f"--min-scale must be above 0 and at most 1, not {self.min_scale:g}.")
        require(self.style_size >= 32, f"--style-size must be at least 32, not {self.style_size}.")
        require(self.learning_rate > 0, f"--learning-rate must be above 0, not {self.learning_rate:g}.")
        require(1 <= self.pyramid <= 5, f"--pyramid must be from 1 to 5, not {self.pyramid}.")
        require(len(self.style_layers) > 0, "--style-layers needs at least one layer, such as relu1_1.")

    PRESETS: ClassVar[dict[str, dict[str, object]]] = {
        "paper": {
            "steps": 40_000,
            "min_scale": 1.0,
            "width": "full",
            "statistic": "gram",
            "tone_weight": 0.0,
            "learning_rate": 1e-3,
            "style_layers": ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"),
            "content_layer": "relu4_2",
            "pyramid": 1,
        },
    }


class ConvLayer(nn.Sequential):
    """Convolution, padded by reflection, then affine instance norm and ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        # GroupNorm with a group per channel IS instance norm, and many times faster on a CPU; the export writes InstanceNormalization.
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, padding_mode="reflect"),
            nn.GroupNorm(outputs, outputs),
            nn.ReLU(),
        )


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions whose result is added to the input; no ReLU after the addition (paper, supplement)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            ConvLayer(channels, channels, 3),
            nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect"),
            nn.GroupNorm(channels, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.body(x)
        return x + residual


class Generator(StyleNetwork):
    """The image transformation network (paper, section 3.1 and supplement): float32 NCHW RGB in [0, 1] to the same; H, W multiples of 4."""

    multiple_of = 4
    min_side = 8

    def __init__(self, width: int = 32, blocks: int = 5) -> None:
        super().__init__()
        self.arguments = {"width": width, "blocks": blocks}
        self.receptive_field = 31 + 16 * blocks
        self.encoder = nn.Sequential(ConvLayer(3, width, 9), ConvLayer(width, 2 * width, 3, 2), ConvLayer(2 * width, 4 * width, 3, 2))
        self.residuals = nn.Sequential(*(ResidualBlock(4 * width) for _ in range(blocks)))
        self.decoder = nn.Sequential(
            nn.Upsample(scale_factor=2),
            ConvLayer(4 * width, 2 * width, 3),
            nn.Upsample(scale_factor=2),
            ConvLayer(2 * width, width, 3),
        )
        self.to_rgb = nn.Conv2d(width, 3, 9, padding=4, padding_mode="reflect")

    def forward(self, image: Tensor) -> Tensor:
        x = self.encoder(image * 2 - 1)
        return torch.tanh(self.to_rgb(self.decoder(self.residuals(x)))) * 0.5 + 0.5


def build(config: Config) -> Generator:
    return Generator(WIDTHS[config.width])


def gram_matrix(feature: Tensor) -> tuple[Tensor]:
    """Channel correlations, N x C x C, of float NCHW features, divided by H W (section 3.2, equation 3).

    Under autocast the factors are bf16, but sums over the picture are always float32: the matrix units work that way.
    """
    flat = feature.flatten(2).float()
    return (flat @ flat.transpose(1, 2) / flat.shape[2],)


def moments(feature: Tensor) -> tuple[Tensor, Tensor]:
    """Mean, float32 N x C x 1, and covariance, N x C x C, of float NCHW features: together they hold what the Gram matrix holds."""
    mean = feature.float().flatten(2).mean(2, keepdim=True)
    # The mean goes first: subtracting it from a finished Gram matrix would leave little but bf16's rounding.
    return mean, *gram_matrix(feature.float() - mean[..., None])


def relative_error(value: Tensor, target: Tensor, floor: Tensor | float = 0.0) -> Tensor:
    """Squared distance of each picture's ``value`` from its ``target``, as a part of the target's own energy; the mean over the batch.

    ``floor`` is added to that energy, for targets that may be next to nothing.
    """
    value, target = value.float(), target.float()
    return ((value - target).square().flatten(1).sum(1) / (target.square().flatten(1).sum(1) + floor)).mean()


def total_variation(images: Tensor) -> Tensor:
    """Mean squared difference of neighbouring pixels of float NCHW images (section 3.2)."""
    return (images[..., 1:, :] - images[..., :-1, :]).square().mean() + (images[..., 1:] - images[..., :-1]).square().mean()


def tone_difference(images: Tensor, photos: Tensor) -> Tensor:
    """1 minus the correlation of coarse luma (squares of 16 x 16 pixels) of two float NCHW RGB batches: any brightness and contrast do."""
    weights = torch.tensor([0.299, 0.587, 0.114], device=images.device).view(1, 3, 1, 1)
    tones = [F.avg_pool2d((batch.float() * weights).sum(1), 16).flatten(1) for batch in (images, photos)]
    tones = [tone - tone.mean(1, keepdim=True) for tone in tones]
    energies = [tone.square().sum(1) for tone in tones]
    # 0.01 on both sides: a photograph without light and shade asks for nothing. 1e-12: the root has a slope at zero, too.
    return (1 - ((tones[0] * tones[1]).sum(1) + 0.01) / ((energies[0] * energies[1] + 1e-12).sqrt() + 0.01)).mean()


class StyleLoss:
    """Distance of the features' statistics from the painting's, relative to the painting's own, averaged over layers and pyramid levels."""

    def __init__(self, vgg: features.VGG19, config: Config, painting: Tensor) -> None:
        self.vgg, self.config = vgg, config
        self.statistic = {"moments": moments, "gram": gram_matrix}[config.statistic]
        with torch.no_grad():
            self.targets = self.statistics(painting, vgg(painting))
        # A painting of nearly one colour has next to no covariance; measured against that alone, nothing else would count. The floor, a
        # thousandth of the mean's share in the Gram matrix, is at most 5 % of the covariance's energy for each of twelve paintings tried.
        self.floors: list[Tensor | float] = [0.0 for _ in self.targets]
        if config.statistic == "moments":
            self.floors[1::2] = [1e-3 * mean.square().sum().square() for mean in self.targets[::2]]

    def statistics(self, images: Tensor, seen: dict[str, Tensor]) -> list[Tensor]:
        """Statistics of ``images``, whose features at full size are ``seen``, at every layer of every pyramid level."""
        found: list[Tensor] = []
        for level in range(self.config.pyramid):
            if level > 0:
                images = F.avg_pool2d(images, 2)
                seen = self.vgg(images)
            for layer in self.config.style_layers:
                found += self.statistic(seen[layer])
        return found

    def __call__(self, images: Tensor, seen: dict[str, Tensor]) -> Tensor:
        found = self.statistics(images, seen)
        terms = [relative_error(*each) for each in zip(found, self.targets, self.floors, strict=True)]
        return torch.stack(terms).sum() / (self.config.pyramid * len(self.config.style_layers))


def train(config: Config, run: Run) -> None:
    vgg = run.place(features.load((*config.style_layers, config.content_layer), config.vgg))
    generator = run.place(build(config))
    optimizer = torch.optim.Adam(generator.parameters(), config.learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total_steps=config.steps)
    average = AveragedModel(generator, multi_avg_fn=get_ema_multi_avg_fn(0.995))  # type: ignore[no-untyped-call]

    painting = run.picture(config.style_image)
    scale = config.style_size / min(painting.shape[-2:])
    painting = F.interpolate(painting, scale_factor=scale, mode="bicubic", antialias=True).clamp(0, 1)
    style_loss = StyleLoss(vgg, config, painting)

    def losses(generator: nn.Module, photos: Tensor) -> dict[str, Tensor]:
        with run.autocast():
            stylized = generator(photos).float()
            seen = vgg(stylized)
            with torch.no_grad():
                photo_content = vgg(photos)[config.content_layer]
            content = relative_error(seen[config.content_layer], photo_content, floor=1e-6)
            style = style_loss(stylized, seen)
            tv = total_variation(stylized)
            tone = tone_difference(stylized, photos)
            return {
                "loss": content + config.style_weight * style + config.tv_weight * tv + config.tone_weight * tone,
                "content": content,
                "style": style,
                "tv": tv,
                "tone": tone,
            }

    def held_out() -> dict[str, Tensor]:
        """Losses of what becomes the style file, over photographs never trained on."""
        with torch.no_grad():
            found = [losses(average.module, batch) for batch in photos.held_out]
        return {name: torch.stack([each[name] for each in found]).mean() for name in (found[0] if found else ())}

    photos = run.pictures(config.photos, size=config.image_size, batch_size=config.batch_size, min_scale=config.min_scale)
    run.preview(average.module, photos)
    run.evaluate(held_out, by="loss")
    run.keep(generator=generator, optimizer=optimizer, schedule=schedule, average=average)

    losses_of = run.compile(losses)
    for step in run.steps(config.steps):
        found = losses_of(generator, photos[step])
        optimizer.zero_grad()
        run.backward(found["loss"], generator)
        nn.utils.clip_grad_norm_(generator.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        average.update_parameters(generator)
        run.log(step, **{name: loss.detach() for name, loss in found.items()})
