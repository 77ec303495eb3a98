"""Card: what a style file promises. It lies as JSON in the file itself (``metadata_props`` of the .onnx, metadata of the .safetensors)."""

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Literal

from limner.errors import LimnerError

NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
"""What a style may be called."""

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

    @classmethod
    def from_json(cls, text: str) -> "Card":
        """Raises ``ValueError`` where ``text`` is no card. Entries of later versions are left out."""
        table = json.loads(text)
        if not isinstance(table, dict):
            raise ValueError("a card is a JSON object")
        known = {f.name for f in fields(cls)}
        try:
            card = cls(**{name: value for name, value in table.items() if name in known})
        except TypeError as error:
            raise ValueError(f"the card is not whole: {error}") from error
        if not NAME.fullmatch(str(card.name)):  # it becomes a part of file names
            raise ValueError(f"{card.name!r} is no name for a style")
        if not isinstance(card.working_size, int) or card.working_size < 0:
            raise ValueError(f"{card.working_size!r} is no size")
        return card


def read(path: Path) -> Card:
    """The card of a style file. Raises ``LimnerError`` where ``path`` is no style file."""
    try:
        data = memoryview(path.read_bytes())
    except FileNotFoundError as error:
        raise LimnerError(
            f"There is no style file {path}: name a file that exists, or one of the styles that `limner styles` lists."
        ) from error
    except OSError as error:
        raise LimnerError(f"The style file {path} cannot be read: {error.strerror}.") from error
    try:
        return Card.from_json(_metadata(data)[KEY])
    except KeyError as error:
        raise LimnerError(f"{path} has no Limner card, so it is not a style file: make one with `limner export`.") from error
    except (ValueError, IndexError) as error:
        raise LimnerError(f"{path} is not a style file, or is damaged: make it anew with `limner export`.") from error


def _metadata(model: memoryview) -> dict[str, str]:
    """``metadata_props`` of an ONNX model, read without any ONNX library: protocol buffer field 14, a key (1) and a value (2) each."""
    entries = (dict(_fields(entry)) for number, entry in _fields(model) if number == 14)
    return {bytes(entry[1]).decode(): bytes(entry[2]).decode() for entry in entries if entry.keys() >= {1, 2}}


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """(number, bytes) of each length-delimited field of a protocol buffer message. Raises ``ValueError`` where it is not one."""
    position = 0

    def varint() -> int:
        nonlocal position
        value = shift = 0
        while True:
            byte = message[position]
            position += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value
            if shift > 63:
                raise ValueError("not a protocol buffer")

    while position < len(message):
        tag = varint()
        match tag & 7:
            case 0:
                varint()
            case 1:
                position += 8
            case 5:
                position += 4
            case 2:
                length = varint()
                if position + length > len(message):
                    raise ValueError("cut off")
                yield tag >> 3, message[position : position + length]
                position += length
            case _:
                raise ValueError("not a protocol buffer")
