"""CycleGAN: two folders of pictures that have nothing to do with one another become two networks, from one to the other and back.

Jun-Yan Zhu, Taesung Park, Phillip Isola, Alexei A. Efros, "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial
Networks", ICCV 2017, https://arxiv.org/abs/1703.10593. Painting styles, seasons, horses and zebras: whatever has two sides.

Differs from the paper:
- The generators are U-Nets without norm that draw on the picture they are given (option ``generator``). The paper's make every pixel anew,
  and their instance norm lets a small strong spike through, which becomes a droplet.
- The discriminators have spectral norm in the place of norm layers and no strides: blurred, then halved (option ``discriminator``). Strides
  leave a grid in the gradients, from which the generators learn a weave. Takeru Miyato et al., "Spectral Normalization for Generative
  Adversarial Networks", ICLR 2018, https://arxiv.org/abs/1802.05957.
- By default they look at VGG-19's features, not at pixels: small ones on pixels need thousands of steps to tell paintings from photographs
  at all. Diana Sungatullina et al., "Image Manipulation with Perceptual Discriminators", ECCV 2018, https://arxiv.org/abs/1809.01396.
- They are shown pictures that are moved and have holes, where there are few to learn from (option ``augment``).
- A generator may start from a style (options ``start`` and ``start_back``), such as a painter's hand, and see bristles (``canvas``).
- Crops are of 128 px, of pictures as they are at a short side of 256 px (option ``photo_size``), and batches of four; nothing is squashed.
- There is no identity loss by default: U-Nets begin as the identity, and would stay there. Their first colours are the picture's.
- The loss is hinge's, and gradients are clipped. Discriminators learn twice as fast as generators.
- The style files hold an average of the weights (option ``averaging``), and those of the checkpoint with the best held-out number.

``--preset paper`` is the paper, for its photographs and Monets: 200 epochs of 6,287 steps, one for each picture of the larger domain. For
another set, give --steps 200 times the larger number of pictures. Two things remain: pictures are not squashed, and the style files are
the best checkpoint's; ``limner export --checkpoint newest`` gives the last weights.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Ge, Le, Lt
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm
from torch.optim.lr_scheduler import LambdaLR

from limner.blocks import canvas, features
from limner.blocks.adversarial import LOSSES, ImagePool, KernelDistance, augmented
from limner.blocks.network import StyleNetwork
from limner.blocks.unet import BlurPool, UNet
from limner.errors import require
from limner.gallery import bundled
from limner.methods.contract import Pictures, Run
from limner.ranges import Count, CountOrZero, Part, Positive, PositiveOrZero, check

JUDGED = {"relu1_2": 64, "relu2_2": 128, "relu3_1": 256}
"""VGG-19 layers that perceptual discriminators look at, and their channels."""
SIMILARITY = ("relu3_3",)
"""VGG-19 layer of the self-similarity loss."""
OUTSIDE = 4.0
"""Weight of what generators draw below black and above white, which is cut off."""

STYLES = {"average": "", "average_back": "-back"}
"""Both generators become style files: from domain A to B, and back."""


@dataclass(frozen=True)
class Config:
    """Options of ``limner train cyclegan``."""

    domain_a: Path
    """Pictures of the one kind, such as photographs: a folder, or the array `a` of an .npz."""
    domain_b: Path
    """Pictures of the other kind, such as paintings: a folder, or the array `b` of an .npz, perhaps the same file."""
    vgg: Path | None = None
    """VGG-19 weights (.safetensors or torchvision's .pth), for discriminators, the held-out number and the self-similarity; downloaded once
    if left out."""
    start: str | None = None
    """A style whose weights the generator from A to B starts from, in the place of random ones: a bundled one's name, or a style file (or
    the .safetensors beside it)."""
    start_back: str | None = None
    """Likewise for the generator from B to A."""
    steps: Count = 4_000
    """Training steps; the learning rate is constant in the first half and falls to zero in the second (section 7.1: 100 epochs each)."""
    batch_size: Count = 4
    """Pictures of each domain a step (section 7.1: 1)."""
    image_size: int = 128
    """Side of the square crops, in pixels (section 7.1: 128 or 256)."""
    photo_size: int = 256
    """Short side, in pixels, to which larger pictures of both domains are reduced before they are cropped as they are; 0 crops at random
    scales."""
    min_scale: Part = 0.6
    """Where `photo_size` is 0: smallest crop, as a part of the picture's short side."""
    max_scale: Part = 1.0
    """Likewise the largest crop (the authors' code: 256 of 286 px, always)."""
    working_size: int = 0
    """Short side, in pixels, at which the finished styles paint; what they paint is enlarged. 0: at each picture's own size."""
    generator: Literal["unet", "paper"] = "unet"
    """U-Nets without norm, which draw on the picture; or the paper's residual networks with instance norm."""
    width: Count = 24
    """Channels of the generators' first layer (section 7.2: 64)."""
    levels: Annotated[int, Ge(1), Le(5)] = 2
    """How many times the U-Nets halve the picture."""
    blocks: CountOrZero = 4
    """Residual blocks of the generators (section 7.2: 6 for 128 px, 9 from 256 px on)."""
    smooth: bool = True
    """Let the U-Nets blur before they halve, in the place of convolutions with a stride."""
    canvas: bool = False
    """Let the U-Nets see bristles beside the picture, as painters do."""
    upsampling: Literal["resize", "transposed"] = "resize"
    """Of the paper's generators: enlarge, then convolve; or its transposed convolution."""
    discriminator: Literal["perceptual", "smooth", "paper"] = "perceptual"
    """Small discriminators on VGG-19's features, which tell kinds of pictures apart within a hundred steps; ones on pixels that blur before
    they halve, with spectral norm; or the paper's, with strides and instance norm."""
    discriminator_width: Count = 32
    """Channels of the discriminators' first layer (section 7.2: 64)."""
    augment: bool = True
    """Show the discriminators pictures that are moved and have holes: for domains of few pictures."""
    cycle_weight: PositiveOrZero = 5.0
    """lambda of equation 3: how well there and back must lead to the same picture (section 4: 10)."""
    identity_weight: PositiveOrZero = 0.0
    """Weight of the identity loss (section 5.2: half of lambda), which keeps colours. U-Nets begin as the identity, and stay there if they
    are paid for it."""
    cycle_scale: Count = 1
    """Side, in pixels, of the squares in whose means there and back must lead to the same picture: above 1, strokes may come and go."""
    adversarial_loss: Literal["hinge", "least-squares"] = "hinge"
    """Form of the adversarial loss: hinge, which tells more where domains are hard to tell apart, or least squares (section 4)."""
    adversarial_weight: PositiveOrZero = 1.0
    """Weight of the adversarial loss (equation 3: 1): more goes further from the given picture."""
    similarity_weight: PositiveOrZero = 0.0
    """Weight of the self-similarity loss: which parts of a picture are alike, to VGG-19, is kept; any colours will do."""
    learning_rate: Positive = 2e-4
    """Adam's rate of the generators (section 4)."""
    discriminator_rate: Positive = 4e-4
    """Adam's rate of the discriminators (section 4: 2e-4)."""
    clipping: PositiveOrZero = 1.0
    """Largest norm of the generators' gradient; 0 lets it be."""
    pool: CountOrZero = 50
    """Generated pictures, old and new, that each discriminator is shown from (section 4)."""
    averaging: Annotated[float, Ge(0), Lt(1)] = 0.999
    """Decay of the average of weights that the style files hold; 0 takes the weights as they are."""
    score_layers: tuple[str, ...] = ("relu1_2", "relu2_2", "relu3_4")
    """VGG-19 layers of the held-out number; the last one is that of its content part."""

    def __post_init__(self) -> None:
        check(self)
        size, multiple = self.image_size, max(4, 2**self.levels) if self.generator == "unet" else 4
        least = {"paper": 32, "perceptual": 64, "smooth": 96}[self.discriminator]
        require(size >= least and size % multiple == 0, f"`image_size` must be a multiple of {multiple} from {least} on, not {size}.")
        require(self.photo_size == 0 or self.photo_size >= size, f"`photo_size` must be 0 or at least `image_size` ({size}).")
        require(self.working_size == 0 or self.working_size >= 64, f"`working_size` must be 0 or at least 64, not {self.working_size}.")
        require(not self.canvas or self.generator == "unet", "`canvas` is for the U-Net: leave it out, or set `generator` to unet.")
        require(self.min_scale <= self.max_scale, f"`min_scale` must be at most `max_scale` ({self.max_scale:g}), not {self.min_scale:g}.")
        require(len(self.score_layers) > 0, "`score_layers` needs at least one layer, such as relu1_2.")

    LATER: ClassVar[dict[str, object]] = {
        **{
            "photo_size": 0,
            "working_size": 0,
            "generator": "paper",
            "levels": 2,
            "smooth": True,
            "canvas": False,
            "discriminator": "paper",
        },
        **{
            "augment": False,
            "cycle_scale": 1,
            "adversarial_loss": "least-squares",
            "adversarial_weight": 1.0,
            "similarity_weight": 0.0,
            "discriminator_rate": 2e-4,
            "clipping": 0.0,
        },
    }
    """Options that older recipes do not name, and the values of all they trained with: those leave a recipe's hash as it was."""

    PRESETS: ClassVar[dict[str, dict[str, object]]] = {
        "painter": {"canvas": True, "cycle_scale": 4, "working_size": 320},
        "paper": {
            "steps": 1_257_400,
            "batch_size": 1,
            "image_size": 256,
            "photo_size": 0,
            "generator": "paper",
            "discriminator": "paper",
            "augment": False,
            "clipping": 0.0,
            "min_scale": 256 / 286,
            "max_scale": 256 / 286,
            "width": 64,
            "blocks": 9,
            "upsampling": "transposed",
            "discriminator_width": 64,
            "cycle_weight": 10.0,
            "identity_weight": 5.0,
            "adversarial_loss": "least-squares",
            "discriminator_rate": 2e-4,
            "averaging": 0.0,
        },
    }


