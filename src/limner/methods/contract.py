"""The methods: ONE FILE = ONE PAPER. A new file in this folder is a new method; the command line and the tests find it by themselves.

A method that trains offers ``Config`` (a dataclass of options), ``build(config)`` (the network that becomes the style file, untrained) and
``train(config, run)`` (its loop, written out). One that makes several styles names in ``STYLES`` what is kept of each, and how the name of
its file ends; one that knows entries of the style's card by itself gives them in ``about(config)``. What a method needs from outside is
handed to it as one object, ``Run``.

A method that paints single pictures offers ``Config`` and ``stylize(content, styles, config, easel)``; what it needs is ``Easel``.
"""

import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from limner.blocks.network import StyleNetwork as StyleNetwork


class Pictures(Protocol):
    """A stream of batches, float32 NCHW RGB in [0, 1] on the run's device."""

    held_out: list[Tensor]
    """Batches of centred crops of pictures that the stream never shows."""

    def __getitem__(self, step: int) -> Tensor:
        """This process's batch of ``step``: the same one whenever it is asked for."""

    @property
    def held_out_places(self) -> list[Tensor]:
        """Where the held-out crops lie, as ``places``."""

    def places(self, step: int) -> Tensor:
        """Where the crops of ``step`` lie in their pictures, for streams that leave those as they are (``min_scale`` None): int64 N x 3, a
        crop's top and left, and 1 where it is mirrored.
        """

    def altered(self, alter: Callable[[Any], Any]) -> "Pictures":
        """The same crops at the same steps, each through ``alter`` first: uint8 HWC RGB of NumPy to the same."""


class Run(Protocol):
    """What a method is handed: pictures, device, precision, checkpoints, progress."""

    def pictures(
        self,
        path: Path,
        *,
        size: int,
        batch_size: int,
        min_scale: float | None,
        max_scale: float = 1.0,
        short_side: int | None = None,
        name: str = "photos",
        domain: str = "",
    ) -> Pictures:
        """A stream of random square crops of a folder's (npz's, film's, shards') pictures: their side is ``min_scale`` to ``max_scale`` of
        the short side, scaled to ``size``; half of them are mirrored. ``name`` is the option that named ``path``; a file of two domains
        needs ``domain``. Streams of different names draw independently of one another.

        With ``min_scale`` None, crops are ``size`` x ``size`` pixels of the pictures as they are, once those whose short side is above
        ``short_side`` are scaled down to it (by default to the larger of ``size`` and a preview's); of smaller ones than ``size``, the
        largest squares, enlarged.
        """

    def partners(self, path: Path, of: Pictures, *, name: str) -> Pictures:
        """The very crops of ``of``, step by step and held out, from other pictures of the same names (suffix aside) and sizes: what was
        made of photographs, beside them. ``of`` comes from ``pictures``, and nothing was drawn from it yet. Where --held-out names
        pictures without partners, nothing of this stream is held out. Raises ``LimnerError`` where a picture has no partner.
        """

    def picture(self, path: Path) -> Tensor:
        """One whole picture, float32 NCHW RGB in [0, 1], on the run's device."""

    def place(self, module: Any) -> Any:
        """A network on the run's device, in its memory format. Networks are built the same in all processes."""

    def compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function`` compiled, where that pays; hand over as much of a step as possible."""

    def keep(self, **parts: Any) -> None:
        """Name everything with a ``state_dict`` that a checkpoint must hold. Call it once, last: a run that resumes restores it here.

        Networks, optimizers and schedules are equal in all processes; anything else is saved for each, and gets tensors on the CPU back.
        Of global random numbers, torch's alone are restored.

        ``average``, the ``AveragedModel`` of the network that becomes the style file, must be among them.
        """

    def steps(self, total: int) -> Iterator[int]:
        """The steps not yet done, up to ``total``. Saves checkpoints and previews on the way, and ends early after Ctrl-C."""

    def autocast(self) -> AbstractContextManager[Any]:
        """The run's mixed precision, as a context."""

    def backward(self, loss: Tensor, module: nn.Module) -> None:
        """Gradients of ``loss``; those of ``module``, which learns from it, are averaged over all processes."""

    def preview(
        self, paint: Callable[[Tensor], Tensor], photos: Pictures, *, name: str = "", back: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        """What the preview sheet shows, and what alarms look at: ``paint`` maps float32 NCHW RGB in [0, 1] to the same. A second sheet
        needs a name; ``back`` leads from the painted picture to the photograph again, and is shown below it.
        """

    def evaluate(self, measure: Callable[[], dict[str, Tensor]], *, by: str) -> None:
        """Compute the held-out numbers (scalars; none where nothing is held out) before each checkpoint; the lowest ``by`` is the best."""

    def log(self, step: int, **losses: Tensor) -> None:
        """Record losses (scalars); read from the device now and then only, so that nothing waits."""


class Easel(Protocol):
    """What a method that paints one picture is handed: device, precision, progress, and a place for unfinished work."""

    def place(self, module: Any) -> Any:
        """A network on the device, in its memory format."""

    def autocast(self) -> AbstractContextManager[Any]:
        """Mixed precision, as a context."""

    def sparing(self, layers: Sequence[str], size: tuple[int, int], *, painting: int, copies: int) -> bool:
        """Whether a picture of ``size`` (height, width), and float32 ``copies`` of it, fit into memory only if VGG-19 with the
        convolutions ``layers`` keeps no features. ``painting`` is the number of pixels of the largest painting, which is looked at
        once. Raises ``LimnerError`` where it does not fit even so.
        """

    def keep(self, canvas: Any) -> None:
        """Name what has a ``state_dict`` and holds the unfinished picture. Work that goes on restores it here."""

    def steps(self, costs: Sequence[float]) -> Iterator[int]:
        """The steps not yet done, each with its cost in any unit; evenly thinned out where time is short. Ends early after Ctrl-C."""

    def show(self, painted: Callable[[], Tensor], losses: dict[str, Tensor]) -> None:
        """The losses (scalars) of this step, and what gives the picture as it is, float32 1 x 3 x H x W in [0, 1]."""


def rebuild(method: str, arguments: dict[str, int]) -> StyleNetwork:
    """The network of a style file, weights not yet loaded, from its card's method and ``network``.

    A module with more than one class of them says which, in a ``rebuild`` of its own.
    """
    module = importlib.import_module(f"limner.methods.{method}")
    network: StyleNetwork = module.rebuild(arguments) if hasattr(module, "rebuild") else module.Generator(**arguments)
    return network


class Method(Protocol):
    """What a module of this package offers."""

    Config: type

    def build(self, config: Any) -> StyleNetwork:
        """The network that becomes the style file: float32 NCHW RGB in [0, 1] to the same; weights not yet learnt."""

    def train(self, config: Any, run: Run) -> None:
        """Learn. What becomes the style file is kept as ``average``."""
