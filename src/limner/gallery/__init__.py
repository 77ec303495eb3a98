"""The styles that come with Limner: one .onnx file each (and its weights beside it); ``gallery.toml`` names the default and the order."""

import tomllib
from functools import cache
from pathlib import Path

from limner import card
from limner.card import Card
from limner.errors import LimnerError

FOLDER = Path(__file__).parent


@cache
def _table() -> dict[str, str | list[str]]:
    return tomllib.loads((FOLDER / "gallery.toml").read_text(encoding="utf-8"))


def default() -> str:
    """Name of the style that is used when none is named."""
    return str(_table()["default"])


def names() -> list[str]:
    """Names of the bundled styles, in the order in which they are shown."""
    return list(_table()["styles"])


def cards() -> list[Card]:
    """Cards of the bundled styles, in the same order."""
    return [card.read(find(name)) for name in names()]


def find(style: str | Path) -> Path:
    """The file of a style: a bundled name, or a path. Raises ``LimnerError`` where there is neither."""
    if str(style) in names():
        return FOLDER / f"{style}.onnx"
    path = Path(style)
    if path.is_file():
        return path
    if path.suffix == ".onnx" or len(path.parts) > 1:
        raise LimnerError(f"There is no style file {style}: check the path, or take one of Limner's own: {', '.join(names())}.")
    raise LimnerError(f"There is no style {style!r}: Limner has {', '.join(names())}, and takes the path of any style file.")
