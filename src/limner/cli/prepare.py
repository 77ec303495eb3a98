"""`limner prepare` and its five commands."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from limner.cli.application import NO_DEFAULT, SHORT_OUT, Words, annotate, application, call
from limner.cli.console import complain, say
from limner.prepare import abstractions, edge_smoothed, resumable, squares
from limner.progress import Bar

HELP = """Make pictures ready for training, once: scaled down, cut to squares, without near-duplicates.

From any mix of folders, films, .tar shards and .npz files. A command that was ended goes on when it is given again.
"""

Paths = list[Path] | None
flat = Parameter(name="*")
app = application("limner prepare", HELP)
for each in (resumable.Options, edge_smoothed.EdgeOptions, abstractions.AbstractionOptions):
    annotate(each, out=SHORT_OUT, workers=NO_DEFAULT)


def run(*words: Words) -> int:
    return call(app, words)


@app.command
def crops(sources: list[Path], *, options: Annotated[squares.CropOptions, flat]) -> int:
    """Write pictures as small JPEG files into a folder.

    Parameters
    ----------
    sources
        Folders (searched at any depth), pictures, films, .tar shards, .npz files.
    """
    return _prepare(lambda progress: squares.crops(sources, options, progress))


@app.command
def shards(sources: list[Path], *, options: Annotated[squares.ShardOptions, flat]) -> int:
    """Write pictures as JPEG files into tar shards, for sets of many thousands (WebDataset's layout).

    Parameters
    ----------
    sources
        Folders (searched at any depth), pictures, films, .tar shards, .npz files.
    """
    return _prepare(lambda progress: squares.shards(sources, options, progress))


@app.command
def npz(sources: Paths = None, *, domain_a: Paths = None, domain_b: Paths = None, options: Annotated[resumable.Options, flat]) -> int:
    """Write pictures as equal squares into one compressed NumPy file, for small sets: an array `images`, or `a` and `b`.

    Parameters
    ----------
    sources
        Folders (searched at any depth), pictures, films, .tar shards, .npz files.
    domain_a
        Instead of these: the first of two domains.
    domain_b
        The second of two domains.
    """
    domains = {"domain_a": domain_a or (), "domain_b": domain_b or ()}
    return _prepare(lambda progress: squares.npz(sources or (), options, progress, **domains), f" of {options.size} x {options.size}")


@app.command(name="edges")
def edges(sources: list[Path], *, options: Annotated[edge_smoothed.EdgeOptions, flat]) -> int:
    """Write cartoons with their edges blurred, as PNG files into a folder: what `limner train cartoongan --edges` takes.

    Parameters
    ----------
    sources
        Folders (searched at any depth), pictures, films, .tar shards, .npz files.
    """
    return _prepare(lambda progress: edge_smoothed.edges(sources, options, progress))


@app.command(name="abstractions")
def abstracted(sources: list[Path], *, options: Annotated[abstractions.AbstractionOptions, flat]) -> int:
    """Write abstractions of photographs, as PNG files of their names into a folder: what `limner train` takes by --abstractions.

    Parameters
    ----------
    sources
        A folder (searched at any depth); or pictures, films, .tar shards, .npz files.
    """
    return _prepare(lambda progress: abstractions.abstractions(sources, options, progress))


def _prepare(work: Callable[[resumable.Progress], resumable.Summary], of_size: str = "") -> int:
    """Do it under a progress bar, and say what became of the pictures."""
    try:
        with Bar("pictures") as bar:
            summary = work(bar.show)
    except KeyboardInterrupt:
        complain("stopped; go on with the same command.")
        return 130
    for sentence in summary.bad:
        complain(sentence)
    places = {name: "" if name == "images" else f" in {name}" for name in summary.written}
    written = " and ".join(f"{count:,} pictures{of_size}{places[name]}" for name, count in summary.written.items())
    say(f"{summary.out}: {written} written, {summary.near:,} near-duplicates dropped, {len(summary.bad):,} could not be used.")
    return 0
