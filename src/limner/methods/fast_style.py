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
- There may be an initialisation phase, as CartoonGAN has one, whose target is the photograph in a painter's hand
  (``limner.blocks.painterly``): strokes along its forms, in the painting's colours. Statistics alone ask for strokes, but not for their
  places, so that a network lays all of them in one direction. After it, content and colours are kept to that picture's (option ``target``).
- For it, the generator may be a U-Net without norm, which draws on the photograph and sees a canvas of noise (option ``generator``).

``--preset hand``, ``print`` and ``planes`` are the initialisation phase alone, from a bundled style on: van Gogh's hand, a woodblock print,
or the planes of the cubists, in the painting's colours. They need no VGG-19.

``--preset paper`` is the paper's width, steps, rate, Gram matrices at one size of the picture, and largest squares. The rest of the above
remains; the layers are those of Gatys et al., as others use them with VGG-19, and the weights suit losses that are relative.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR

from limner.blocks import canvas, features, motion
from limner.blocks.drawing import drawing_loss, luma, rise_and_fall
from limner.blocks.network import StyleNetwork
from limner.blocks.palette import Inks, Palette
from limner.blocks.unet import UNet
from limner.errors import require
from limner.gallery import bundled
from limner.methods.contract import Pictures, Run
from limner.ranges import Count, CountOrZero, Part, Positive, PositiveOrZero, check

WIDTHS = {"full": 32, "half": 16, "quarter": 8}
CANVASES = {"photo": 1, "flow": 1, "woodblock": 0, "planes": 2}
"""What a U-Net sees beside the photograph, by its target: nothing, bristles, facets."""
UNET_WIDTHS = {"full": 32, "half": 24, "quarter": 16}


DRAWN: dict[str, object] = {"generator": "unet", "working_size": 400, "batch_size": 2, "image_size": 192}
"""What trainings towards a painterly target share. Towards its border, a crop does not know where forms lead: so it is large."""