def norm(channels: int) -> nn.GroupNorm:
    """Instance norm without weights (section 7.2). GroupNorm with a group per channel IS that, and many times faster on a CPU."""
    return nn.GroupNorm(channels, channels, affine=False)


class ResidualBlock(nn.Module):
    """Rk: two 3 x 3 convolutions, padded by reflection, whose result is added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect"), norm(channels), nn.ReLU()),
            *(nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect"), norm(channels)),
        )

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.body(x)
        return x + residual


def upsampling(inputs: int, outputs: int, *, transposed: bool) -> list[nn.Module]:
    """uk: twice the size, norm, ReLU."""
    larger: list[nn.Module] = (
        [nn.ConvTranspose2d(inputs, outputs, 3, 2, padding=1, output_padding=1)]
        if transposed
        else [nn.Upsample(scale_factor=2), nn.Conv2d(inputs, outputs, 3, padding=1)]
    )
    return [*larger, norm(outputs), nn.ReLU()]


class Generator(StyleNetwork):
    """G or F of section 7.2, c7s1-64, d128, d256, R256 ..., u128, u64, c7s1-3: float32 NCHW RGB in [0, 1] to the same.

    H and W are multiples of 4.
    """

    multiple_of = 4
    min_side = 8

    def __init__(self, width: int = 32, blocks: int = 6, transposed: int = 0) -> None:
        super().__init__()
        self.arguments = {"width": width, "blocks": blocks, "transposed": transposed}
        self.receptive_field = 25 + 16 * blocks
        down = (nn.Conv2d(width, 2 * width, 3, 2, 1), nn.Conv2d(2 * width, 4 * width, 3, 2, 1))
        self.encoder = nn.Sequential(
            *(nn.Conv2d(3, width, 7, padding=3, padding_mode="reflect"), norm(width), nn.ReLU()),
            *(down[0], norm(2 * width), nn.ReLU()),
            *(down[1], norm(4 * width), nn.ReLU()),
        )
        self.residuals = nn.Sequential(*(ResidualBlock(4 * width) for _ in range(blocks)))
        self.decoder = nn.Sequential(
            *upsampling(4 * width, 2 * width, transposed=bool(transposed)),
            *upsampling(2 * width, width, transposed=bool(transposed)),
            nn.Conv2d(width, 3, 7, padding=3, padding_mode="reflect"),
        )

    def forward(self, image: Tensor) -> Tensor:
        return torch.tanh(self.decoder(self.residuals(self.encoder(image * 2 - 1)))) * 0.5 + 0.5


class Discriminator(nn.Sequential):
    """70 x 70 PatchGAN of section 7.2, C64-C128-C256-C512: float NCHW RGB in [-1, 1] to a score for each patch of 70 x 70 pixels."""

    def __init__(self, width: int = 64) -> None:
        leaky = nn.LeakyReLU(0.2)
        super().__init__(
            *(nn.Conv2d(3, width, 4, 2, 1), leaky),
            *(nn.Conv2d(width, 2 * width, 4, 2, 1), norm(2 * width), leaky),
            *(nn.Conv2d(2 * width, 4 * width, 4, 2, 1), norm(4 * width), leaky),
            *(nn.Conv2d(4 * width, 8 * width, 4, 1, 1), norm(8 * width), leaky),
            nn.Conv2d(8 * width, 1, 4, 1, 1),
        )


class PerceptualDiscriminator(nn.Module):
    """What tells domains apart by VGG-19's features at ``JUDGED``: a list of them, float NCHW, to a score for each of many patches.

    Each layer's features become ``width`` channels at a quarter of the picture's size; three convolutions with spectral norm look at all.
    """

    def __init__(self, width: int = 32) -> None:
        def conv(inputs: int, outputs: int) -> nn.Module:
            return spectral_norm(nn.Conv2d(inputs, outputs, 3))

        super().__init__()
        self.mixes = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in JUDGED.values())
        leaky, both = nn.LeakyReLU(0.2), width * len(JUDGED)
        self.head = nn.Sequential(conv(both, both), leaky, BlurPool(both, padding=0), conv(both, both), leaky, conv(both, 1))

    def forward(self, seen: list[Tensor]) -> Tensor:
        mixed = [mix(each / (each.detach().float().square().mean().sqrt() + 1e-6)) for mix, each in zip(self.mixes, seen, strict=True)]
        scores: Tensor = self.head(torch.cat([F.adaptive_avg_pool2d(each, seen[0].shape[-1] // 4) for each in mixed], 1))
        return scores


class SmoothDiscriminator(nn.Sequential):
    """Like the paper's, on patches of 68 x 68 pixels: float NCHW RGB in [-1, 1], H and W from 68 on, to a score for each of them.

    Spectral norm takes the place of norm, and each halving blurs first. Nothing is padded: there is no border to know a picture by.
    """

    def __init__(self, width: int = 32) -> None:
        def conv(inputs: int, outputs: int) -> nn.Module:
            return spectral_norm(nn.Conv2d(inputs, outputs, 3))

        leaky = nn.LeakyReLU(0.2)
        super().__init__(
            *(conv(3, width), leaky),
            *(BlurPool(width, padding=0), conv(width, 2 * width), leaky),
            *(BlurPool(2 * width, padding=0), conv(2 * width, 4 * width), leaky),
            *(BlurPool(4 * width, padding=0), conv(4 * width, 8 * width), leaky),
            conv(8 * width, 1),
        )


def initialise(module: nn.Module) -> None:
    """Weights from a Gaussian of deviation 0.02 (section 7.1); for ``network.apply``."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def build(config: Config) -> StyleNetwork:
    if config.generator == "paper":
        return Generator(config.width, config.blocks, int(config.upsampling == "transposed")).apply(initialise)
    network = UNet(config.width, config.levels, config.blocks, canvas=int(config.canvas), smooth=int(config.smooth))
    if network.canvas is not None:
        network.canvas.start(canvas.bristles())
    return network


