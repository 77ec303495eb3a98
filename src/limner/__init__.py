"""Limner turns photographs into paintings, and trains new styles.

>>> import limner
>>> limner.load("starry-night")("photo.jpg")  # doctest: +SKIP
'photo.starry-night.jpg'
"""

from typing import TYPE_CHECKING, Any

from limner import privacy
from limner.errors import LimnerError
from limner.version import __version__

if TYPE_CHECKING:
    from limner.gallery.card import Card
    from limner.style.style import Style, load, stylize

__all__ = ["Card", "LimnerError", "Style", "__version__", "load", "styles", "stylize"]


privacy.keep()


def styles() -> "list[Card]":
    """Cards of the bundled styles."""
    from limner.gallery import bundled

    return bundled.cards()


def __getattr__(name: str) -> Any:
    # Names that need numpy and Pillow are fetched when they are first used: importing Limner must cost next to nothing.
    if name in ("Style", "load", "stylize"):
        from limner.style import style

        return getattr(style, name)
    if name == "Card":
        from limner.gallery.card import Card

        return Card
    raise AttributeError(f"module 'limner' has no attribute {name!r}")
