"""The styles that come with Limner: an .onnx file for each tier of them, and its weights beside it.

``gallery.toml`` names the default and the order.
"""

import tomllib
from functools import cache
from pathlib import Path
from typing import Literal, get_args

from limner import files
from limner.errors import LimnerError
from limner.gallery import card
from limner.gallery.card import Card

FOLDER = Path(__file__).parent

Tier = Literal["standard", "int8", "live"]
"""The network itself, the same in int8, and a small one for video. ``mine.live.onnx`` lies beside ``mine.onnx``."""


@cache
def _table() -> dict[str, str | list[str]]:
    return tomllib.loads((FOLDER / "gallery.toml").read_text(encoding="utf-8"))


def default(tier: Tier = "standard") -> str:
    """Name of the style that is used when none is named: the default one, or the first that has the tier where that has not."""
    wanted = str(_table()["default"])
    return next((name for name in (wanted, *names()) if of_tier(FOLDER / f"{name}.onnx", tier).is_file()), wanted)


def names() -> list[str]:
    """Names of the bundled styles, in the order in which they are shown."""
    return list(_table()["styles"])


def cards() -> list[Card]:
    """Cards of the bundled styles, in the same order."""
    return [card.read(find(name)) for name in names()]


def holds(path: Path) -> bool:
    """Whether a style file is one of those that come with Limner."""
    return path.resolve().parent == FOLDER.resolve()


def tiers(style: str | Path) -> list[Tier]:
    """The tiers in which a style is there."""
    path = find(style)
    return [tier for tier in get_args(Tier) if of_tier(path, tier).is_file()]


def of_tier(path: Path, tier: Tier) -> Path:
    """The file of ``tier`` that belongs to the standard one, ``path``. A file of that tier is its own."""
    ending = "" if tier == "standard" else f".{tier}"
    return path if path.stem.endswith(ending) else path.with_stem(path.stem + ending)


def find(style: str | Path, tier: Tier = "standard") -> Path:
    """The file of a style: a bundled name, or a path. Raises ``LimnerError`` where there is neither, or no such tier of it."""
    if tier not in get_args(Tier):
        raise LimnerError(f"There is no tier {tier!r}: take one of {', '.join(get_args(Tier))}.")
    found = _find(style)
    path = of_tier(found, tier)
    if not path.is_file():
        way = f"limner quantize {style}" if tier == "int8" else f"limner train live --teacher {style}"
        raise LimnerError(f"The style {style} has no {tier} tier (there is no {path}): make one with `{way}`, or leave `tier` out.")
    return path


def _find(style: str | Path) -> Path:
    if str(style) in names():
        return FOLDER / f"{style}.onnx"
    path = Path(style)
    if files.is_file(path):
        return path
    if path.suffix == ".onnx" or len(path.parts) > 1:
        raise LimnerError(f"There is no style file {style}: check the path, or take one of Limner's own: {', '.join(names())}.")
    raise LimnerError(f"There is no style {style!r}: Limner has {', '.join(names())}, and takes the path of any style file.")