def rebuild(arguments: dict[str, int]) -> StyleNetwork:
    """The network that these ``arguments`` of a card describe: a U-Net is the one that has levels."""
    return UNet(**arguments) if "levels" in arguments else Generator(**arguments)


def about(config: Config) -> dict[str, Any]:
    """What the card says of the pictures that suit a style: those of its crops."""
    return {"best_short_side": config.photo_size} if config.photo_size and not config.working_size else {}


def start(config: Config, style: str | None) -> StyleNetwork:
    """A generator with the weights of a ``style``, or with random ones."""
    network = build(config)
    if style is not None:
        network.start_from(bundled.find(style))
    return network


def judges(config: Config) -> nn.ModuleDict:
    """The discriminators D_A and D_B."""
    if config.discriminator != "paper":
        kind = PerceptualDiscriminator if config.discriminator == "perceptual" else SmoothDiscriminator
        return nn.ModuleDict({domain: kind(config.discriminator_width) for domain in "ab"})
    return nn.ModuleDict({domain: Discriminator(config.discriminator_width).apply(initialise) for domain in "ab"})


def self_similarity(features: Tensor) -> Tensor:
    """How alike the features at any two of 16 x 16 places are: float32 N x P x P of float NCHW, from -1 to 1.

    Nicholas Kolkin, Jason Salavon, Gregory Shakhnarovich, "Style Transfer by Relaxed Optimal Transport and Self-Similarity", CVPR 2019,
    https://arxiv.org/abs/1904.12785.
    """
    flat = F.adaptive_avg_pool2d(features.float(), 16).flatten(2)
    flat = F.normalize(flat - flat.mean(2, keepdim=True), dim=1)
    return flat.transpose(1, 2) @ flat


