"""Pictures read in threads and written part by part, in the order of their sources; what was ended goes on after the last whole part.

What comes out depends on the sources and the options alone, to the byte.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from limner.errors import LimnerError, require
from limner.parallel import in_order
from limner.pictures.duplicates import Hashes, difference_hash
from limner.pictures.sources import Source, open_source, without_suffix
from limner.prepare import parts
from limner.prepare.parts import Part, PreparedParts
from limner.prepare.pictures import cut

PART = 64
"""Pictures read between two lines of the record: what a run that is ended has to do again. A shard is a part of its own."""


@dataclass(frozen=True)
class Options:
    """Options of all of ``limner prepare``."""

    out: Path
    """Where to write: a new folder, or with npz a new file. The same command again goes on with a run that was ended."""
    size: int = 256
    """Short side, in pixels, that pictures are scaled down to; they are never scaled up."""
    crops: int = 1
    """Squares to cut from each picture: 1 is its middle, more are of random size and place, 0 keeps the whole picture (not for npz)."""
    every: float = 1.0
    """Seconds between two frames that are taken from a film."""
    distance: int = 6
    """Drop a picture whose 64-bit difference hash differs in at most so many bits from one already taken; -1 keeps all."""
    seed: int = 0
    """Another seed cuts other squares, where there are several of a picture."""
    workers: int | None = None
    """Threads that read pictures; by default one for each core. The result does not depend on it."""


@dataclass(frozen=True)
class Summary:
    """What became of the pictures."""

    out: Path
    written: Mapping[str, int]
    """Pictures written, of each domain; of `images` where there is but one."""
    near: int
    """Near-duplicates that were dropped."""
    bad: tuple[str, ...]
    """A sentence for each picture that could not be used."""


Progress: TypeAlias = Callable[[int, int], None]
"""Called with (pictures done, pictures in all)."""


@dataclass(frozen=True)
class Writer:
    """How one kind of output is written."""

    open_part: parts.OpenPart
    is_full: Callable[[Part], bool]
    encode: Callable[[Image.Image, int], bytes]
    """(RGB picture, --size) -> bytes. Raises LimnerError, which names no file, where the picture does not suit."""
    named: bool = False
    """Whether outputs bear the names of their pictures, or are numbered."""


@dataclass(frozen=True)
class _Result:
    """A picture that was read: its hash and its encoded crops, or the sentence that says why not."""

    name: str
    key: str
    hash: int = 0
    files: tuple[bytes, ...] = ()
    error: str = ""


_Item: TypeAlias = tuple[int, tuple[Source, int]]
"""(place among all pictures of the set, (source, number in it))."""


def prepare(sets: dict[str, list[Source]], options: Options, prepared: PreparedParts, progress: Progress, writer: Writer) -> Summary:
    """Read what is not prepared yet, and write it part by part."""
    counts = {name: sum(map(len, sources)) for name, sources in sets.items()}
    done = sum(part.read for part in prepared.parts)
    progress(done, sum(counts.values()))
    for name, sources in sets.items():
        whole = [part for part in prepared.parts if part.array == name]
        start = sum(part.read for part in whole)
        hashes = Hashes(counts[name], options.distance, [int(hash, 16) for part in whole for _, hash in part.taken.values()])
        todo = islice(enumerate((source, n) for source in sources for n in range(len(source))), start, None)
        with closing(_in_order(partial(_work, options=options, writer=writer), todo, options.workers)) as results:
            while start < counts[name]:
                part = Part(name)
                with writer.open_part(name, len(whole)) as add:
                    for result in results:
                        _record(result, part, hashes, add)
                        done += 1
                        progress(done, sum(counts.values()))
                        if writer.is_full(part):
                            break
                prepared.append(part)
                whole.append(part)
                start += part.read
    written = {name: sum(part.written for part in prepared.parts if part.array == name) for name in sets}
    bad = tuple(dict.fromkeys(sentence for part in prepared.parts for sentence in part.bad))
    for name in sets:
        if not written[name]:
            prepared.forget()
            first = next(sentence for part in prepared.parts if part.array == name for sentence in part.bad)
            of = f" for {name}" if len(sets) > 1 else ""
            raise LimnerError(f"None of the {counts[name]} pictures{of} could be used; the first: {first}")
    return Summary(options.out, written, sum(len(part.near) for part in prepared.parts), bad)


def _record(result: _Result, part: Part, hashes: Hashes, add: parts.Add) -> None:
    part.read += 1
    if result.error:
        part.bad.append(result.error)
    elif not hashes.take(result.hash):
        part.near.append(result.key)
    else:
        part.taken[result.name] = [result.key, f"{result.hash:016x}"]
        for k, data in enumerate(result.files):
            add(result.name if len(result.files) == 1 else f"{result.name}-{k}", data)
        part.written += len(result.files)


def _in_order(work: Callable[[_Item], _Result], items: Iterable[_Item], workers: int | None) -> Generator[_Result, None, None]:
    """`work` over all items in threads, of which the results do not depend."""
    threads = workers or os.cpu_count() or 1
    pool = ThreadPoolExecutor(threads)
    try:
        yield from in_order(pool, work, ((item,) for item in items), ahead=2 * threads)
    finally:
        pool.shutdown(cancel_futures=True)


def _work(item: _Item, options: Options, writer: Writer) -> _Result:
    place, (source, n) = item
    key = Path(source.path.name, source.key(n)).as_posix() if source.kind == "folder" else source.key(n)
    result = _Result(without_suffix(source.key(n)) if writer.named else f"{place:07d}", key)
    try:
        photo = Image.fromarray(source[n])
    except LimnerError as error:
        return replace(result, error=str(error))
    squares = cut(photo, options.size, options.crops, np.random.default_rng((options.seed, place)))
    try:
        return replace(result, hash=difference_hash(photo), files=tuple(writer.encode(square, options.size) for square in squares))
    except LimnerError as error:
        return replace(result, error=f"{key} cannot be used: {error}")


def open_sets(paths: Mapping[str, Sequence[Path]], options: Options) -> dict[str, list[Source]]:
    require(options.size >= 1, f"A `size` of {options.size} is not possible: give a number of pixels.")
    require(options.crops >= 0, f"A `crops` of {options.crops} is not possible: give a number of squares.")
    require(-1 <= options.distance <= 64, f"A `distance` of {options.distance} is not possible: give a number of bits up to 64, or -1.")
    require(options.seed >= 0, f"A `seed` of {options.seed} is not possible: give 0 or a number above.")
    require(options.workers is None or options.workers >= 1, f"A `workers` of {options.workers} is not possible: give a number of threads.")
    out = options.out.resolve()
    for path in (path for named in paths.values() for path in named):
        if path.is_dir() and path.resolve() in (out, *out.parents):
            raise LimnerError(f"{options.out} is in {path}, where it would be taken for more pictures: name an `out` outside.")
    return {
        name: [open_source(path, domain="" if name == "images" else name, every=options.every) for path in named]
        for name, named in paths.items()
    }


def header_of(kind: str, sets: Mapping[str, list[Source]], options: Options) -> dict[str, Any]:
    """What decides about the result, and so must be the same where a run goes on."""
    listing = hashlib.sha256()
    for sources in sets.values():
        for source in sources:
            for n in range(len(source)):
                listing.update(source.key(n).encode("utf-8", "surrogateescape") + b"\n")
    asked = {name: value for name, value in asdict(options).items() if name not in ("out", "workers")}
    names = {name: [source.path.resolve().name for source in sources] for name, sources in sets.items()}
    return {"prepare": kind, **asked, "sources": names, "pictures": listing.hexdigest()}
