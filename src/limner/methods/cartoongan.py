"""CartoonGAN: photographs and cartoons that have nothing to do with one another become a network that draws any photograph.

Yang Chen, Yu-Kun Lai, Yong-Jin Liu, "CartoonGAN: Generative Adversarial Networks for Photo Cartoonization", CVPR 2018,
https://openaccess.thecvf.com/content_cvpr_2018/html/Chen_CartoonGAN_Generative_Adversarial_CVPR_2018_paper.html, with the least-squares
loss of Xudong Mao et al., "Least Squares Generative Adversarial Networks", 2017, https://arxiv.org/abs/1611.04076, as in the authors' code.

Differs from the paper:
- The content loss is divided by the photograph's own feature energy, so that its weight omega means the same for any layer. The paper's 10
  on plain features leaves the output the input; the authors' code divides a gradient where it should multiply, which hides that.
- It is taken at conv3_4, not conv4_4: a third fewer multiplications, and a VGG-19 file that ends there will do.
- The discriminator sees grey pictures, weighted anew each time, and a colour loss holds on to the photograph's colours. Otherwise the
  cartoons' palette is the first thing that is learnt: every picture turns sand or teal (option ``adversary``).
- A surface loss smooths what is nearly flat and leaves edges alone; a halo loss forbids light seams along edges.
- Least squares in the place of the logarithm, and a pool of older generated pictures for the discriminator, both as in the authors' code.
- The generator draws on a coarse copy of the photograph. Instance norm forgets how bright and of what colour its input is, and a network
  that must guess it tints (option ``skip``).
- The generator is narrower and has fewer blocks; upsampling is nearest-neighbour and convolution, not a transposed one (checkerboard).
- Crops are small; the discriminator's rate is twice the generator's, and both fall to zero in the second half of the adversarial phase; the
  style file holds an average of the weights.
- Edges are smoothed on the fly. ``limner prepare edges`` does it beforehand (option ``edges``).

``--preset paper`` is the paper, with the authors' rates, batch and pool.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from limner import features
from limner.adversarial import ImagePool, KernelDistance, running_average
from limner.edges import Blur, edge_smoothed
from limner.errors import require
from limner.methods import Run, StyleNetwork


@dataclass(frozen=True)
class Config:
    """Options of ``limner train cartoongan``."""

    photos: Path
    """Photographs to practise on (section 4.1: 5,402)."""
    cartoons: Path
    """Cartoons to learn from, of one artist or film (section 4.1: 2,302 to 4,573 of each artist)."""
    edges: Path | None = None
    """What `limner prepare edges` made of the cartoons; by default their edges are smoothed on the fly."""
    vgg: Path | None = None
    """VGG-19 weights (.safetensors or torchvision's .pth); downloaded once if left out."""
    start: Path | None = None
    """Weights to start from (the .safetensors beside a CartoonGAN style), in the place of random ones; give it --initial-steps 0."""
    steps: int = 3_000
    """Training steps of both phases together."""
    initial_steps: int = 400
    """Steps of the initialisation phase, which has the content loss alone (section 3.3: 10 epochs)."""
    batch_size: int = 4
    """Photographs, and cartoons, a step."""
    image_size: int = 128
    """Side of the square crops, in pixels (section 4.1: 256)."""
    min_scale: float = 0.6
    """Smallest crop, as a part of the picture's short side."""
    cartoon_scale: float = 0.8
    """Largest crop of a cartoon, as a part of its short side: smaller gives larger strokes."""
    width: int = 32
    """Channels of the generator's first layer (figure 2: 64)."""
    blocks: int = 4
    """Residual blocks of the generator (figure 2: 8)."""
    upsampling: Literal["resize", "transposed"] = "resize"
    """Enlarge, then convolve; or the paper's transposed convolution."""
    skip: Literal["coarse", "none"] = "coarse"
    """What the generator draws on: a coarse copy of the photograph, or nothing, as in the paper."""
    discriminator_width: int = 32
    """Channels of the discriminator's first layer (figure 2: 32)."""
    adversary: Literal["grey", "colour"] = "grey"
    """What the discriminator sees: grey pictures, so that it learns lines and not the palette, or the paper's coloured ones."""
    adversarial_loss: Literal["least-squares", "log"] = "least-squares"
    """Form of the adversarial loss; log is the paper's (equation 3), least squares that of the authors' code."""
    content_weight: float = 0.2
    """omega of equation 2: more keeps closer to the photograph, less draws more freely."""
    content_measure: Literal["relative", "plain"] = "relative"
    """Whether the content loss is divided by the photograph's own feature energy, or plain as in equation 4."""
    content_layer: str = "conv3_4"
    """VGG-19 layer of the content loss, before its ReLU (section 3.2.2: conv4_4, which a file that ends at conv3_4 cannot give)."""
    colour_weight: float = 2.0
    """Weight of the colour loss: more keeps the photograph's colours, 0 leaves them alone."""
    surface_weight: float = 10.0
    """Weight of the surface loss: more gives smoother flat areas."""
    halo_weight: float = 50.0
    """Weight of the halo loss: more suppresses light seams along edges; dark outlines are free."""
    initial_rate: float = 2e-4
    """Adam's rate in the initialisation phase."""
    learning_rate: float = 1e-4
    """Adam's rate of the generator in the adversarial phase, constant in its first half, then falling to zero."""
    discriminator_rate: float = 2e-4
    """Adam's rate of the discriminator, falling likewise."""
    pool: int = 50
    """Generated pictures, old and new, that the discriminator is shown from; 0 shows it the newest only."""
    edge_kernel: int = 5
    """Side, in pixels, of the squares by which edges are widened and blurred; odd."""
    edge_blur: Blur = "gaussian"
    """How edges are blurred."""
    score_layers: tuple[str, ...] = ("relu1_2", "relu2_2", "relu3_4")
    """VGG-19 layers of the held-out number's kernel distance."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "width", "discriminator_width"):
            require(getattr(self, name) >= 1, f"--{name.replace('_', '-')} must be at least 1, not {getattr(self, name)}.")
        for name in ("initial_steps", "blocks", "pool", "content_weight", "colour_weight", "surface_weight", "halo_weight"):
            require(getattr(self, name) >= 0, f"--{name.replace('_', '-')} must not be negative, as {getattr(self, name):g} is.")
        for name in ("initial_rate", "learning_rate", "discriminator_rate"):
            require(getattr(self, name) > 0, f"--{name.replace('_', '-')} must be above 0, not {getattr(self, name):g}.")
        require(self.initial_steps < self.steps, f"--initial-steps must be fewer than --steps ({self.steps}), not {self.initial_steps}.")
        size, kernel, largest = self.image_size, self.edge_kernel, self.cartoon_scale
        require(size >= 32 and size % 4 == 0, f"--image-size must be a multiple of 4 from 32 on, not {size}.")
        require(0 < self.min_scale <= 1, f"--min-scale must be above 0 and at most 1, not {self.min_scale:g}.")
        require(self.min_scale <= largest <= 1, f"--cartoon-scale must be from --min-scale ({self.min_scale:g}) to 1, not {largest:g}.")
        require(kernel % 2 == 1 and 1 <= kernel <= 31, f"--edge-kernel must be odd and from 1 to 31, not {kernel}.")
        require(len(self.score_layers) > 0, "--score-layers needs at least one layer, such as relu1_2.")

    PRESETS: ClassVar[dict[str, dict[str, object]]] = {
        "paper": {
            "steps": 141_750,  # 10 and 200 epochs of 5,402 photographs
            "initial_steps": 6_750,
            "batch_size": 8,
            "image_size": 256,
            "cartoon_scale": 1.0,
            "width": 64,
            "blocks": 8,
            "upsampling": "transposed",
            "skip": "none",
            "adversary": "colour",
            "adversarial_loss": "log",
            "content_weight": 10.0,
            "content_measure": "plain",
            "content_layer": "conv4_4",
            "colour_weight": 0.0,
            "surface_weight": 0.0,
            "halo_weight": 0.0,
            "learning_rate": 1e-5,
            "discriminator_rate": 1e-5,
        },
    }


def norm(channels: int) -> nn.GroupNorm:
    """Affine instance norm. GroupNorm with a group per channel IS that, and many times faster on a CPU; the export writes it as such."""
    return nn.GroupNorm(channels, channels)


def stage(*resize: nn.Module, channels: int) -> nn.Sequential:
    """Half or twice the size, then another convolution. The two share ONE norm and ReLU (figure 2)."""
    return nn.Sequential(*resize, nn.Conv2d(channels, channels, 3, padding=1), norm(channels), nn.ReLU())


def up(inputs: int, outputs: int, transposed: int) -> tuple[nn.Module, ...]:
    """Twice the size: k3 s1/2."""
    if transposed:
        return (nn.ConvTranspose2d(inputs, outputs, 3, 2, padding=1, output_padding=1),)
    return nn.Upsample(scale_factor=2), nn.Conv2d(inputs, outputs, 3, padding=1)


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions, padded by reflection, whose result is added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect"), norm(channels), nn.ReLU()),
            *(nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect"), norm(channels)),
        )

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.body(x)
        return x + residual


class Generator(StyleNetwork):
    """G of figure 2: float32 NCHW RGB in [0, 1] to the same; H, W multiples of 4. Inside, pictures are in [-1, 1]."""

    multiple_of = 4
    min_side = 8

    def __init__(self, width: int = 32, blocks: int = 4, transposed: int = 0, coarse: int = 1) -> None:
        super().__init__()
        self.arguments = {"width": width, "blocks": blocks, "transposed": transposed, "coarse": coarse}
        self.receptive_field = (41 if transposed else 45) + 16 * blocks
        a, b, c = width, 2 * width, 4 * width
        self.flat = nn.Sequential(nn.Conv2d(3, a, 7, padding=3, padding_mode="reflect"), norm(a), nn.ReLU())
        self.down = nn.Sequential(stage(nn.Conv2d(a, b, 3, 2, 1), channels=b), stage(nn.Conv2d(b, c, 3, 2, 1), channels=c))
        self.residuals = nn.Sequential(*(ResidualBlock(c) for _ in range(blocks)))
        self.up = nn.Sequential(stage(*up(c, b, transposed), channels=b), stage(*up(b, a, transposed), channels=a))
        self.to_rgb = nn.Conv2d(width, 3, 7, padding=3, padding_mode="reflect")

    def forward(self, image: Tensor) -> Tensor:
        drawn = self.to_rgb(self.up(self.residuals(self.down(self.flat(image * 2 - 1)))))
        if not self.arguments["coarse"]:
            return torch.tanh(drawn) * 0.5 + 0.5
        copy = F.interpolate(F.avg_pool2d(image, 4), scale_factor=4, mode="bilinear") * 0.98 + 0.01
        return torch.sigmoid(drawn + copy.log() - (1 - copy).log())  # with nothing drawn, the copy


class Discriminator(nn.Sequential):
    """D of figure 2, on patches of 37 x 37 pixels: float32 NCHW in [-1, 1] to scores N1hw, h and w a quarter of H and W."""

    def __init__(self, width: int = 32) -> None:
        leaky = nn.LeakyReLU(0.2)
        super().__init__(
            *(nn.Conv2d(3, width, 3, padding=1), leaky),
            *(nn.Conv2d(width, 2 * width, 3, 2, 1), leaky, nn.Conv2d(2 * width, 4 * width, 3, padding=1), norm(4 * width), leaky),
            *(nn.Conv2d(4 * width, 4 * width, 3, 2, 1), leaky, nn.Conv2d(4 * width, 8 * width, 3, padding=1), norm(8 * width), leaky),
            *(nn.Conv2d(8 * width, 8 * width, 3, padding=1), norm(8 * width), leaky),
            nn.Conv2d(8 * width, 1, 3, padding=1),
        )


def build(config: Config) -> Generator:
    return Generator(config.width, config.blocks, int(config.upsampling == "transposed"), int(config.skip == "coarse"))


def least_squares(scores: Tensor, *, real: bool) -> Tensor:
    """How far float scores are from 1, for what should pass as a cartoon, or from 0."""
    return (scores.float() - float(real)).square().mean()


def log_loss(scores: Tensor, *, real: bool) -> Tensor:
    """-log D, for what should pass as a cartoon, or -log(1 - D), where D is the sigmoid of float scores (equation 3).

    The generator, too, minimises -log D of its pictures, and not log(1 - D): the same goal, with a slope where D is sure.
    """
    return F.softplus(-scores.float() if real else scores.float()).mean()


ADVERSARIAL_LOSSES: dict[str, Callable[..., Tensor]] = {"least-squares": least_squares, "log": log_loss}


def content_loss(features: Tensor, photo_features: Tensor, measure: str = "relative") -> Tensor:
    """Mean absolute difference of float NCHW features (equation 4); ``relative``: as a part of the photograph's own mean absolute value."""
    photo_features = photo_features.float()
    distance = (features.float() - photo_features).abs().mean((1, 2, 3))
    return (distance / (photo_features.abs().mean((1, 2, 3)) + 1e-3) if measure == "relative" else distance).mean()


def colour_loss(images: Tensor, photos: Tensor) -> Tensor:
    """Difference of the U and V planes, and of the mean luma, of float NCHW RGB in [0, 1].

    Huber's: squared up to a tenth, so that small shifts cost little, then linear. Pixel by pixel: in the mean over squares, green fringes
    along an edge would make up for magenta ones. After Jie Chen, Gang Liu, Xin Chen, "AnimeGAN", 2019.
    """
    light, other_light = luma(images), luma(photos)
    differences = (images - light) - (photos - other_light)
    scale = torch.tensor([0.877, 0.492], device=images.device).view(1, 2, 1, 1)  # V from red, U from blue
    differences = differences[:, [0, 2]] * scale
    colour = F.huber_loss(differences, torch.zeros_like(differences), delta=0.1) / 0.1
    return colour + (light.mean((1, 2, 3)) - other_light.mean((1, 2, 3))).abs().mean()


def surface_loss(images: Tensor, radius: int = 2, eps: float = 0.01) -> Tensor:
    """Mean absolute difference of float NCHW images in [0, 1] from what a guided filter leaves of them.

    Where a picture varies by less than the root of ``eps``, that is its mean; along edges it is the picture. Kaiming He, Jian Sun,
    Xiaoou Tang, "Guided Image Filtering", ECCV 2010, with the picture as its own guide.
    """

    side, channels = 2 * radius + 1, images.shape[1]
    square = torch.full((channels, 1, side, side), 1 / side**2, device=images.device)

    def box(x: Tensor) -> Tensor:
        # Not avg_pool2d: where windows overlap, its gradient takes the compiler minutes.
        return F.conv2d(F.pad(x, (radius,) * 4, mode="reflect"), square, groups=channels)

    mean = box(images)
    variance = box(images.square()) - mean.square()
    keep = variance / (variance + eps)
    return (images - box(keep) * images - box(mean - keep * mean)).abs().mean()


def halo_loss(images: Tensor, photos: Tensor, radius: int = 2) -> Tensor:
    """By how much float NCHW images in [0, 1] are lighter than the lightest of the photographs' pixels around, on average.

    A light seam beside a dark thing is the cheapest way to a clear edge, and ugly; a dark outline, the cartoonist's way, costs nothing.
    """
    lightest = F.max_pool2d(luma(photos), 2 * radius + 1, stride=1, padding=radius)
    return F.relu(luma(images) - lightest).mean()


def luma(images: Tensor) -> Tensor:
    """N1HW of float NCHW RGB."""
    return (images * torch.tensor([0.299, 0.587, 0.114], device=images.device).view(1, 3, 1, 1)).sum(1, keepdim=True)


def grey_weights(batch: int, device: torch.device) -> Tensor:
    """Shares of red, green and blue in a grey picture, drawn anew around those of luma: N x 3 x 1 x 1, of sum 1."""
    weights = torch.tensor([0.299, 0.587, 0.114], device=device) + 0.2 * torch.rand(batch, 3, device=device) - 0.1
    return (weights / weights.sum(1, keepdim=True))[..., None, None]


def train(config: Config, run: Run) -> None:
    vgg = run.place(features.load((config.content_layer, *config.score_layers), config.vgg))
    generator = build(config)
    if config.start is not None:
        generator.start_from(config.start)
    generator = run.place(generator)
    discriminator = run.place(Discriminator(config.discriminator_width))
    adam = partial(torch.optim.Adam, betas=(0.5, 0.999), fused=True)
    optimizer = adam(generator.parameters(), config.learning_rate)
    discriminator_optimizer = adam(discriminator.parameters(), config.discriminator_rate)
    rise = config.initial_rate / config.learning_rate
    half = (config.steps - config.initial_steps) / 2

    def rate(step: int) -> float:
        """Of the adversarial phase: constant at first, then down to zero in a line."""
        return min(1.0, (config.steps - step) / half)

    schedule = LambdaLR(optimizer, lambda step: rise if step < config.initial_steps else rate(step))
    discriminator_schedule = LambdaLR(discriminator_optimizer, lambda step: rate(step + config.initial_steps))
    average = AveragedModel(generator, multi_avg_fn=running_average(0.999))
    pool = ImagePool(config.pool)
    adversarial_loss = ADVERSARIAL_LOSSES[config.adversarial_loss]

    def content(generated: Tensor, photos: Tensor) -> Tensor:
        with torch.no_grad():
            of_photos = vgg(photos)[config.content_layer]
        return content_loss(vgg(generated)[config.content_layer], of_photos, config.content_measure)

    def initial_loss(photos: Tensor) -> Tensor:
        with run.autocast():
            return content(generator(photos).float(), photos)

    def judge(pictures: Tensor, grey: Tensor) -> Tensor:
        seen = (pictures * grey).sum(1, keepdim=True).expand(-1, 3, -1, -1) if config.adversary == "grey" else pictures
        scores: Tensor = discriminator(seen * 2 - 1)
        return scores

    def generator_losses(photos: Tensor, grey: Tensor) -> dict[str, Tensor]:
        with run.autocast():
            generated = generator(photos).float()
            adversarial = adversarial_loss(judge(generated, grey), real=True)
            kept = content(generated, photos)
        loss = adversarial + config.content_weight * kept
        found = {"adversarial": adversarial, "content": kept}
        if config.colour_weight:
            found["colour"] = colour_loss(generated, photos)
            loss = loss + config.colour_weight * found["colour"]
        if config.surface_weight:
            found["surface"] = surface_loss(generated)
            loss = loss + config.surface_weight * found["surface"]
        if config.halo_weight:
            found["halo"] = halo_loss(generated, photos)
            loss = loss + config.halo_weight * found["halo"]
        return {"loss": loss, **found, "generated": generated.detach()}

    def discriminator_loss(cartoons: Tensor, smoothed: Tensor, generated: Tensor, grey: Tensor) -> Tensor:
        """Equation 3: cartoons are real; cartoons without clear edges, and generated pictures, are not."""
        with run.autocast():
            scores = judge(torch.cat([cartoons, smoothed, generated]), grey.repeat(3, 1, 1, 1)).chunk(3)
            return adversarial_loss(scores[0], real=True) + sum(adversarial_loss(each, real=False) for each in scores[1:])

    size, batch_size, min_scale = config.image_size, config.batch_size, config.min_scale
    stream = partial(run.pictures, size=size, batch_size=batch_size, min_scale=min_scale)
    photos, cartoons = stream(config.photos), stream(config.cartoons, max_scale=config.cartoon_scale, name="cartoons")
    if config.edges is None:  # of the very crops that `cartoons` shows
        smooth = partial(edge_smoothed, widen=config.edge_kernel, kernel=config.edge_kernel, blur=config.edge_blur)
        smoothed = cartoons.altered(lambda crop: smooth(crop)[0])
    else:
        smoothed = stream(config.edges, max_scale=config.cartoon_scale, name="edges")
    with torch.no_grad(), run.autocast():
        distance = KernelDistance(vgg, config.score_layers, cartoons.held_out) if cartoons.held_out else None
        at_first = distance(photos.held_out).clamp_min(1e-6) if distance and photos.held_out else torch.ones(())

    def held_out() -> dict[str, Tensor]:
        """Distance from cartoons, as a part of the photographs' own, and half of what content is lost: the photographs would get 1.

        There is none in the initialisation phase, whose copies of photographs might pass for the best of all drawings.
        """
        if distance is None or not photos.held_out or average.n_averaged <= 1:
            return {}
        with torch.no_grad(), run.autocast():
            drawn = [average.module(batch).float() for batch in photos.held_out]
            pairs = [(vgg(ours), vgg(theirs)) for ours, theirs in zip(drawn, photos.held_out, strict=True)]
            lost = torch.stack([content_loss(*(seen[config.content_layer] for seen in pair)) for pair in pairs]).mean()
            kernel = distance(drawn) / at_first
        return {"score": kernel + 0.5 * lost, "kernel": kernel, "content": lost}

    run.preview(average.module, photos)
    run.evaluate(held_out, by="score")
    networks = {"generator": generator, "discriminator": discriminator, "average": average}
    optimizers = {"optimizer": optimizer, "discriminator_optimizer": discriminator_optimizer}
    run.keep(**networks, **optimizers, schedule=schedule, discriminator_schedule=discriminator_schedule, pool=pool)

    initial_of, losses_of, discriminator_of = (run.compile(each) for each in (initial_loss, generator_losses, discriminator_loss))
    for step in run.steps(config.steps):
        x = photos[step]
        if step < config.initial_steps:  # the initialisation phase (section 3.3): draw what is there
            loss = initial_of(x)
            optimizer.zero_grad()
            run.backward(loss, generator)
            optimizer.step()
            schedule.step()
            average.n_averaged.zero_()  # the average begins where this phase ends
            average.update_parameters(generator)
            run.log(step, initialisation=loss.detach())
            continue

        grey = grey_weights(config.batch_size, x.device)
        discriminator.requires_grad_(False)  # the generator's gradients only pass through
        found = losses_of(x, grey)
        discriminator.requires_grad_(True)
        generated = found.pop("generated")
        optimizer.zero_grad()
        run.backward(found["loss"], generator)
        optimizer.step()
        schedule.step()
        average.update_parameters(generator)

        loss = discriminator_of(cartoons[step], smoothed[step], pool.swap(generated), grey)
        discriminator_optimizer.zero_grad()
        run.backward(loss, discriminator)
        discriminator_optimizer.step()
        discriminator_schedule.step()
        run.log(step, **{name: each.detach() for name, each in found.items()}, discriminator=loss.detach())
