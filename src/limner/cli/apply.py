"""`limner apply`."""

import sys
from contextlib import closing
from typing import Annotated

from cyclopts import Parameter

from limner.batch.options import Options
from limner.cli.application import SHORT_STYLE, Words, annotate, application, call, renamed
from limner.cli.console import complain, say
from limner.errors import require

PIPED = "\0"
"""Stands for - while words are parsed, where it would be an option without a name. No word can be it: the system ends words with it."""

RENAMED = {"--engine": "--executor"}
"""Flags that had another name in a version before; it is still taken."""

app = application("limner apply")
annotate(Options, style=SHORT_STYLE, film=Parameter(name="*", group="Films and animated pictures"))
Flat = Annotated[Options, Parameter(name="*")]


def run(*words: Words) -> int:
    return call(app, [PIPED if word == "-" else word for word in renamed(words, RENAMED)])


@app.default
def command(inputs: list[str], *, out: Annotated[str | None, Parameter(alias="-o")] = None, options: Flat = Options()) -> int:  # noqa: B008 (frozen)
    """Paint photographs and films with a style. A command that was ended goes on when it is given again.

    Parameters
    ----------
    inputs
        Pictures, films, folders of them (searched at any depth), or patterns such as 'photos/**/*.jpg'; - is a picture from standard
        input.
    out
        Where to write: a file for a single picture or film, else a folder; - is standard output. By default beside the photograph, as
        photo.storybook.jpg. Films become .mp4, .mkv, .mov, .webm, animated .gif, .webp or .png, or a folder name.frames of single pictures.
    """
    from limner.batch import opening
    from limner.progress import Bar

    if PIPED in (*inputs, out):
        return _pipe(inputs, out, options)
    work = opening.open_batch(inputs, out, options, complain)
    several = len(work.jobs) > 1
    count = {"painted": 0, "skipped": 0, "failed": 0}
    errors = []
    lost: dict[str, list[str]] = {}
    with (
        Bar("pictures", len(work), shown=several) as pictures,
        Bar("%", shown=not several) as parts,  # it comes with the first part: most pictures are painted in one piece
        closing(iter(work)) as results,
    ):
        work.watch = lambda part: pictures.show(sum(count.values()) - count["skipped"] + part) if several else parts.show(100 * part, 100)
        try:
            for result in results:
                count[result.outcome] += 1
                if result.outcome != "skipped":
                    pictures.advance()
                for what in result.lost:
                    lost.setdefault(what, []).append(str(result.job.source))
                if result.error is None:
                    say(str(result.job.target))
                else:
                    errors.append(str(result.error))
                    complain(errors[-1])
        except KeyboardInterrupt:
            results.close()
            complain("stopped; what is painted is kept, and the same command goes on.")
            return 130
    for what, names in lost.items():
        more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
        complain(f"not in the painting{'s' if len(names) > 1 else ''} of {', '.join(names[:3])}{more}: {what}.")
    if several:
        complain(", ".join(f"{number:,} {outcome}" for outcome, number in count.items()) + (":" if errors else "."))
        for sentence in errors:
            complain(sentence)
    return 2 if errors else 0


def _pipe(inputs: list[str], out: str | None, options: Options) -> int:
    from limner.batch import pipes

    inputs, out = ["-" if name == PIPED else name for name in inputs], "-" if out == PIPED else out
    require(len(inputs) == 1, "- is a single picture: name no other beside it.")
    require(out is not None, "Where to write is not known of a picture from a pipe: give -o a file, or - for standard output.")
    require(inputs[0] != "-" or not sys.stdin.isatty(), "Nothing is piped into standard input: cat photo.jpg | limner apply - -o -.")
    require(out != "-" or not sys.stdout.isatty(), "A terminal shows no pictures: lead standard output into a file, or give -o its name.")
    lost = pipes.paint(inputs[0], str(out), options, sys.stdin.buffer, sys.stdout.buffer, complain)
    for what in lost:
        complain(f"not in the painting: {what}.")
    if out != "-":
        say(str(out))
    return 0
