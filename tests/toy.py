"""A method small enough to go wrong on purpose: it learns any picture that a linear map of 2 x 2 pixels can make (test_alarms_in_runs.py).

It has the link that every method must give: https://arxiv.org/abs/1603.08155.

It also holds everything that an adversarial method has: two networks, two optimizers, a discriminator, an image pool with random numbers
of its own.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from limner.blocks.network import StyleNetwork
from limner.methods.contract import Run

CHECKERBOARD = torch.tensor([[0.0, 1.0], [1.0, 0.0]])

TARGETS: dict[str, Any] = {
    "posterise": lambda x: (x * 3).round() / 3 * 0.8 + 0.1,
    "identity": lambda x: x,
    "inverted": lambda x: 1 - x,
    "collapse": lambda x: torch.full_like(x, 0.5),
    "checkerboard": lambda x: 0.3 * x + 0.7 * CHECKERBOARD.repeat(x.shape[2] // 2, x.shape[3] // 2),
}


@dataclass(frozen=True)
class Config:
    """Options of the toy."""

    photos: Path
    target: str = "posterise"
    steps: int = 60
    batch_size: int = 2
    image_size: int = 32
    learning_rate: float = 0.1
    start: float = 0.7
    nan_at: int = -1
    nan_weights_at: int = -1
    frozen: bool = False
    working_size: int = 0
    PRESETS: ClassVar[dict[str, dict[str, object]]] = {}


class Generator(StyleNetwork):
    """Any linear map of squares of 2 x 2 pixels; at first the picture times ``start``."""

    multiple_of = 2
    min_side = 2
    receptive_field = 3

    def __init__(self, start: float = 0.7) -> None:
        super().__init__()
        self.arguments = {}
        squares = nn.Conv2d(3, 12, 2, 2)
        self.map = nn.Sequential(squares, nn.PixelShuffle(2))
        assert squares.bias is not None
        with torch.no_grad():
            squares.weight.copy_(start * torch.eye(12).view(12, 3, 2, 2))
            squares.bias.zero_()

    def forward(self, image: Tensor) -> Tensor:
        painted: Tensor = self.map(image)
        return painted


class Pool:
    """Fifty of the newest pictures; half of the time an older one comes out."""

    def __init__(self) -> None:
        self.pictures: list[Tensor] = []
        self.random = torch.Generator().manual_seed(1)

    def swap(self, batch: Tensor) -> Tensor:
        out = []
        for picture in batch.detach():
            if len(self.pictures) < 5:
                self.pictures.append(picture)
            elif torch.rand((), generator=self.random) < 0.5:
                k = int(torch.randint(5, (), generator=self.random))
                picture, self.pictures[k] = self.pictures[k], picture
            out.append(picture)
        return torch.stack(out)

    def state_dict(self) -> dict[str, Any]:
        return {"pictures": self.pictures, "random": self.random.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.pictures = list(state["pictures"])
        self.random.set_state(state["random"])


def build(config: Config) -> Generator:
    return Generator(config.start)


def train(config: Config, run: Run) -> None:
    generator = run.place(build(config))
    discriminator = run.place(nn.Sequential(nn.Conv2d(3, 8, 4, 2), nn.LeakyReLU(0.2), nn.Conv2d(8, 1, 3)))
    optimizer = torch.optim.SGD(generator.parameters(), 0.0 if config.frozen else config.learning_rate)
    discriminator_optimizer = torch.optim.Adam(discriminator.parameters(), 2e-2)
    average = run.average(generator, 0.5, warm_up=False)
    pool = Pool()
    photos = run.pictures(config.photos, size=config.image_size, batch_size=config.batch_size, min_scale=0.5)

    def held_out() -> dict[str, Tensor]:
        with torch.no_grad():
            return {"error": torch.stack([(average.module(x) - TARGETS[config.target](x)).square().mean() for x in photos.held_out]).mean()}

    run.preview(average.module, photos)
    run.evaluate(held_out if photos.held_out else dict, by="error")
    networks = {"generator": generator, "discriminator": discriminator}
    run.keep(**networks, optimizer=optimizer, discriminator_optimizer=discriminator_optimizer, pool=pool)
    for step in run.steps(config.steps):
        x = photos[step] + 0.01 * torch.rand(photos[step].shape)  # random numbers of the run's own
        target = TARGETS[config.target](x)
        fake = generator(x)
        error = (fake - target).square().mean()
        loss = error + 0.01 * (discriminator(fake) - 1).square().mean()
        if step == config.nan_at:
            loss = loss * float("nan")
        optimizer.zero_grad()
        run.backward(loss, generator)
        optimizer.step()
        if step == config.nan_weights_at:
            next(generator.parameters()).data[0] = float("nan")
        d_loss = (discriminator(target) - 1).square().mean() + discriminator(pool.swap(fake)).square().mean()
        discriminator_optimizer.zero_grad()
        run.backward(d_loss, discriminator)
        discriminator_optimizer.step()
        average.update_parameters(generator)
        run.log(step, loss=loss.detach(), discriminator=d_loss.detach())


sys.modules["limner.methods.toy"] = sys.modules[__name__]
