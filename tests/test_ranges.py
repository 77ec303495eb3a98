"""Ranges in the types of options: who is out of them is told so in a sentence."""

from dataclasses import dataclass
from typing import Annotated

import pytest
from annotated_types import Ge, Le, Lt

from limner.errors import LimnerError
from limner.ranges import Count, CountOrZero, Part, Positive, PositiveOrZero, check


@dataclass(frozen=True)
class Numbers:
    count: Count = 1
    zero: CountOrZero = 0
    rate: Positive | None = None
    weight: PositiveOrZero = 0.0
    part: Part = 1.0
    levels: Annotated[int, Ge(1), Le(5)] = 2
    decay: Annotated[float, Ge(0), Lt(1)] = 0.5
    free: int = -7


@pytest.mark.parametrize(
    "within",
    [{}, {"count": 9, "zero": 3, "rate": 1e-9, "weight": 2.5, "part": 0.1, "levels": 5, "decay": 0.999}, {"levels": 1, "decay": 0.0}],
)
def test_what_is_within_passes(within: dict[str, float]) -> None:
    check(Numbers(**within))


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("count", 0, "`count` must be at least 1, not 0."),
        ("zero", -1, "`zero` must not be negative, as -1 is."),
        ("rate", 0.0, "`rate` must be above 0, not 0."),
        ("weight", -0.5, "`weight` must not be negative, as -0.5 is."),
        ("weight", float("nan"), "`weight` must not be negative, as nan is."),
        ("part", 0.0, "`part` must be above 0 and at most 1, not 0."),
        ("part", 1.5, "`part` must be above 0 and at most 1, not 1.5."),
        ("levels", 6, "`levels` must be from 1 to 5, not 6."),
        ("decay", 1.0, "`decay` must be from 0 to below 1, not 1."),
    ],
)
def test_what_is_not_gets_a_sentence(name: str, value: float, sentence: str) -> None:
    with pytest.raises(LimnerError) as error:
        check(Numbers(**{name: value}))
    assert str(error.value) == sentence
