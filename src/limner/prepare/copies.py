"""Altered copies of pictures, as PNG files: every picture of the sources, and a sheet of a few of them beside what became of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from limner.errors import LimnerError, require
from limner.pictures import image
from limner.pictures.sources import Source
from limner.prepare import parts, resumable
from limner.prepare.parts import PreparedParts
from limner.prepare.pictures import cut

Pixels: TypeAlias = NDArray[np.uint8]

SHOWN = 4
"""Pictures on the preview sheet."""
SHOWN_HEIGHT = 320


def copies(
    kind: str,
    sources: Sequence[Path],
    options: resumable.Options,
    about: Mapping[str, Any],
    alter: Callable[[Pixels], Pixels],
    row: Callable[[Pixels], list[Pixels]],
    progress: resumable.Progress,
    *,
    named: bool = False,
) -> resumable.Summary:
    """Write `alter` of each picture, uint8 HWC RGB, into the folder `options.out`, and `<out>-sheet.jpg` with a `row` of each of a few.

    `about` is what a run that goes on must have in common with its beginning. Files are numbered, or `named` as in their source. Raises
    LimnerError where no picture can be used.
    """
    require(bool(sources), "Nothing to prepare was named: give folders, pictures, films, .tar shards or .npz files.")
    sets = resumable.open_sets({"images": sources}, options)
    header = {name: value for name, value in resumable.header_of(kind, sets, options).items() if name in ("prepare", "sources", "pictures")}

    def encode(photo: Image.Image, size: int) -> bytes:
        return image.encode(image.Picture(alter(np.asarray(photo))), ".png")  # what is not altered stays exactly as it is

    open_part = partial(parts.files, options.out, suffix=".png")
    writer = resumable.Writer(open_part, lambda part: part.read >= resumable.PART, encode, named)
    with closing(PreparedParts(options.out, {**header, **about})) as prepared:
        summary = resumable.prepare(sets, options, prepared, progress, writer)
    _write_sheet(sets["images"], options, row)
    return summary


def _write_sheet(sources: list[Source], options: resumable.Options, row: Callable[[Pixels], list[Pixels]]) -> None:
    """Not in the folder, where it would be taken for one more picture."""
    places = [(source, n) for source in sources for n in range(len(source))]
    rows = []
    for k in np.linspace(0, len(places) - 1, min(SHOWN, len(places))).round().astype(int):
        try:
            photo = Image.fromarray(places[k][0][places[k][1]])
        except LimnerError:  # told already
            continue
        rows.append(np.hstack(row(np.asarray(cut(photo, options.size, 0, np.random.default_rng(0))[0]))))
    if rows:
        shown = [Image.fromarray(row).resize((row.shape[1] * SHOWN_HEIGHT // row.shape[0], SHOWN_HEIGHT)) for row in rows]
        sheet = Image.new("RGB", (max(row.width for row in shown), SHOWN_HEIGHT * len(shown)), "white")
        for n, row_shown in enumerate(shown):
            sheet.paste(row_shown, (0, n * SHOWN_HEIGHT))
        image.write(image.from_pil(sheet), options.out.with_name(options.out.name + "-sheet.jpg"))
