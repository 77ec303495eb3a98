"""Held-out pictures: which are spared for the held-out number, and which others must not be trained on because of them.

By names alone, so that a hundred thousand pictures need not be read first. Copies under other names are found when a training reads them
(``data.Shown``).
"""

import re
from collections import Counter

import numpy as np

from limner.pictures.sources import Source, without_suffix

SPARED = 16
"""Pictures that are spared at most."""
SERIES = 32
"""More pictures of one origin than this, or than a tenth of all, are no origin but a camera's numbering: each counts for itself."""
LOSS = 0.05
"""Part of all pictures that may be lost to the training for being of an origin of which others are held out."""

_LAST = re.compile(r"[\W_]*(?:\d+|[A-Za-z])$")


def split(names: list[str], *, seed: int) -> tuple[list[int], list[int]]:
    """Numbers of the pictures called ``names`` as (to train on, held out).

    A tenth, at most 16, is held out; below 20 pictures nothing is. Pictures of one origin are never on both sides. Held out are as few of
    each origin, and so as many origins, as can be without leaving out more than a twentieth of all pictures.
    """
    count = len(names)
    spared = min(SPARED, count // 10) if count >= 20 else 0
    groups: dict[str, list[int]] = {}
    of = origins(names)
    for n in np.random.default_rng((seed, 2)).permutation(count).tolist():
        groups.setdefault(of[n], []).append(n)
    held: list[int] = []
    touched: set[str] = set()
    for most in (1, 2, 4, 8, SERIES):
        held, touched = [], set()
        for origin, numbers in groups.items():
            if len(held) < spared:
                held += numbers[: min(most, spared - len(held))]
                touched.add(origin)
        lost = sum(len(groups[origin]) for origin in touched) - len(held)
        if len(held) == spared and lost <= LOSS * count:
            break
    return [n for n in range(count) if of[n] not in touched], held


def origins(names: list[str]) -> list[str]:
    """What each picture was made of, as far as its name tells: crops `xa` and `xb` of one picture, `story-12-01` and `story-12-02` of one
    book, `x` and `x-1`. Names that differ only in a last letter or number, unless a camera numbered them (``SERIES``).
    """
    whole = [without_suffix(name) for name in names]
    stems = [_LAST.sub("", name) for name in whole]
    known = set(stems)
    found = [name if name in known or not stem else stem for name, stem in zip(whole, stems, strict=True)]
    sizes, most = Counter(found), min(SERIES, len(names) // 10)
    return [origin if sizes[origin] <= most else name for origin, name in zip(found, names, strict=True)]


def outside(source: Source, aside: Source) -> list[int]:
    """Numbers of those pictures of ``source`` that are not in ``aside``, file for file."""
    there = set(_places(aside))
    return [n for n, place in enumerate(_places(source)) if place not in there]


def _places(source: Source) -> list[str]:
    root = (source.path if source.path.is_dir() else source.path.parent).resolve()
    return [f"{root}/{source.key(n)}" for n in range(len(source))]
