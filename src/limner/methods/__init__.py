"""The methods: ONE FILE = ONE PAPER. A new file in this folder is a new method; the command line and the tests find it by themselves.

A method that trains offers ``Config`` (a dataclass of options), ``build(config)`` (the network that becomes the style file, untrained) and
``train(config, run)`` (its loop, written out). What it needs from outside is handed to it as one object, ``Run``.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn
from torch.optim import Optimizer


class Run(Protocol):
    """What a method is handed: pictures, device, precision, checkpoints, progress."""

    def photos(self, folder: Path, *, size: int, batch_size: int, min_scale: float) -> None:
        """Choose the photographs of ``folder`` (recursive) as ``run.steps``' pictures: random square crops, scaled to ``size``, flipped."""

    def picture(self, path: Path) -> Tensor:
        """One whole picture, float32 NCHW RGB in [0, 1], on the run's device."""

    def place(self, module: Any) -> Any:
        """A frozen helper network on the run's device, in its memory format."""

    def prepare(self, module: Any, optimizer: Optimizer) -> tuple[Any, Any]:
        """A network that learns and its optimizer, the same way, and made known to all processes."""

    def compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function`` compiled, where that pays; hand over as much of a step as possible."""

    def keep(self, **parts: Any) -> None:
        """Name everything with a ``state_dict`` that a checkpoint must hold. Call it once, last: a run that resumes restores it here.

        ``average``, the ``AveragedModel`` of the network that becomes the style file, must be among them.
        """

    def steps(self, total: int) -> Iterator[tuple[int, Tensor]]:
        """(step, photos) from the first step not yet done to ``total``; photos are float32 NCHW RGB in [0, 1] on the run's device.

        Saves checkpoints and previews on the way, and ends early after Ctrl-C.
        """

    def autocast(self) -> AbstractContextManager[Any]:
        """The run's mixed precision, as a context."""

    def backward(self, loss: Tensor) -> None:
        """Gradients of ``loss``, in all processes."""

    def preview(self, stylize: Callable[[Tensor], Tensor]) -> None:
        """Name the function that the preview sheets show: float32 NCHW RGB in [0, 1] to the same."""

    def log(self, step: int, **losses: Tensor) -> None:
        """Record losses (scalars); read from the device now and then only, so that nothing waits."""


class StyleNetwork(nn.Module):
    """A network that becomes a style file: ``forward`` maps float32 NCHW RGB in [0, 1] to the same."""

    arguments: dict[str, int]
    """What its class is called with to build it again."""
    multiple_of: int
    """Height and width must be multiples of this."""
    min_side: int
    """The smallest height and width that it can take (a multiple of ``multiple_of``)."""
    receptive_field: int
    """Side of the square of input pixels that one output pixel sees, normalisation aside."""


class Method(Protocol):
    """What a module of this package offers."""

    Config: type

    def build(self, config: Any) -> StyleNetwork:
        """The network that becomes the style file: float32 NCHW RGB in [0, 1] to the same; weights not yet learnt."""

    def train(self, config: Any, run: Run) -> StyleNetwork:
        """Learn; returns the network that becomes the style file."""
