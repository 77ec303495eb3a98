"""Card: what a style file promises. It lies as JSON in the file itself (``metadata_props`` of the .onnx, metadata of the .safetensors)."""

import json
import re
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Literal

from limner import limits
from limner.errors import LimnerError
from limner.gallery import graph

NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
"""What a style may be called."""

METHOD = re.compile(r"[a-z][a-z0-9_]*")

KEY = "limner"
"""The metadata entry that holds the card."""

WorkingSize = int | Literal["full"]
"""Short side, in pixels, at which larger pictures are painted; ``full``, or 0, is their own size."""


@dataclass(frozen=True)
class Card:
    """A style's card. Local paths never enter it."""

    name: str
    """What ``-s`` takes: lower case, words joined by hyphens."""
    title: str
    """For people."""
    method: str
    """The module of ``limner.methods`` that trained it, e.g. ``fast_style``."""
    network: dict[str, int]
    """Arguments that build the method's ``Generator`` again."""
    multiple_of: int
    """Height and width of the network's input must be multiples of this."""
    min_side: int
    """The smallest height and width that the network can take, in pixels."""
    receptive_field: int
    """Side of the square of input pixels that one output pixel sees, normalisation aside."""
    best_short_side: int
    """Short side, in pixels, of pictures that suit the strokes best."""
    parameters: int
    """Number of weights."""
    weights_sha256: str
    """Hash of the weights: names, shapes and half-precision values, in the order of the names."""
    limner_version: str
    """The version that wrote the file."""
    working_size: int = 0
    """Short side, in pixels, at which larger pictures are painted, to be enlarged afterwards; 0 is their own size."""
    tier: str = "standard"
    """``standard``; ``int8``, the same network quantized; ``live``, a small network for video, taught by another style."""
    teacher: str = ""
    """Name and weights' hash of the style that taught it, where one did."""
    quantized: str = ""
    """Where the network computes in int8: how far its pictures are from those of the file it was made from."""
    licence: str = ""
    """Licence of the style file."""
    authors: str = ""
    """Who trained it."""
    description: str = ""
    """One sentence for people."""
    trained_on: list[str] = field(default_factory=list)
    """The pictures it learnt from: data set or painting, and licence."""
    steps: int = 0
    """Training steps done."""
    recipe: str = ""
    """Name of the recipe, where there is one."""
    recipe_sha256: str = ""
    """Hash of every option that shaped the weights (paths left out)."""

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)

    def __post_init__(self) -> None:
        """Raises ``ValueError`` where a value is of another type, or none that a style can have."""
        for entry in fields(self):
            _check(entry.name, getattr(self, entry.name), entry.type)
        if not NAME.fullmatch(self.name):  # it becomes a part of file names
            raise ValueError(f"{self.name!r} is no name for a style")
        if not METHOD.fullmatch(self.method):  # it is imported
            raise ValueError(f"{self.method!r} is no method")

    @classmethod
    def from_json(cls, text: str) -> "Card":
        """Raises ``ValueError`` where ``text`` is no card. Entries of later versions are left out."""
        if len(text) > limits.CARD:
            raise ValueError(f"the card has {len(text):,} characters")
        try:
            table = json.loads(text)
        except RecursionError as error:
            raise ValueError("the card is nested too deeply") from error
        if not isinstance(table, dict):
            raise ValueError("a card is a JSON object")
        known = {f.name for f in fields(cls)}
        try:
            return cls(**{name: value for name, value in table.items() if name in known})
        except TypeError as error:
            raise ValueError(f"the card is not whole: {error}") from error


MOST = {
    **{"multiple_of": 256, "min_side": 1024, "receptive_field": 1 << 16, "best_short_side": 1 << 16, "working_size": 1 << 16},
    **{"parameters": 10**9, "steps": 10**10, "network": 4096},
}
"""The most that a number of a card may be; in ``network``, each of them."""

LONGEST = {"name": 64, "method": 64, "tier": 16}
"""Characters of a card's texts; of the others 10,000."""


def _check(name: str, value: object, kind: object) -> None:
    least = 0 if name in ("steps", "network", "parameters", "working_size") else 1
    if kind is int:
        fits = isinstance(value, int) and not isinstance(value, bool) and least <= value <= MOST[name]
    elif kind is str:
        fits = isinstance(value, str) and len(value) <= LONGEST.get(name, 10_000)
    elif kind == list[str]:
        fits = isinstance(value, list) and len(value) <= 1000 and all(isinstance(each, str) and len(each) <= 10_000 for each in value)
    else:
        numbers = value.values() if isinstance(value, dict) else [None]
        fits = all(isinstance(each, int) and 0 <= each <= MOST["network"] for each in numbers)
    if not fits:
        raise ValueError(f"{name} cannot be {repr(value)[:60]}")


def read(path: Path) -> Card:
    """The card of a style file, whose network is one that a style may have. Raises ``LimnerError`` where ``path`` is no style file."""
    try:
        data = memoryview(limits.read(path, limits.STYLE))
    except FileNotFoundError as error:
        raise LimnerError(
            f"There is no style file {path}: name a file that exists, or one of the styles that `limner styles` lists."
        ) from error
    except OSError as error:
        raise LimnerError(f"The style file {path} cannot be read: {error.strerror}.") from error
    try:
        found = graph.metadata(data)
        if KEY not in found:
            raise LimnerError(f"{path} has no Limner card, so it is not a style file: make one with `limner export`.")
        card = Card.from_json(found[KEY])
        graph.check(data)
    except (ValueError, IndexError) as error:
        raise LimnerError(f"{path} is not a style file, or is damaged ({error}): make it anew with `limner export`.") from error
    return card
