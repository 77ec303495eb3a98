"""CartoonGAN: photographs and cartoons that have nothing to do with one another become a network that draws any photograph.

Yang Chen, Yu-Kun Lai, Yong-Jin Liu, "CartoonGAN: Generative Adversarial Networks for Photo Cartoonization", CVPR 2018,
https://openaccess.thecvf.com/content_cvpr_2018/html/Chen_CartoonGAN_Generative_Adversarial_CVPR_2018_paper.html

Differs from the paper:
- The initialisation phase aims at an abstraction of the photograph, flat areas and lines of ink (``limner.blocks.abstraction``), not at the
  photograph: it ends with a drawing, and the adversarial phase keeps to that drawing's content and colours (option ``target``).
- The generator is a U-Net without norm that draws on the photograph (option ``generator``). Instance norm forgets how bright and of what
  colour its input is, makes droplets, and ties each pixel to the whole picture.
- The discriminator sees grey pictures, weighted anew each time: otherwise the cartoons' palette is the first thing that is learnt (option
  ``adversary``). Spectral norm takes the place of its norm layers, the hinge loss that of the logarithm: Takeru Miyato et al., "Spectral
  Normalization for Generative Adversarial Networks", ICLR 2018, https://arxiv.org/abs/1802.05957.
- The content loss is divided by the target's own feature energy, so that its weight omega means the same for any layer. The paper's 10 on
  plain features leaves the output the input; the authors' code divides a gradient where it should multiply, which hides that.
- It is taken at conv2_2, not conv4_4, and the discriminator is half as wide: what a step may cost on a processor.
- A colour loss holds on to the target's colours.
- Photographs are cropped at the scale at which the style is applied, since lines have a width in pixels.
- Gradients are clipped. Rates fall along a cosine in the initialisation phase, and to zero in the second half of the adversarial one.
- The style file holds an average of the weights, at the best held-out number.
- Edges are smoothed on the fly. ``limner prepare edges`` does it beforehand (option ``edges``).

``--preset paper`` is the paper, with the authors' rates, batch and pool. Of the above, the average and the choice by a held-out number
remain; weights start as torch's layers do, where the authors' code does not say.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm
from torch.optim.lr_scheduler import LambdaLR

from limner.blocks import features, motion
from limner.blocks.adversarial import LOSSES, ImagePool
from limner.blocks.drawing import drawing_loss, luma, rise_and_fall
from limner.blocks.edge_smoothing import Blur, edge_smoothed
from limner.blocks.measures import LAYER, DrawingDistance
from limner.blocks.network import StyleNetwork
from limner.blocks.unet import UNet
from limner.colour import LUMA
from limner.errors import require
from limner.gallery import bundled
from limner.methods.contract import Pictures, Run
from limner.ranges import Count, CountOrZero, Part, Positive, PositiveOrZero, check


@dataclass(frozen=True)
class Config:
    """Options of ``limner train cartoongan``."""

    photos: Path
    """Photographs to practise on (section 4.1: 5,402)."""
    cartoons: Path
    """Cartoons to learn from, of one artist or film (section 4.1: 2,302 to 4,573 of each artist); contours come from theirs."""
    abstractions: Path | None = None
    """What `limner prepare abstractions` made of the photographs; by default they are drawn on the fly, crop by crop."""
    edges: Path | None = None
    """What `limner prepare edges` made of the cartoons; by default their edges are smoothed on the fly."""
    vgg: Path | None = None
    """VGG-19 weights (.safetensors or torchvision's .pth); downloaded once if left out."""
    start: str | None = None
    """A style whose weights to start from, in the place of random ones: a bundled one's name, or a style file of this method (or the
    .safetensors beside it)."""
    steps: Count = 4_000
    """Training steps of both phases together."""
    initial_steps: CountOrZero = 3_000
    """Steps of the initialisation phase, which has no discriminator (section 3.3: 10 epochs)."""
    target: Literal["abstraction", "photo"] = "abstraction"
    """What the initialisation phase aims at, and what content is measured against: an abstraction of the photograph, or the photograph."""
    abstraction: Literal["storybook", "ink", "comic"] = "storybook"
    """Which abstraction: flat colours with outlines, a wash under lines of ink, or few hard tones under heavy ink."""
    batch_size: Count = 4
    """Photographs, and cartoons, a step."""
    image_size: int = 128
    """Side of the square crops, in pixels (section 4.1: 256)."""
    photo_size: int = 320
    """Short side, in pixels, to which larger photographs are reduced before they are cropped; about what the style will see."""
    working_size: int = 384
    """Short side, in pixels, at which the finished style paints; what it paints is enlarged. 0: at each photograph's own size."""
    cartoon_min_scale: Part = 0.45
    """Smallest crop of a cartoon, as a part of its short side: smaller gives wider lines."""
    cartoon_max_scale: Part = 0.7
    """Largest crop of a cartoon, likewise."""
    generator: Literal["unet", "paper"] = "unet"
    """A U-Net without norm, or the paper's residual network with instance norm."""
    width: Count = 24
    """Channels of the generator's first layer (figure 2: 64)."""
    levels: Annotated[int, Ge(1), Le(5)] = 3
    """How many times the U-Net halves the picture."""
    blocks: CountOrZero = 4
    """Residual blocks of the generator (figure 2: 8)."""
    monochrome: bool = False
    """Draw in the colours of ink on paper alone: for the abstraction ink."""
    upsampling: Literal["resize", "transposed"] = "resize"
    """Of the paper's generator: enlarge, then convolve; or its transposed convolution."""
    discriminator_width: Count = 16
    """Channels of the discriminator's first layer (figure 2: 32)."""
    discriminator_norm: Literal["spectral", "instance"] = "spectral"
    """Spectral norm of its weights, or norm layers as in figure 2."""
    adversary: Literal["grey", "colour"] = "grey"
    """What the discriminator sees: grey pictures, so that it learns lines and not the palette, or the paper's coloured ones."""
    adversarial_loss: Literal["hinge", "least-squares", "log"] = "hinge"
    """Form of the adversarial loss; log is the paper's (equation 3), least squares that of the authors' code."""
    edge_weight: PositiveOrZero = 0.5
    """Weight of cartoons without clear edges among what the discriminator must find false (equation 3: 1)."""
    content_weight: PositiveOrZero = 3.0
    """omega of equation 2: more keeps closer to the target, less draws more freely."""
    content_measure: Literal["relative", "plain"] = "relative"
    """Whether the content loss is divided by the target's own feature energy, or plain as in equation 4."""
    content_layers: tuple[str, ...] = ("conv2_2",)
    """VGG-19 layers of the content loss, before their ReLU (section 3.2.2: conv4_4, which a file that ends at conv3_4 cannot give)."""
    colour_weight: PositiveOrZero = 3.0
    """Weight of the colour loss: more keeps the target's colours, 0 leaves them alone."""
    calm_weight: PositiveOrZero = 0.0
    """Strength of calm: the drawing of a moved and noisy copy of a photograph is to be the moved drawing. More gives calmer films and
    weaker lines."""
    ink_weight: PositiveOrZero = 3.0
    """In the initialisation phase: how much more a line of ink counts than what lies beside it."""
    initial_rate: Positive = 1e-3
    """Adam's rate in the initialisation phase, falling along a cosine where its target is an abstraction."""
    learning_rate: Positive = 5e-5
    """Adam's rate of the generator in the adversarial phase, constant in its first half, then falling to zero."""
    discriminator_rate: Positive = 1e-4
    """Adam's rate of the discriminator, falling likewise."""
    clipping: PositiveOrZero = 1.0
    """Largest norm of the generator's gradient; 0 lets it be."""
    pool: CountOrZero = 50
    """Generated pictures, old and new, that the discriminator is shown from; 0 shows it the newest only."""
    edge_kernel: Annotated[int, Ge(1), Le(31)] = 5
    """Side, in pixels, of the squares by which edges are widened and blurred; odd."""
    edge_blur: Blur = "gaussian"
    """How edges are blurred."""

    def __post_init__(self) -> None:
        check(self)
        require(self.initial_steps <= self.steps, f"`initial_steps` must be at most `steps` ({self.steps}), not {self.initial_steps}.")
        size, kernel, smallest, largest = self.image_size, self.edge_kernel, self.cartoon_min_scale, self.cartoon_max_scale
        multiple = 2**self.levels if self.generator == "unet" else 4
        require(size >= 32 and size % multiple == 0, f"`image_size` must be a multiple of {multiple} from 32 on, not {size}.")
        require(self.photo_size >= size, f"`photo_size` must be at least `image_size` ({size}), not {self.photo_size}.")
        require(self.working_size == 0 or self.working_size >= 64, f"`working_size` must be 0 or at least 64, not {self.working_size}.")
        require(smallest <= largest, f"`cartoon_max_scale` must be from `cartoon_min_scale` ({smallest:g}) to 1, not {largest:g}.")
        require(kernel % 2 == 1, f"`edge_kernel` must be odd, which {kernel} is not.")
        require(len(self.content_layers) > 0, "`content_layers` needs at least one layer, such as conv3_2.")
        require(not self.monochrome or self.generator == "unet", "`monochrome` is for the U-Net: leave it out, or set `generator` to unet.")

    LATER: ClassVar[dict[str, object]] = {"monochrome": False, "calm_weight": 0.0}
    """Options that older recipes do not name, at the values that change nothing: those leave a recipe's hash as it was."""

    PRESETS: ClassVar[dict[str, dict[str, object]]] = {
        "paper": {
            "steps": 141_750,  # 10 and 200 epochs of 5,402 photographs
            "initial_steps": 6_750,
            "target": "photo",
            "batch_size": 8,
            "image_size": 256,
            "photo_size": 256,
            "working_size": 0,
            "cartoon_min_scale": 1.0,
            "cartoon_max_scale": 1.0,
            "generator": "paper",
            "width": 64,
            "blocks": 8,
            "upsampling": "transposed",
            "discriminator_width": 32,
            "discriminator_norm": "instance",
            "adversary": "colour",
            "adversarial_loss": "log",
            "edge_weight": 1.0,
            "content_weight": 10.0,
            "content_measure": "plain",
            "content_layers": ("conv4_4",),
            "colour_weight": 0.0,
            "initial_rate": 2e-4,
            "learning_rate": 1e-5,
            "discriminator_rate": 1e-5,
            "clipping": 0.0,
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

    def __init__(self, width: int = 64, blocks: int = 8, transposed: int = 0) -> None:
        super().__init__()
        self.arguments = {"width": width, "blocks": blocks, "transposed": transposed}
        self.receptive_field = (41 if transposed else 45) + 16 * blocks
        a, b, c = width, 2 * width, 4 * width
        self.flat = nn.Sequential(nn.Conv2d(3, a, 7, padding=3, padding_mode="reflect"), norm(a), nn.ReLU())
        self.down = nn.Sequential(stage(nn.Conv2d(a, b, 3, 2, 1), channels=b), stage(nn.Conv2d(b, c, 3, 2, 1), channels=c))
        self.residuals = nn.Sequential(*(ResidualBlock(c) for _ in range(blocks)))
        self.up = nn.Sequential(stage(*up(c, b, transposed), channels=b), stage(*up(b, a, transposed), channels=a))
        self.to_rgb = nn.Conv2d(width, 3, 7, padding=3, padding_mode="reflect")

    def forward(self, image: Tensor) -> Tensor:
        drawn: Tensor = self.to_rgb(self.up(self.residuals(self.down(self.flat(image * 2 - 1)))))
        return torch.tanh(drawn) * 0.5 + 0.5


class Discriminator(nn.Sequential):
    """D of figure 2, on patches of 37 x 37 pixels: float32 NCHW in [-1, 1] to scores N1hw, h and w a quarter of H and W.

    ``spectral`` bounds each convolution by spectral norm, and has no norm layers.
    """

    def __init__(self, width: int = 32, spectral: bool = False) -> None:
        def conv(inputs: int, outputs: int, stride: int = 1) -> nn.Module:
            layer = nn.Conv2d(inputs, outputs, 3, stride, 1)
            return spectral_norm(layer) if spectral else layer

        def normed(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
            return (conv(inputs, outputs), *(() if spectral else (norm(outputs),)), act)

        act = nn.LeakyReLU(0.2)
        super().__init__(
            *(conv(3, width), act),
            *(conv(width, 2 * width, 2), act, *normed(2 * width, 4 * width)),
            *(conv(4 * width, 4 * width, 2), act, *normed(4 * width, 8 * width)),
            *normed(8 * width, 8 * width),
            conv(8 * width, 1),
        )


def build(config: Config) -> StyleNetwork:
    if config.generator == "unet":
        return UNet(config.width, config.levels, config.blocks, monochrome=int(config.monochrome))
    return Generator(config.width, config.blocks, int(config.upsampling == "transposed"))


def rebuild(arguments: dict[str, int]) -> StyleNetwork:
    """The generator that these ``arguments`` of a card describe: a U-Net is the one that has levels."""
    return UNet(**arguments) if "levels" in arguments else Generator(**arguments)


def content_loss(features: Tensor, target_features: Tensor, measure: str = "relative") -> Tensor:
    """Mean absolute difference of float NCHW features (equation 4); ``relative``: as a part of the target's own mean absolute value."""
    target_features = target_features.float()
    distance = (features.float() - target_features).abs().mean((1, 2, 3))
    return (distance / (target_features.abs().mean((1, 2, 3)) + 1e-3) if measure == "relative" else distance).mean()


def colour_loss(images: Tensor, targets: Tensor) -> Tensor:
    """Difference of the colours of float NCHW RGB in [0, 1]: of means over 8 x 8 pixels, and of what is not luma, pixel by pixel.

    The latter is Huber's: squared up to a tenth, so that small shifts cost little. Pixel by pixel, since in means over squares green
    fringes along an edge would make up for magenta ones. After Jie Chen, Gang Liu, Xin Chen, "AnimeGAN", 2019.
    """
    means = (F.avg_pool2d(images, 8) - F.avg_pool2d(targets, 8)).abs().mean()
    difference = (images - luma(images)) - (targets - luma(targets))
    outside = (images - images.clamp(0, 1)).abs().mean()
    return 4 * (means + outside) + 10 * F.huber_loss(difference, torch.zeros_like(difference), delta=0.1)


def grey_weights(batch: int, device: torch.device) -> Tensor:
    """Shares of red, green and blue in a grey picture, drawn anew around those of luma: N x 3 x 1 x 1, of sum 1."""
    weights = torch.tensor(LUMA, device=device) + 0.2 * torch.rand(batch, 3, device=device) - 0.1
    return (weights / weights.sum(1, keepdim=True))[..., None, None]


def streams(config: Config, run: Run) -> tuple[Pictures, Pictures, Pictures, Pictures]:
    """Photographs and what they become in the initialisation phase; cartoons and the same without clear edges."""
    stream = partial(run.pictures, size=config.image_size, batch_size=config.batch_size)
    photos = stream(config.photos, min_scale=None, short_side=config.photo_size)
    if config.target == "photo":
        targets = photos
    elif config.abstractions is not None:
        targets = run.partners(config.abstractions, photos, name="abstractions")
    else:
        from limner.blocks.abstraction import of_pixels  # OpenCV; prepared abstractions do without

        targets = photos.altered(partial(of_pixels, name=config.abstraction))
    smallest, largest = config.cartoon_min_scale, config.cartoon_max_scale
    cartoons = stream(config.cartoons, name="cartoons", min_scale=smallest, max_scale=largest)
    if config.edges is not None:
        return photos, targets, cartoons, stream(config.edges, name="edges", min_scale=smallest, max_scale=largest)
    smooth = partial(edge_smoothed, widen=config.edge_kernel, kernel=config.edge_kernel, blur=config.edge_blur)
    return photos, targets, cartoons, cartoons.altered(lambda crop: smooth(crop)[0])


def train(config: Config, run: Run) -> None:
    eyes, vgg = (run.place(features.load(layers, config.vgg)) for layers in (config.content_layers, (LAYER,)))
    generator = build(config)
    if config.start is not None:
        generator.start_from(bundled.find(config.start))
    generator = run.place(generator)
    discriminator = run.place(Discriminator(config.discriminator_width, config.discriminator_norm == "spectral"))
    adam = partial(torch.optim.Adam, betas=(0.5, 0.999), fused=True)
    initial_optimizer = torch.optim.Adam(generator.parameters(), config.initial_rate, betas=(0.9, 0.99), fused=True)
    optimizer = adam(generator.parameters(), config.learning_rate)
    discriminator_optimizer = adam(discriminator.parameters(), config.discriminator_rate)
    first, half = config.initial_steps, max((config.steps - config.initial_steps) / 2, 1)

    def initial_rate(step: int) -> float:
        """Of the initialisation phase; constant towards a photograph."""
        return 1.0 if config.target == "photo" else rise_and_fall(step, first)

    def rate(step: int) -> float:
        """Of the adversarial phase: constant at first, then down to zero in a line."""
        return min(1.0, (config.steps - first - step) / half)

    initial_schedule = LambdaLR(initial_optimizer, initial_rate)
    schedule, discriminator_schedule = (LambdaLR(each, rate) for each in (optimizer, discriminator_optimizer))
    average = run.average(generator, 0.999)
    pool = ImagePool(config.pool)
    adversarial_loss = LOSSES[config.adversarial_loss]

    def content(generated: Tensor, targets: Tensor, measure: Literal["relative", "plain"] = config.content_measure) -> Tensor:
        with torch.no_grad():
            wanted = eyes(targets)
        found = eyes(generated.clamp(0, 1))
        each = [content_loss(found[layer], wanted[layer], measure) for layer in config.content_layers]
        return torch.stack(each).mean()

    def initial_loss(photos: Tensor, targets: Tensor, second: motion.Second | None) -> Tensor:
        with run.autocast():
            generated = generator(photos).float()
            loss = content(generated, targets) if config.target == "photo" else drawing_loss(generated, targets, config.ink_weight)
            return loss if second is None else loss + config.calm_weight * unrest(generated, second)

    def unrest(generated: Tensor, second: motion.Second) -> Tensor:
        return motion.unrest(generated, generator(second.frames).float(), second.flow)

    def judge(pictures: Tensor, grey: Tensor) -> Tensor:
        seen = (pictures * grey).sum(1, keepdim=True).expand(-1, 3, -1, -1) if config.adversary == "grey" else pictures
        scores: Tensor = discriminator(seen * 2 - 1)
        return scores

    def generator_losses(photos: Tensor, targets: Tensor, grey: Tensor, second: motion.Second | None) -> dict[str, Tensor]:
        with run.autocast():
            generated = generator(photos).float()
            adversarial = adversarial_loss(judge(generated.clamp(0, 1), grey), real=True)
            kept = content(generated, targets)
            calm = {} if second is None else {"calm": unrest(generated, second)}
        loss, found = adversarial + config.content_weight * kept, {"adversarial": adversarial, "content": kept} | calm
        if calm:
            loss = loss + config.calm_weight * calm["calm"]
        if config.colour_weight:
            found["colour"] = colour_loss(generated, targets)
            loss = loss + config.colour_weight * found["colour"]
        return {"loss": loss, **found, "generated": generated.detach().clamp(0, 1)}

    def discriminator_loss(cartoons: Tensor, smoothed: Tensor, generated: Tensor, grey: Tensor) -> Tensor:
        """Equation 3: cartoons are real; cartoons without clear edges, and generated pictures, are not."""
        with run.autocast():
            real, unclear, false = judge(torch.cat([cartoons, smoothed, generated]), grey.repeat(3, 1, 1, 1)).chunk(3)
            found = adversarial_loss(real, real=True) + adversarial_loss(false, real=False)
            return found + config.edge_weight * adversarial_loss(unclear, real=False)

    def learn(loss: Tensor, optimizer: torch.optim.Optimizer, schedule: LambdaLR) -> None:
        """A step of the generator."""
        optimizer.zero_grad()
        run.backward(loss, generator)
        if config.clipping:
            nn.utils.clip_grad_norm_(generator.parameters(), config.clipping)
        optimizer.step()
        schedule.step()
        average.update_parameters(generator)

    photos, targets, cartoons, smoothed = streams(config, run)
    with torch.no_grad():
        both = cartoons.held_out and photos.held_out
        distance = DrawingDistance(vgg, cartoons.held_out, photos.held_out) if both else None

    def held_out() -> dict[str, Tensor]:
        """Distance from cartoons in drawing, and what content is lost: the photographs themselves would get 1."""
        if distance is None:
            return {}
        with torch.no_grad(), run.autocast():
            drawn = [average.module(batch).float().clamp(0, 1) for batch in photos.held_out]
            lost = torch.stack([content(*pair, "relative") for pair in zip(drawn, photos.held_out, strict=True)]).mean()
        with torch.no_grad():
            drawing_distance = distance(drawn)
        return {"score": drawing_distance + lost, "drawing": drawing_distance, "content": lost}

    run.preview(average.module, photos)
    run.evaluate(held_out, by="score")
    run.keep(
        **{"generator": generator, "discriminator": discriminator, "pool": pool},
        **{"initial_optimizer": initial_optimizer, "optimizer": optimizer, "discriminator_optimizer": discriminator_optimizer},
        **{"initial_schedule": initial_schedule, "schedule": schedule, "discriminator_schedule": discriminator_schedule},
    )

    initial_of, losses_of, discriminator_of = (run.compile(each) for each in (initial_loss, generator_losses, discriminator_loss))
    for step in run.steps(config.steps):
        x, target = photos[step], targets[step]
        second = motion.second(x) if config.calm_weight else None
        if step < first:  # the initialisation phase (section 3.3)
            loss = initial_of(x, target, second)
            learn(loss, initial_optimizer, initial_schedule)
            run.log(step, initialisation=loss.detach())
            continue

        grey = grey_weights(config.batch_size, x.device)
        discriminator.requires_grad_(False)  # the generator's gradients only pass through
        found = losses_of(x, target, grey, second)
        discriminator.requires_grad_(True)
        generated = found.pop("generated")
        learn(found["loss"], optimizer, schedule)

        loss = discriminator_of(cartoons[step], smoothed[step], pool.swap(generated), grey)
        discriminator_optimizer.zero_grad()
        run.backward(loss, discriminator)
        discriminator_optimizer.step()
        discriminator_schedule.step()
        run.log(step, **{name: each.detach() for name, each in found.items()}, discriminator=loss.detach())
