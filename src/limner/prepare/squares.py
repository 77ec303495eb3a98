"""Pictures made ready for training: scaled down, cut to squares, without near-duplicates; as files, tar shards or one .npz."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from limner.errors import require
from limner.prepare import parts
from limner.prepare.parts import Part, PreparedParts
from limner.prepare.pictures import jpeg, raw_square
from limner.prepare.resumable import PART, Options, Progress, Summary, Writer, header_of, open_sets, prepare

TOLD = 50
"""Pictures that could not be used, as an .npz file remembers them."""


@dataclass(frozen=True)
class CropOptions(Options):
    """Options of ``limner prepare crops``."""

    quality: int = 95
    """Quality of the JPEG files, from 1 to 100."""


@dataclass(frozen=True)
class ShardOptions(CropOptions):
    """Options of ``limner prepare shards``."""

    per_shard: int = 1000
    """Pictures in each shard."""


def crops(sources: Sequence[Path], options: CropOptions, progress: Progress = lambda done, total: None) -> Summary:
    """Write the pictures of `sources` as JPEG files into the folder `options.out`. Raises LimnerError where none can be used."""
    return _files("crops", sources, options, progress, partial(parts.files, options.out), lambda part: part.read >= PART)


def shards(sources: Sequence[Path], options: ShardOptions, progress: Progress = lambda done, total: None) -> Summary:
    """Write the pictures of `sources` as JPEG files into tar shards of WebDataset's layout. Raises LimnerError as `crops` does."""
    most = options.per_shard
    require(most >= 1, f"A `per_shard` of {most} is not possible: give a number of pictures.")
    return _files("shards", sources, options, progress, partial(parts.shard, options.out), lambda part: part.written >= most)


def _files(
    kind: str, sources: Sequence[Path], options: CropOptions, progress: Progress, open_part: parts.OpenPart, is_full: Callable[[Part], bool]
) -> Summary:
    require(1 <= options.quality <= 100, f"A `quality` of {options.quality} is not possible: give a number from 1 to 100.")
    require(bool(sources), "Nothing to prepare was named: give folders, pictures, films, .tar shards or .npz files.")
    sets = open_sets({"images": sources}, options)
    with closing(PreparedParts(options.out, header_of(kind, sets, options))) as prepared:
        return prepare(sets, options, prepared, progress, Writer(open_part, is_full, partial(jpeg, quality=options.quality)))


def npz(
    sources: Sequence[Path],
    options: Options,
    progress: Progress = lambda done, total: None,
    *,
    domain_a: Sequence[Path] = (),
    domain_b: Sequence[Path] = (),
) -> Summary:
    """Write equal squares into the compressed NumPy file `options.out`: an array `images`, or `a` and `b` of the two domains.

    Arrays are uint8 [N, size, size, 3] RGB. Pictures that are smaller are left out. Raises LimnerError where nothing is left of one.
    """
    out, two = options.out, bool(domain_a or domain_b)
    require(out.suffix.lower() == ".npz", f"{out} is no name for a NumPy file: let it end in .npz.")
    require(options.crops >= 1, "A `crops` of 0 is not possible with npz, whose pictures are all squares: use crops or shards.")
    require(bool(domain_a) == bool(domain_b) and two != bool(sources), "Give either pictures, or both `domain_a` and `domain_b`.")
    sets = open_sets({"a": domain_a, "b": domain_b} if two else {"images": sources}, options)
    folder = out.with_name(out.name + ".parts")
    header = header_of("npz", sets, options)
    if out.exists() and not folder.exists():
        about = parts.told_by(out, folder)
        require(about.get("header") == json.loads(json.dumps(header)), f"{out} is there already: delete it, or name another `out`.")
        return Summary(out, about["written"], about["near"], tuple(about["bad"]))
    with closing(PreparedParts(folder, header)) as prepared:
        summary = prepare(
            sets, options, prepared, progress, Writer(partial(parts.piece, folder), lambda part: part.read >= PART, raw_square)
        )
        told = {"written": dict(summary.written), "near": summary.near, "bad": summary.bad[:TOLD]}
        parts.join(out, folder, summary.written, options.size, {"header": header, **told})
    return summary