@dataclass(frozen=True)
class Config:
    """Options of ``limner train fast-style``."""

    style_image: Path
    """The painting to learn from; never squashed to a square."""
    photos: Path
    """Folder of photographs to practise on (searched recursively); a few hundred are enough."""
    abstractions: Path | None = None
    """What `limner prepare abstractions` made of the photographs; by default the target is drawn on the fly, crop by crop."""
    vgg: Path | None = None
    """VGG-19 weights (.safetensors or torchvision's .pth); downloaded once if left out."""
    start: str | None = None
    """A style whose weights to start from, in the place of random ones: a bundled one's name, or a style file of this method (or the
    .safetensors beside it)."""
    steps: Count = 2000
    """Training steps of both phases together (paper, section 4.1: 40,000); without an initialisation phase the first two thousand bring
    most of it."""
    initial_steps: CountOrZero = 0
    """Steps of the initialisation phase, in which the network learns to draw its target; the painting's statistics come after it."""
    target: Literal["photo", "flow", "woodblock", "planes"] = "photo"
    """What content is measured against, and what the initialisation phase aims at: the photograph; or the photograph as paint that flows
    along its forms, as a woodblock print, or as planes that break the light, in the colours of the painting."""
    stroke_size: Annotated[float, Ge(0.25), Le(4)] = 1.0
    """Size of the target's strokes: 2 makes all of them twice as large."""
    batch_size: Count = 4
    """Photographs a step (section 4.1)."""
    image_size: int = 256
    """Side of the square crops, in pixels (section 4.1)."""
    min_scale: Part = 0.5
    """Smallest crop, as a part of the photograph's short side; crops between it and 1 make the style work at many sizes. Towards a target
    with strokes, photographs are cropped as they are: strokes have a width in pixels."""
    photo_size: int = 320
    """Short side, in pixels, to which larger photographs are then reduced before they are cropped; about what the style will see."""
    working_size: int = 0
    """Short side, in pixels, at which the finished style paints; what it paints is enlarged. 0: at each photograph's own size."""
    generator: Literal["paper", "unet"] = "paper"
    """The paper's network, or a U-Net without norm that draws on the photograph and, but for prints, sees a canvas."""
    width: Literal["full", "half", "quarter"] = "half"
    """Channels of the network: full is the paper's (1.68 M parameters), half is four times cheaper, quarter is for live video."""
    levels: Annotated[int, Ge(1), Le(5)] = 2
    """How many times the U-Net halves the picture."""
    blocks: Count = 5
    """Residual blocks (supplement: 5)."""
    smooth: bool = False
    """Have the U-Net blur before it halves the picture: what it paints then has no grid of its own."""
    inks: bool = False
    """For prints: have the U-Net's drawing printed in the painting's inks by a fixed last layer, each colour in nearly one of them."""
    grade: bool = False
    """Make a dull scan of the painting lively first: from black to white, and as colourful as good reproductions are."""
    style_size: Annotated[int, Ge(32)] = 512
    """Short side, in pixels, that the painting is scaled to: smaller gives smaller strokes."""
    style_weight: float = 2.5
    """Strength of the style against the content. Losses are relative, so that one value can serve very different paintings."""
    statistic: Literal["moments", "gram"] = "moments"
    """What the style loss compares: mean and covariance of the features, or the paper's Gram matrix, in which both are one."""
    tv_weight: float = 2.0
    """Weight of the total variation (section 3.2): more gives cleaner flat areas and softer strokes."""
    tone_weight: float = 2.0
    """Weight of the tone loss: more keeps light and shade closer to the target's, 0 leaves them to the painting."""
    colour_weight: PositiveOrZero = 0.0
    """Weight of the target's colours, in means over 8 x 8 pixels: more keeps what is warm warm, 0 leaves them to the painting."""
    calm_weight: PositiveOrZero = 0.0
    """Strength of calm: the painting of a moved and noisy copy of a photograph is to be the moved painting. More gives calmer films and
    weaker strokes."""
    ink_weight: PositiveOrZero = 0.0
    """In the initialisation phase: how much more a line of ink counts than what lies beside it."""
    initial_rate: Positive = 1e-3
    """Highest rate of Adam in the initialisation phase, falling along a cosine."""
    learning_rate: Positive = 2e-3
    """Highest rate of Adam's one-cycle schedule (section 4.1: 1e-3, constant)."""
    style_layers: tuple[str, ...] = ("relu1_1", "relu2_1", "relu3_1", "relu3_3")
    """VGG-19 layers of the style loss."""
    content_layer: str = "relu3_3"
    """VGG-19 layer of the content loss (section 4.1)."""
    pyramid: Annotated[int, Ge(1), Le(5)] = 3
    """Levels of the picture pyramid on which the style loss is taken; each level is half the size of the one before."""

    def __post_init__(self) -> None:
        check(self)
        size, multiple = self.image_size, 2**self.levels if self.generator == "unet" else 4
        require(size >= 32 and size % multiple == 0, f"`image_size` must be a multiple of {multiple} from 32 on, not {size}.")
        require(self.initial_steps <= self.steps, f"`initial_steps` must be at most `steps` ({self.steps}), not {self.initial_steps}.")
        require(self.photo_size >= size, f"`photo_size` must be at least `image_size` ({size}), not {self.photo_size}.")
        require(self.working_size == 0 or self.working_size >= 64, f"`working_size` must be 0 or at least 64, not {self.working_size}.")
        require(not self.smooth or self.generator == "unet", "`smooth` is for the U-Net: leave it out, or set `generator` to unet.")
        prints = self.target == "woodblock" and self.generator == "unet"
        require(
            not self.inks or prints, "`inks` is for prints by a U-Net: leave it out, or set `target` to woodblock and `generator` to unet."
        )
        require(len(self.style_layers) > 0, "`style_layers` needs at least one layer, such as relu1_1.")

    LATER: ClassVar[dict[str, object]] = {
        **{"initial_steps": 0, "target": "photo", "stroke_size": 1.0, "photo_size": 320, "working_size": 0, "generator": "paper"},
        **{
            "abstractions": None,
            "start": None,
            "levels": 2,
            "blocks": 5,
            "smooth": False,
            "inks": False,
            "colour_weight": 0.0,
            "ink_weight": 0.0,
            "calm_weight": 0.0,
            "initial_rate": 1e-3,
            "grade": False,
        },
    }
    """Options that older recipes do not name, and the values of all they trained with: those leave a recipe's hash as it was."""

    PRESETS: ClassVar[dict[str, dict[str, object]]] = {
        "hand": {"target": "flow", "start": "starry-night", "steps": 450, "initial_steps": 450, "initial_rate": 5e-4, "smooth": True}
        | DRAWN,
        "print": {"target": "woodblock", "start": "great-wave", "steps": 600, "initial_steps": 600, "levels": 3, "blocks": 4}
        | {"initial_rate": 5e-4, "ink_weight": 3.0, "smooth": True, "inks": True}
        | DRAWN,
        "planes": {"target": "planes", "start": "udnie", "steps": 400, "initial_steps": 400, "levels": 3, "blocks": 4}
        | {"initial_rate": 7e-4, "ink_weight": 3.0, "smooth": True}
        | DRAWN,
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


def build(config: Config) -> StyleNetwork:
    if config.generator == "paper":
        return Generator(WIDTHS[config.width], config.blocks)
    kind = CANVASES[config.target]
    options = {"canvas": kind, "smooth": int(config.smooth), "inks": int(config.inks)}
    return with_canvas(UNet(UNET_WIDTHS[config.width], config.levels, config.blocks, **options), config)


def with_canvas(network: StyleNetwork, config: Config) -> StyleNetwork:
    """The network with the canvas of the target's strokes, of their size."""
    if isinstance(network, UNet) and network.canvas is not None:
        network.canvas.start((canvas.bristles if CANVASES[config.target] == 1 else canvas.facets)(config.stroke_size))
    return network


def rebuild(arguments: dict[str, int]) -> StyleNetwork:
    """The network that these ``arguments`` of a card describe: a U-Net is the one that has levels."""
    return UNet(**arguments) if "levels" in arguments else Generator(**arguments)


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
    tones = [F.avg_pool2d(luma(batch.float())[:, 0], 16).flatten(1) for batch in (images, photos)]
    tones = [tone - tone.mean(1, keepdim=True) for tone in tones]
    energies = [tone.square().sum(1) for tone in tones]
    # 0.01 on both sides: a photograph without light and shade asks for nothing. 1e-12: the root has a slope at zero, too.
    return (1 - ((tones[0] * tones[1]).sum(1) + 0.01) / ((energies[0] * energies[1] + 1e-12).sqrt() + 0.01)).mean()


def colour_difference(images: Tensor, targets: Tensor) -> Tensor:
    """Mean absolute difference of what is not luma in two float NCHW RGB batches, in means over 8 x 8 pixels."""
    colours = [F.avg_pool2d(batch - luma(batch), 8) for batch in (images, targets)]
    return (colours[0] - colours[1]).abs().mean()


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


def streams(config: Config, run: Run, painting: Tensor) -> tuple[Pictures, Pictures]:
    """Photographs, and what they are to become; without a target with strokes the same."""
    stream = partial(run.pictures, config.photos, size=config.image_size, batch_size=config.batch_size)
    if config.target == "photo":
        photos = stream(min_scale=config.min_scale)
        return photos, photos
    photos = stream(min_scale=None, short_side=config.photo_size)
    if config.abstractions is not None:
        return photos, run.partners(config.abstractions, photos, name="abstractions")
    from limner.blocks import painterly  # OpenCV; prepared abstractions do without

    alter = partial(painterly.of_pixels, name=config.target, colours=palette_of(painting, config.target), stroke_size=config.stroke_size)
    return photos, photos.altered(alter)


def palette_of(painting: Tensor, target: str) -> Palette:
    """What a painting, float32 1 x 3 x H x W, has on its palette for the ``target``."""
    from limner.blocks import painterly

    return painterly.palette_for(target, painting[0].permute(1, 2, 0).cpu().numpy())


def train(config: Config, run: Run) -> None:
    painting = run.picture(config.style_image)
    if config.grade:
        from limner.blocks import painterly

        lively = painterly.graded(painting[0].permute(1, 2, 0).cpu().numpy(), config.target)
        painting = torch.from_numpy(lively).permute(2, 0, 1)[None].to(painting)
    generator = build(config)
    if config.start is not None:
        generator.start_from(bundled.find(config.start))
        with_canvas(generator, config)  # what it starts from may have strokes of another size
    if isinstance(generator, UNet) and isinstance(generator.tint, Inks):
        generator.tint.start(palette_of(painting, config.target))
    generator = run.place(generator)
    first = config.initial_steps
    optimizer = torch.optim.Adam(generator.parameters(), config.learning_rate, fused=True)
    schedule = OneCycleLR(optimizer, config.learning_rate, total_steps=max(config.steps - first, 1))
    initial_optimizer = torch.optim.Adam(generator.parameters(), config.initial_rate, betas=(0.9, 0.99), fused=True)
    initial_schedule = LambdaLR(initial_optimizer, lambda step: rise_and_fall(step, first))
    average = run.average(generator, 0.995, warm_up=False)

    photos, targets = streams(config, run, painting)
    if first < config.steps:  # a target alone is learnt without VGG-19
        vgg = run.place(features.load((*config.style_layers, config.content_layer), config.vgg))
        scale = config.style_size / min(painting.shape[-2:])
        painting = F.interpolate(painting, scale_factor=scale, mode="bicubic", antialias=True).clamp(0, 1)
        style_loss = StyleLoss(vgg, config, painting)
    draws = config.generator == "unet"
    placed = draws and config.abstractions is not None  # what is drawn on the fly has the canvas begin at each crop's corner

    def painted(generator: nn.Module, photos: Tensor, places: Tensor | None) -> Tensor:
        found: Tensor = generator(photos, places) if draws else generator(photos)
        return found.float()

    def grey(images: Tensor) -> Tensor:
        """A target has the painting's colours already, which content should leave alone."""
        return images if config.target == "photo" else luma(images).expand(-1, 3, -1, -1)

    def losses(
        generator: nn.Module, photos: Tensor, targets: Tensor, places: Tensor | None, second: motion.Second | None
    ) -> dict[str, Tensor]:
        with run.autocast():
            drawn = painted(generator, photos, places)
            stylized = drawn.clamp(0, 1) if draws else drawn
            seen = vgg(stylized)
            with torch.no_grad():
                wanted = vgg(grey(targets))[config.content_layer]
            kept = seen if config.target == "photo" else vgg(grey(stylized))
            content = relative_error(kept[config.content_layer], wanted, floor=1e-6)
            style = style_loss(stylized, seen)
            tv = total_variation(stylized)
            tone = tone_difference(stylized, targets) if config.target == "photo" else (luma(stylized) - luma(targets)).abs().mean()
            loss = content + config.style_weight * style + config.tv_weight * tv + config.tone_weight * tone
            found = {"content": content, "style": style, "tv": tv, "tone": tone}
            if config.colour_weight:
                found["colour"] = colour_difference(stylized, targets)
                loss = loss + config.colour_weight * found["colour"]
            if draws:  # what is cut off in the style file must not grow
                loss = loss + 4 * (drawn - stylized).abs().mean()
            return calmed(generator, {"loss": loss, **found}, drawn, places, second)

    def initial_losses(
        generator: nn.Module, photos: Tensor, targets: Tensor, places: Tensor | None, second: motion.Second | None
    ) -> dict[str, Tensor]:
        with run.autocast():
            drawn = painted(generator, photos, places)
            found = {"loss": drawing_loss(drawn, targets, config.ink_weight), "drawing": (drawn - targets).abs().mean()}
            return calmed(generator, found, drawn, places, second)

    def calmed(
        generator: nn.Module, found: dict[str, Tensor], drawn: Tensor, places: Tensor | None, second: motion.Second | None
    ) -> dict[str, Tensor]:
        """Losses of what is ``drawn``, and that of calm where there is a second frame."""
        if second is None:
            return found
        calm = motion.unrest(drawn, painted(generator, second.frames, places), second.flow)
        return {**found, "loss": found["loss"] + config.calm_weight * calm, "calm": calm}

    def held_out() -> dict[str, Tensor]:
        """Losses of what becomes the style file, over photographs never trained on; of the phase that ends the training."""
        by = losses if first < config.steps else initial_losses
        places: Sequence[Tensor | None] = photos.held_out_places if placed else [None] * len(photos.held_out)
        batches = zip(photos.held_out, targets.held_out, places, held_out_seconds, strict=True)
        with torch.no_grad():
            found = [by(average.module, *batch) for batch in batches]
        return {name: torch.stack([each[name] for each in found]).mean() for name in (found[0] if found else ())}

    held_out_seconds = motion.seconds(photos.held_out, drawn=bool(config.calm_weight))
    run.preview(average.module, photos)
    run.evaluate(held_out, by="loss")
    initial = {"initial_optimizer": initial_optimizer, "initial_schedule": initial_schedule} if first else {}
    run.keep(generator=generator, optimizer=optimizer, schedule=schedule, **initial)

    initial_of, losses_of = (run.compile(each) for each in (initial_losses, losses))
    for step in run.steps(config.steps):
        initial_phase, places = step < first, photos.places(step) if placed else None
        x = photos[step]
        target, second = x if targets is photos else targets[step], motion.second(x) if config.calm_weight else None
        found = (initial_of if initial_phase else losses_of)(generator, x, target, places, second)
        chosen, falling = (initial_optimizer, initial_schedule) if initial_phase else (optimizer, schedule)
        chosen.zero_grad()
        run.backward(found["loss"], generator)
        nn.utils.clip_grad_norm_(generator.parameters(), 1.0 if draws else 5.0)
        chosen.step()
        falling.step()
        average.update_parameters(generator)
        run.log(step, **{name: loss.detach() for name, loss in found.items()})
