"""Distillation: a small network learns to paint as a trained style does, fast enough for live video.

Geoffrey Hinton, Oriol Vinyals, Jeff Dean, "Distilling the Knowledge in a Neural Network", 2015, https://arxiv.org/abs/1503.02531. The
student works on squares of pixels, as in Wenzhe Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel
Convolutional Neural Network", CVPR 2016, https://arxiv.org/abs/1609.05158.

Differs from the paper:
- The teacher gives pictures, not class probabilities; so the student's distance is one of pictures: of pixels, and of features' statistics.
  Pixels alone are not enough. Where a photograph is flat, a teacher's strokes hang on the faintest noise, and a student who cannot know
  where they go leaves them out; their statistics ask it for strokes of its own.
- There are no labels beside the teacher's answers (section 2): photographs alone are needed, and no painting.
- Adam's rate rises and falls again (one cycle), gradients are clipped at a norm of 5 (1 for a student without norm), and the style file
  holds an average of the weights, at the checkpoint with the best held-out number.
- A teacher without norm paints each place by what is around it: there the student, without norm as well, draws on the photograph as its
  teacher does, and pixels are enough.
- The student looks at a noisy copy of the photograph and must paint what the teacher makes of the clean one: from frame to frame of a
  film, noise is most of what changes. With ``calm_weight`` it also paints a second frame, and
  must paint it alike (``limner.blocks.motion``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from limner.blocks import features, motion
from limner.blocks.drawing import drawing_loss
from limner.blocks.network import StyleNetwork
from limner.blocks.unet import INK, Ramp, UNet
from limner.errors import require
from limner.gallery import bundled, card, weights
from limner.methods import contract
from limner.methods.contract import Run
from limner.methods.fast_style import moments, relative_error
from limner.ranges import Count, Part, Positive, PositiveOrZero, check

LEVELS = 3
"""How many times a student with a canvas halves the picture."""


@dataclass(frozen=True)
class Config:
    """Options of ``limner train live``."""

    teacher: str
    """The style to learn: a bundled one's name, or a style file of any method."""
    photos: Path
    """Folder of photographs to practise on (searched recursively); a few hundred are enough."""
    start: str | None = None
    """A live style whose weights to start from, in the place of random ones: a style file of the same width and blocks."""
    vgg: Path | None = None
    """VGG-19 weights (.safetensors or torchvision's .pth); downloaded once if left out."""
    steps: Count = 2000
    """Training steps."""
    batch_size: Count = 2
    """Photographs a step."""
    image_size: int = 256
    """Side of the square crops, in pixels."""
    min_scale: Part = 0.5
    """Smallest crop, as a part of the photograph's short side; crops between it and 1 make the style work at many sizes. A teacher with a
    working size teaches at that size alone."""
    width: Count = 8
    """Channels of the network's outermost layer; 16 paints more finely and takes twice as long."""
    blocks: Count = 4
    """Residual blocks, at an eighth of the picture's size: more see further, and each is cheap."""
    style_weight: float = 3.0
    """Strength of the teacher's manner, measured by features' statistics, against its pixels: more gives stronger strokes, less exactly
    in their places."""
    style_layers: tuple[str, ...] = ("relu1_1", "relu2_1", "relu3_1")
    """VGG-19 layers of the style loss: the first at full size, all at half and a quarter of it, which is four times cheaper."""
    noise: PositiveOrZero = 0.02
    """Noise added to what the network sees (its deviation; the range of the picture is 1): more gives calmer films."""
    calm_weight: PositiveOrZero = 0.0
    """Strength of calm: the painting of a moved and noisy copy of a photograph is to be the moved painting. More gives calmer films and
    weaker strokes."""
    learning_rate: Positive | None = None
    """Highest rate of Adam's one-cycle schedule; by default 4e-3, for a student without norm, which bears no more, 1.5e-3, and for one with
    a canvas 5e-4."""

    def __post_init__(self) -> None:
        check(self)
        require(
            self.image_size >= 32 and self.image_size % 8 == 0, f"`image_size` must be a multiple of 8 from 32 on, not {self.image_size}."
        )
        require(len(self.style_layers) > 0, "`style_layers` needs at least one layer, such as relu1_1.")

    LATER: ClassVar[dict[str, object]] = {"calm_weight": 0.0}
    """Options that older recipes do not name, at the values that change nothing: those leave a recipe's hash as it was."""

    PRESETS: ClassVar[dict[str, dict[str, object]]] = {}


