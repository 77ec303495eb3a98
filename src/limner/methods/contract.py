"""What a method is, and what it is handed.

ONE FILE = ONE PAPER: a new file in this folder is a new method; the command line and the tests find it by themselves.

A method that trains offers ``Config`` (a dataclass of options), ``build(config)`` (the network that becomes the style file, untrained) and
``train(config, run)`` (its loop, written out). One that makes several styles names in ``STYLES`` what is kept of each, and how the name of
its file ends; one that knows entries of the style's card by itself gives them in ``about(config)``. What a method needs from outside is
handed to it as one object, ``Run``.

A method that paints single pictures offers ``Config`` and ``stylize(content, styles, config, easel, start=..., masks=...)``; what it needs
is ``Easel``.

What a method lacks is said when it is found, or before its first step: never at the end of a training.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, Protocol

from limner.errors import LimnerError

if TYPE_CHECKING:  # finding methods must not load torch: the command line lists them
    from torch import Tensor, nn
    from torch.optim.swa_utils import AveragedModel

    from limner.blocks.network import StyleNetwork

Kind = Literal["train", "stylize"]
"""The function by which a method is known: one that trains a style, or one that paints a single picture."""


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

    def altered(self, alter: Callable[[Any], Any]) -> Pictures:
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

    def average(self, network: nn.Module, decay: float, *, warm_up: bool = True, name: str = "average") -> AveragedModel:
        """An exponential average of the weights of ``network``, which becomes the style file. Call its ``update_parameters(network)`` after
        each step; ``.module`` is the averaged network. It is kept in checkpoints under ``name``: one of the method's ``STYLES``, where it
        has some. With ``warm_up`` the average forgets its beginning sooner, which short trainings need.
        """

    def compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function`` compiled, where that pays; hand over as much of a step as possible."""

    def keep(self, **parts: Any) -> None:
        """Name everything with a ``state_dict`` that a checkpoint must hold. Call it once, last: a run that resumes restores it here.

        Networks, optimizers and schedules are equal in all processes; anything else is saved for each, and gets tensors on the CPU back.
        Of global random numbers, torch's alone are restored. What ``average`` made is kept already.
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


class Method(Protocol):
    """What a module that trains offers."""

    Config: type

    def build(self, config: Any) -> StyleNetwork:
        """The network that becomes the style file: float32 NCHW RGB in [0, 1] to the same; weights not yet learnt."""

    def train(self, config: Any, run: Run) -> None:
        """Learn. What becomes the style file comes from ``run.average``."""


class PaintingMethod(Protocol):
    """What a module that paints single pictures offers."""

    Config: type

    def stylize(
        self,
        content: Tensor,
        styles: Sequence[Tensor],
        config: Any,
        easel: Easel,
        *,
        start: Tensor | None = None,
        masks: Sequence[Tensor] = (),
    ) -> Tensor:
        """The painting of ``content``, float32 1 x 3 x H x W RGB in [0, 1], at its size; ``styles`` likewise, in any sizes. ``start`` is
        the first picture, and ``masks``, 1 x 1 x H x W, say where in the picture each style belongs.
        """


# -------------------------------------------------------------------------------------------------------- finding methods


def names(kind: Kind = "train") -> list[str]:
    """Names of the methods of a kind, found by their files without importing them."""
    folder = Path(__file__).parent
    found = sorted(module.name for module in pkgutil.iter_modules([str(folder)]))
    return [name for name in found if re.search(rf"^def {kind}\(", (folder / f"{name}.py").read_text(encoding="utf-8"), re.MULTILINE)]


def find(name: str) -> ModuleType:
    """The module of a method. Raises ``LimnerError`` where there is none, or where it lacks something that is asked of it."""
    try:
        module = importlib.import_module(f"limner.methods.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"limner.methods.{name}":
            raise
        known = ", ".join(map(shown, (*names("train"), *names("stylize"))))
        raise LimnerError(f"There is no method {shown(name)!r}: Limner has {known}.") from error
    for what in lacks(module):
        raise LimnerError(f"The method {shown(name)} lacks {what}.")
    return module


def shown(name: str) -> str:
    """A method's name as people write it: ``fast-style`` for ``fast_style``."""
    return name.replace("_", "-")


def lacks(module: ModuleType) -> Iterator[str]:
    """What a method does not have that is asked of it, and what to do, in words for its author."""
    if "arxiv.org/abs/" not in (module.__doc__ or ""):
        yield "the link of its paper: let the docstring of its file give https://arxiv.org/abs/..."
    config = getattr(module, "Config", None)
    if not (isinstance(config, type) and is_dataclass(config)):
        yield "its options: let a frozen dataclass Config hold them, the paper's values as defaults"
        return
    options = {field.name for field in fields(config)}
    presets = getattr(config, "PRESETS", None)
    if not isinstance(presets, dict):
        yield "presets: write PRESETS inside Config (`PRESETS: ClassVar[dict[str, dict[str, object]]] = {}` where there are none)"
        presets = {}
    for preset, values in presets.items():
        for unknown in sorted(set(values) - options):
            yield f"the option {unknown}, which its preset {preset} sets: add it to Config, or correct PRESETS"
    trains = hasattr(module, "train")
    for name, why in (TRAINING_OPTIONS if trains else PAINTING_OPTIONS).items():
        if name not in options:
            yield f"the option {name}, {why}: add it to Config"
    for function in ("build", "train") if trains else ("stylize",):
        if not callable(getattr(module, function, None)):
            yield f"the function {function}: see Method and PaintingMethod in limner/methods/contract.py"


TRAINING_OPTIONS = {
    "steps": "how many steps a training takes",
    "image_size": "the side of its crops in pixels, by which previews and the style's best size go",
}
PAINTING_OPTIONS = {"size": "the longer side of the painting in pixels"}


def rebuild(method: str, arguments: dict[str, int]) -> StyleNetwork:
    """The network of a style file, weights not yet loaded, from its card's method and ``network``.

    A module with more than one class of them says which, in a ``rebuild`` of its own.
    """
    module = importlib.import_module(f"limner.methods.{method}")
    network: StyleNetwork = module.rebuild(arguments) if hasattr(module, "rebuild") else module.Generator(**arguments)
    return network
