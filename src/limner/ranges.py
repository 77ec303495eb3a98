"""Ranges of numbers, said where an option is: in its type. One checker holds the options to them."""

from typing import Annotated, Any, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt

from limner.errors import LimnerError

Count = Annotated[int, Ge(1)]
CountOrZero = Annotated[int, Ge(0)]
Positive = Annotated[float, Gt(0)]
PositiveOrZero = Annotated[float, Ge(0)]
Part = Annotated[float, Gt(0), Le(1)]
"""A part of something, which is more than nothing and at most the whole."""


def check(options: Any) -> None:
    """Raise ``LimnerError`` for the first number in ``options``, a dataclass, that is out of its type's range. ``None`` is in any."""
    for name, bounds in _bounds(type(options)).items():
        value = getattr(options, name)
        if value is not None and not all(_within(value, bound) for bound in bounds):
            raise LimnerError(f"`{name}` must {_in_words(bounds, value)}.")


def _bounds(kind: type) -> dict[str, tuple[Any, ...]]:
    """The bounds of each field that has some."""
    found = {}
    for name, hint in get_type_hints(kind, include_extras=True).items():
        choices = (hint,) if get_origin(hint) is Annotated else get_args(hint)  # X, or X | None
        for choice in choices:
            if get_origin(choice) is Annotated and (
                bounds := tuple(each for each in get_args(choice) if isinstance(each, Ge | Gt | Le | Lt))
            ):
                found[name] = bounds
    return found


def _within(value: Any, bound: Any) -> bool:
    match bound:
        case Ge(least):
            return bool(value >= least)
        case Gt(least):
            return bool(value > least)
        case Le(most):
            return bool(value <= most)
        case Lt(most):
            return bool(value < most)
    raise TypeError(f"{bound} is no bound")


def _in_words(bounds: tuple[Any, ...], value: Any) -> str:
    shown = f"{value:g}" if isinstance(value, float) else value
    match bounds:
        case (Ge(0),):
            return f"not be negative, as {shown} is"
        case (Ge(least),):
            return f"be at least {least}, not {shown}"
        case (Gt(least),):
            return f"be above {least}, not {shown}"
        case (Ge(least), Le(most)):
            return f"be from {least} to {most}, not {shown}"
        case (Ge(least), Lt(most)):
            return f"be from {least} to below {most}, not {shown}"
        case (Gt(least), Le(most)):
            return f"be above {least} and at most {most}, not {shown}"
    raise TypeError(f"{bounds} have no words yet")
