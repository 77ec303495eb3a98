"""Options of every training, whatever its method."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from limner.errors import require
from limner.gallery.card import NAME
from limner.ranges import Count, CountOrZero, check


@dataclass(frozen=True)
class Options:
    """Options of every training, whatever its method."""

    out: Path
    """Run directory: configuration, checkpoints, samples, metrics, report and, at the end, the style file."""
    seed: CountOrZero = 0
    """Two runs with the same seed and options give the same weights, on the same machine's CPU to the last bit."""
    checkpoint_every: Count = 250
    """Steps between checkpoints; each is preceded by the held-out number and a look for alarms."""
    keep_checkpoints: Count = 2
    """How many of the newest checkpoints are kept, beside the best one."""
    held_out: Path | None = None
    """Photographs never trained on, for previews and the held-out number; by default a tenth of them, at most 16, is spared."""
    patience: CountOrZero = 0
    """Stop early after so many checkpoints without a better held-out number; 0 never does."""
    preview_every: float = 3.0
    """Minutes between the rows of the preview sheet (samples/sheet.jpg)."""
    trackers: tuple[Literal["tensorboard", "wandb", "none"], ...] = ("tensorboard",)
    """Where losses are sent, beside metrics.jsonl and report.html; none leaves it at these two."""
    device: Literal["auto", "cpu", "gpu"] = "auto"
    """Where to train; auto takes a GPU where there is one."""
    precision: Literal["auto", "bf16", "float32"] = "auto"
    """Number format of the large sums; auto takes bf16 where the hardware has it."""
    compile: Literal["auto", "yes", "no"] = "auto"
    """Compile the training step: costs about a minute, then saves time at every step. Auto compiles from 300 steps on."""
    workers: CountOrZero | None = None
    """Threads that read pictures; by default half the cores, at most 8."""
    name: str = ""
    """Name of the style, lower case with hyphens; by default that of the run directory."""
    title: str = ""
    """Title of the style, for people."""
    description: str = ""
    """One sentence about the style, for people."""
    licence: str = ""
    """Licence of the style file."""
    authors: str = ""
    """Who trains it."""
    trained_on: tuple[str, ...] = field(default_factory=tuple)
    """The pictures it learns from, with their licences, as the card will name them."""
    recipe: str = ""
    """Name of the recipe, where there is one."""

    def __post_init__(self) -> None:
        check(self)
        require(
            not self.name or NAME.fullmatch(self.name) is not None, f"`name` must be lower case with hyphens, which {self.name!r} is not."
        )