def held_out_number(
    config: Config, run: Run, held_a: list[Tensor], held_b: list[Tensor], there: nn.Module, back: nn.Module
) -> Callable[[], dict[str, Tensor]]:
    """What `run.evaluate` asks for, from batches that are never trained on.

    For each direction: the kernel distance of the outputs from the domain that they should be of, as a part of the inputs' own distance,
    and half of what content is lost. The score is the mean of both directions; networks that leave all as it is would get 1.
    """
    if not held_a or not held_b:
        return dict
    vgg = run.place(features.load(config.score_layers, config.vgg))
    ways = {"to_b": (there, held_a, held_b), "to_a": (back, held_b, held_a)}

    def content(a: Tensor, b: Tensor) -> Tensor:
        seen_a, seen_b = (vgg(batch)[config.score_layers[-1]].float() for batch in (a, b))
        lost: Tensor = (seen_a - seen_b).abs().mean() / (seen_b.abs().mean() + 1e-3)
        return lost

    with torch.no_grad(), run.autocast():
        distances = {way: KernelDistance(vgg, config.score_layers, wanted) for way, (_, _, wanted) in ways.items()}
        at_first = {way: distances[way](given).clamp_min(1e-6) for way, (_, given, _) in ways.items()}

    def measure() -> dict[str, Tensor]:
        found = {}
        with torch.no_grad(), run.autocast():
            for way, (network, given, _) in ways.items():
                made = [network(batch).float().clamp(0, 1) for batch in given]
                found[f"kernel_{way}"] = distances[way](made) / at_first[way]
                found[f"content_{way}"] = torch.stack([content(*pair) for pair in zip(made, given, strict=True)]).mean()
        kernel, lost = (torch.stack([found[f"{part}_{way}"] for way in ways]).mean() for part in ("kernel", "content"))
        return {"score": kernel + 0.5 * lost, **found}

    return measure