class ConvLayer(nn.Sequential):
    """3 x 3 convolution, padded by reflection, then affine instance norm and ReLU; without norm, leaky ReLU alone."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, *, norm: bool = True) -> None:
        # GroupNorm with a group per channel IS instance norm, and many times faster on a CPU; the export writes InstanceNormalization.
        after = (nn.GroupNorm(outputs, outputs), nn.ReLU()) if norm else (nn.LeakyReLU(0.2),)
        super().__init__(nn.Conv2d(inputs, outputs, 3, stride, 1, padding_mode="reflect"), *after)


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions whose result is added to the input."""

    def __init__(self, channels: int, *, norm: bool = True) -> None:
        super().__init__()
        last = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect")
        self.body = nn.Sequential(ConvLayer(channels, channels, norm=norm), last)
        if norm:
            self.body.append(nn.GroupNorm(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.body(x)
        return x + residual


class Generator(StyleNetwork):
    """The student: float32 NCHW RGB in [0, 1] to the same; H, W multiples of 8.

    Fast style's network with squares of 2 x 2 pixels (sub-pixel convolution) in the place of pixels, so that no layer works at full size,
    and with what the encoder saw added on the way back, so that edges stay crisp. Without ``norm`` it draws on the photograph itself;
    ``monochrome`` is that of ``blocks.unet``.
    """

    multiple_of = 8
    min_side = 16

    def __init__(self, width: int = 8, blocks: int = 4, norm: int = 1, monochrome: int = 0) -> None:
        super().__init__()
        chosen = {name: value for name, value, usual in (("norm", norm, 1), ("monochrome", monochrome, 0)) if value != usual}
        self.arguments = {"width": width, "blocks": blocks} | chosen
        self.norm = bool(norm)
        self.receptive_field = 2 * (17 + 16 * blocks)
        layer, block = partial(ConvLayer, norm=self.norm), partial(ResidualBlock, norm=self.norm)
        self.from_rgb = layer(12, width)
        self.down = nn.ModuleList([layer(width, 2 * width, 2), layer(2 * width, 4 * width, 2)])
        self.residuals = nn.Sequential(*(block(4 * width) for _ in range(blocks)))
        self.up = nn.ModuleList([layer(4 * width, 2 * width), layer(2 * width, width)])
        self.to_rgb = nn.Conv2d(width, 12, 3, padding=1, padding_mode="reflect")
        self.tint = Ramp(INK) if monochrome else None
        if not norm:  # as in blocks.unet: it begins as the photograph, nearly
            for module in self.modules():
                if isinstance(module, nn.Conv2d):
                    nn.init.kaiming_normal_(module.weight, 0.2)
            self.to_rgb.weight.data *= 0.05
        for parameter in self.to_rgb.parameters():
            # The four pixels of a square begin alike (https://arxiv.org/abs/1707.02937); else a mesh outlives much of the training.
            parameter.data = parameter.data[::4].repeat_interleave(4, 0)

    def forward(self, image: Tensor) -> Tensor:
        half = self.from_rgb(F.pixel_unshuffle(image * 2 - 1, 2))
        quarter = self.down[0](half)
        x = self.residuals(self.down[1](quarter))
        x = quarter + self.up[0](F.interpolate(x, scale_factor=2))  # nearest neighbour, then convolution: no checkerboard
        x = half + self.up[1](F.interpolate(x, scale_factor=2))
        painted = F.pixel_shuffle(self.to_rgb(x), 2)
        if self.norm:
            return torch.tanh(painted) * 0.5 + 0.5
        drawn = image + 0.5 * painted
        drawn = drawn if self.training else drawn.clamp(0, 1)  # as in blocks.unet
        return drawn if self.tint is None else self.tint(drawn)


def build(config: Config) -> StyleNetwork:
    """The student: without norm where its teacher has none; of a teacher with a canvas a narrow U-Net on the same canvas."""
    path = bundled.find(config.teacher)
    found = card.read(path)
    if "canvas" in found.network:
        student = UNet(config.width, LEVELS, config.blocks, canvas=found.network["canvas"])
        take_canvas(student, path)
        return student
    norm = has_norm(contract.rebuild(found.method, found.network))
    return Generator(config.width, config.blocks, int(norm), found.network.get("monochrome", 0))


def take_canvas(student: StyleNetwork, teacher: Path) -> None:
    """Give a student the canvas of its teacher, where there is one."""
    if isinstance(student, UNet) and student.canvas is not None:
        student.canvas.load_state_dict({"planes": weights.load(teacher)["canvas.planes"]})


def rebuild(arguments: dict[str, int]) -> StyleNetwork:
    return UNet(**arguments) if "levels" in arguments else Generator(**arguments)


def has_norm(network: nn.Module) -> bool:
    """Whether what a network paints at one place hangs on the whole picture."""
    return any(isinstance(module, nn.GroupNorm) for module in network.modules())


def about(config: Config) -> dict[str, Any]:
    """What the card says of the teacher; the student bears its name."""
    found = card.read(bundled.find(config.teacher))
    return {
        "name": found.name,
        "title": found.title,
        "description": found.description,
        "best_short_side": found.best_short_side,
        "working_size": found.working_size,
        "tier": "live",
        "teacher": f"{found.name} {found.weights_sha256}",
    }


def load_teacher(style: str) -> StyleNetwork:
    """The network of a style file, with its weights. Raises ``LimnerError`` where it is another's."""
    path = bundled.find(style)
    found = card.read(path)
    network = contract.rebuild(found.method, found.network)
    network.start_from(path)
    return network.eval().requires_grad_(False)


def pixel_difference(images: Tensor, targets: Tensor) -> Tensor:
    """Mean absolute difference of float NCHW images, pixel by pixel and, with four times the weight, in the mean of squares of 8 x 8.

    The four pixels that the network paints at a time have means of their own: in one over all of them, no mesh would be seen.
    """
    difference = images - targets
    return difference.abs().mean() + 4 * F.avg_pool2d(F.pixel_unshuffle(difference, 2), 4).abs().mean()


class StyleLoss:
    """Distance of the features' mean and covariance from those of the target picture, as a part of their own energy."""

    def __init__(self, config: Config, run: Run) -> None:
        self.first, self.all = (run.place(features.load(layers, config.vgg)) for layers in (config.style_layers[:1], config.style_layers))

    def statistics(self, images: Tensor) -> list[Tensor]:
        """Mean and covariance by turns, of each layer at each size."""
        found = [*moments(*self.first(images).values())]
        for _ in range(2):
            images = F.avg_pool2d(images, 2)
            for feature in self.all(images).values():
                found += moments(feature)
        return found

    def __call__(self, images: Tensor, targets: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = self.statistics(targets)
        # Of a picture of one colour the covariance is next to nothing; measured against that alone, nothing else would count.
        floors: list[Tensor | float] = [0.0 for _ in wanted]
        floors[1::2] = [1e-3 * mean.square().flatten(1).sum(1).square() for mean in wanted[::2]]
        terms = [relative_error(*each) for each in zip(self.statistics(images), wanted, floors, strict=True)]
        return torch.stack(terms).mean()


def train(config: Config, run: Run) -> None:
    teacher = run.place(load_teacher(config.teacher))
    student = build(config)
    if config.start is not None:
        student.start_from(bundled.find(config.start))
        take_canvas(student, bundled.find(config.teacher))  # not that of the start
    student = run.place(student)
    style_loss = StyleLoss(config, run) if has_norm(student) else None
    placed = "canvas" in student.arguments
    """Whether strokes hang on where in a picture they are."""
    highest, most = (4e-3, 5.0) if style_loss is not None else (5e-4, 1.0) if placed else (1.5e-3, 1.0)
    highest = config.learning_rate or highest
    optimizer = torch.optim.Adam(student.parameters(), highest, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, highest, total_steps=config.steps)
    average = run.average(student, 0.995, warm_up=False)

    def paint(network: nn.Module, photos: Tensor, places: Tensor | None) -> Tensor:
        painted: Tensor = network(photos) if places is None else network(photos, places)
        return painted.float()

    def losses(
        student: nn.Module, photos: Tensor, noise: Tensor | float, places: Tensor | None, second: motion.Second | None
    ) -> dict[str, Tensor]:
        with run.autocast():
            with torch.no_grad():
                target = paint(teacher, photos, places)
            painted = paint(student, photos + noise, places)
            if style_loss is None:
                found = {"loss": drawing_loss(painted, target)}
            else:
                found = {"pixel": pixel_difference(painted, target), "style": style_loss(painted, target)}
                found["loss"] = found["pixel"] + config.style_weight * found["style"]
            if second is not None:
                found["calm"] = motion.unrest(painted, paint(student, second.frames, places), second.flow)
                found["loss"] = found["loss"] + config.calm_weight * found["calm"]
            return found

    def held_out() -> dict[str, Tensor]:
        """Losses of what becomes the style file, over photographs never trained on."""
        places: Sequence[Tensor | None] = photos.held_out_places if placed else [None] * len(photos.held_out)
        batches = zip(photos.held_out, places, held_out_seconds, strict=True)
        with torch.no_grad():
            found = [losses(average.module, batch, 0.0, place, second) for batch, place, second in batches]
        return {name: torch.stack([each[name] for each in found]).mean() for name in (found[0] if found else ())}

    working = card.read(bundled.find(config.teacher)).working_size  # lines have a width in pixels there, and larger pictures are reduced
    min_scale, short_side = (None, working or None) if working or placed else (config.min_scale, None)
    photos = run.pictures(config.photos, size=config.image_size, batch_size=config.batch_size, min_scale=min_scale, short_side=short_side)
    held_out_seconds = motion.seconds(photos.held_out, drawn=bool(config.calm_weight))
    run.preview(average.module, photos)
    run.evaluate(held_out, by="loss")
    run.keep(generator=student, optimizer=optimizer, schedule=schedule)

    losses_of = run.compile(losses)
    for step in run.steps(config.steps):
        batch = photos[step]
        noise, places = config.noise * torch.randn_like(batch), photos.places(step) if placed else None
        found = losses_of(student, batch, noise, places, motion.second(batch) if config.calm_weight else None)
        optimizer.zero_grad()
        run.backward(found["loss"], student)
        nn.utils.clip_grad_norm_(student.parameters(), most)
        optimizer.step()
        schedule.step()
        average.update_parameters(student)
        run.log(step, **{name: loss.detach() for name, loss in found.items()})