def train(config: Config, run: Run) -> None:
    there, back = (run.place(start(config, style)) for style in (config.start, config.start_back))  # G: A to B, and F: B to A
    discriminators = run.place(judges(config))
    generators = nn.ModuleDict({"there": there, "back": back})
    adam = partial(torch.optim.Adam, betas=(0.5, 0.999), fused=True)
    optimizer = adam(generators.parameters(), config.learning_rate)
    discriminator_optimizer = adam(discriminators.parameters(), config.discriminator_rate)
    half = config.steps / 2
    schedules = [LambdaLR(each, lambda step: min(1.0, (config.steps - step) / half)) for each in (optimizer, discriminator_optimizer)]
    averages = [run.average(each, config.averaging, name=name) for each, name in zip((there, back), STYLES, strict=True)]
    adversarial_loss = LOSSES[config.adversarial_loss]
    pool_a, pool_b = ImagePool(config.pool), ImagePool(config.pool, seed=1)
    vgg = run.place(features.load(SIMILARITY, config.vgg)) if config.similarity_weight else None
    # Max pooling hands a gradient to one pixel of four, which becomes a weave of dots; zeros beyond the edge would tell where it is.
    see = partial(features.load, pooling="l2", edge="replicate")
    eyes = run.place(see(tuple(JUDGED), config.vgg)) if config.discriminator == "perceptual" else None

    def judge(domain: str, pictures: Tensor) -> Tensor:
        pictures = pictures * 2 - 1
        pictures = augmented(pictures) if config.augment else pictures
        if eyes is not None:
            seen = eyes(pictures * 0.5 + 0.5)
        scores: Tensor = discriminators[domain](pictures if eyes is None else [seen[layer] for layer in JUDGED])
        return scores

    def difference(found: Tensor, wanted: Tensor) -> Tensor:
        """Pictures are in [0, 1] here and in [-1, 1] in the paper: twice the difference is its loss."""
        return 2 * F.avg_pool2d(found.float() - wanted, config.cycle_scale).abs().mean()

    def dissimilarity(generated: Tensor, given: Tensor) -> Tensor:
        """At half the size: strokes are the style's."""
        if vgg is None:
            return generated.new_zeros(())
        found, wanted = (self_similarity(vgg(F.avg_pool2d(batch, 2))[SIMILARITY[0]]) for batch in (generated, given))
        return (found - wanted).abs().mean()

    def generator_losses(a: Tensor, b: Tensor) -> dict[str, Tensor]:
        with run.autocast():
            drawn_b, drawn_a = there(a).float(), back(b).float()
            fake_b, fake_a = drawn_b.clamp(0, 1), drawn_a.clamp(0, 1)  # U-Nets draw out of the range while they learn
            adversarial = adversarial_loss(judge("b", fake_b), real=True) + adversarial_loss(judge("a", fake_a), real=True)
            cycle = difference(back(fake_b), a) + difference(there(fake_a), b)
            loss = config.adversarial_weight * adversarial + config.cycle_weight * cycle
            loss = loss + OUTSIDE * (F.l1_loss(drawn_b, fake_b) + F.l1_loss(drawn_a, fake_a))
            found = {"adversarial": adversarial, "cycle": cycle}
            if config.identity_weight:
                found["identity"] = difference(there(b), b) + difference(back(a), a)
                loss = loss + config.identity_weight * found["identity"]
            if config.similarity_weight:
                found["similarity"] = dissimilarity(fake_b, a) + dissimilarity(fake_a, b)
                loss = loss + config.similarity_weight * found["similarity"]
        return {"loss": loss, **found, "fake_a": fake_a.detach(), "fake_b": fake_b.detach()}

    def discriminator_losses(a: Tensor, b: Tensor, fake_a: Tensor, fake_b: Tensor) -> dict[str, Tensor]:
        """Half of the loss (section 7.1: the discriminators learn more slowly)."""
        found = {}
        with run.autocast():
            for domain, real, fake in (("a", a, fake_a), ("b", b, fake_b)):
                scores = judge(domain, torch.cat([real, fake])).chunk(2)
                found[f"discriminator_{domain}"] = (adversarial_loss(scores[0], real=True) + adversarial_loss(scores[1], real=False)) / 2
        return found

    def stream(path: Path, domain: str) -> Pictures:
        wanted = partial(run.pictures, path, size=config.image_size, batch_size=config.batch_size, name=f"domain_{domain}", domain=domain)
        if config.photo_size:
            return wanted(min_scale=None, short_side=config.photo_size)
        return wanted(min_scale=config.min_scale, max_scale=config.max_scale)

    domain_a, domain_b = stream(config.domain_a, "a"), stream(config.domain_b, "b")
    average, average_back = (each.module for each in averages)
    held_out = held_out_number(config, run, domain_a.held_out, domain_b.held_out, average, average_back)
    run.preview(average, domain_a, name="a-to-b", back=average_back)
    run.preview(average_back, domain_b, name="b-to-a", back=average)
    run.evaluate(held_out, by="score")
    networks = {"there": there, "back": back, "discriminators": discriminators}
    learning = {"optimizer": optimizer, "discriminator_optimizer": discriminator_optimizer}
    run.keep(**networks, **learning, schedule=schedules[0], discriminator_schedule=schedules[1], pool_a=pool_a, pool_b=pool_b)

    losses_of, discriminator_losses_of = run.compile(generator_losses), run.compile(discriminator_losses)
    for step in run.steps(config.steps):
        a, b = domain_a[step], domain_b[step]
        discriminators.requires_grad_(False)  # the generators' gradients only pass through
        found = losses_of(a, b)
        discriminators.requires_grad_(True)
        fake_a, fake_b = pool_a.swap(found.pop("fake_a")), pool_b.swap(found.pop("fake_b"))
        optimizer.zero_grad()
        run.backward(found["loss"], generators)
        if config.clipping:
            nn.utils.clip_grad_norm_(generators.parameters(), config.clipping)
        optimizer.step()

        judged = discriminator_losses_of(a, b, fake_a, fake_b)
        discriminator_optimizer.zero_grad()
        run.backward(judged["discriminator_a"] + judged["discriminator_b"], discriminators)
        discriminator_optimizer.step()
        for schedule, smooth, network in zip(schedules, averages, (there, back), strict=True):
            schedule.step()
            smooth.update_parameters(network)
        run.log(step, **{name: loss.detach() for name, loss in (found | judged).items()})
