"""The command line. Nothing heavy is imported before it is known what is wanted."""

import importlib
import os
import sys
from contextlib import closing, suppress
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter

from limner import extras
from limner.batch.options import Options
from limner.cli.application import SHORT_STYLE, annotate, call, renamed
from limner.cli.console import complain, prepare_streams, say
from limner.errors import LimnerError, require
from limner.gallery.bundled import Tier
from limner.version import __version__

app = App(
    name="limner",
    help="Turns photographs into paintings, and trains new styles.",
    version=__version__,
    help_format="markdown",
    default_parameter=Parameter(negative=(), consume_multiple=True),
)
LATER = {
    "sheet": "Lay photographs and what every style makes of them side by side on one sheet.",
    "prepare": "Make pictures ready for training: as small files, tar shards or one .npz.",
    "paint": "Paint a photograph in the style of any painting, slowly and well.",
    "quantize": "Write the int8 form of a style file, faster on CPUs.",
    "serve": "Serve a page to paint photographs on, and an API to build on.",
    "train": "Train a style of your own: `limner train --help` lists the methods.",
}
"""Commands with modules of their own, imported when they are asked for: their options bring NumPy, Pillow or torch along."""

PIPED = "\0"
"""Stands for - while words are parsed, where it would be an option without a name. No word can be it: the system ends words with it."""

RENAMED = {"--engine": "--executor"}
"""Flags that had another name in a version before; it is still taken."""

annotate(Options, style=SHORT_STYLE)
Flat = Annotated[Options, Parameter(name="*")]


@app.command
def apply(inputs: list[str], *, out: Annotated[str | None, Parameter(alias="-o")] = None, options: Flat = Options()) -> int:  # noqa: B008 (frozen)
    """Paint photographs with a style. A command that was ended goes on when it is given again.

    Parameters
    ----------
    inputs
        Pictures, folders of pictures (searched at any depth), or patterns such as 'photos/**/*.jpg'; - is a picture from standard input.
    out
        Where to write: a file for a single picture, else a folder; - is standard output. By default beside the photograph, as
        photo.storybook.jpg.
    """
    from limner import progress
    from limner.batch import opening

    if PIPED in (*inputs, out):
        return _pipe(inputs, out, options)
    work = opening.open_batch(inputs, out, options, complain)
    several = len(work.jobs) > 1
    count = {"painted": 0, "skipped": 0, "failed": 0}
    errors = []
    lost: dict[str, list[str]] = {}
    with (
        progress.bar(len(work), "pictures", shown=several) as advance,
        progress.percent(shown=not several) as work.watch,
        closing(iter(work)) as results,
    ):
        try:
            for result in results:
                count[result.outcome] += 1
                if result.outcome != "skipped":
                    advance()
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


@app.command
def styles(name: str = "", *, tier: Tier = "standard", names: bool = False) -> int:
    """List the bundled styles and their tiers, or show one style's card.

    Parameters
    ----------
    name
        A bundled style, or a style file.
    tier
        The tier whose card to show.
    names
        Print the names alone, for scripts.
    """
    from limner.gallery import bundled, card

    if names:
        for each in bundled.names():
            say(each)
    elif name:
        _show_card(card.read(bundled.find(name, tier)))
    else:
        table = [(style.name, style.title, ", ".join(bundled.tiers(style.name)), style.description) for style in bundled.cards()]
        widths = [max(len(row[column]) for row in table) for column in range(3)]
        for row in table:
            say("  ".join([*(f"{entry:{width}}" for entry, width in zip(row[:3], widths, strict=True)), row[3]]))
    return 0


def _show_card(card: Any) -> None:
    say(f"{card.title} ({card.name})")
    if card.description:
        say(card.description)
    facts = {
        "tier": card.tier,
        "method": card.method.replace("_", "-"),
        "teacher": card.teacher,
        "int8": card.quantized,
        "licence": card.licence,
        "authors": card.authors,
        "trained on": card.trained_on,
        "steps": f"{card.steps:,}",
        "recipe": card.recipe,
        "parameters": f"{card.parameters:,}",
        "best short side": f"{card.best_short_side} px",
        "working size": f"{card.working_size} px" if card.working_size else "",
        "receptive field": f"{card.receptive_field} px",
        "weights sha256": card.weights_sha256,
        "limner": card.limner_version,
    }
    for name, value in facts.items():
        for number, line in enumerate([value] if isinstance(value, str) else value):
            if line:
                say(f"  {'' if number else name:16}{line}")


@app.command
def export(run: Path, *, out: Annotated[Path, Parameter(alias="-o")], checkpoint: Literal["best", "newest"] = "best") -> int:
    """Write the style file of a training run.

    Parameters
    ----------
    run
        The run directory.
    out
        The style file to write, e.g. my-style.onnx.
    checkpoint
        The one with the best held-out number, or the newest.
    """
    extras.need("train", "Training")
    from limner.training import trainer

    say(str(trainer.write_style(run, out, which=checkpoint)))
    return 0


def main(words: list[str] | None = None) -> None:
    """The console script: exit code 0, 2 after bad input (told in one sentence each), 130 after Ctrl-C."""
    words = sys.argv[1:] if words is None else words
    prepare_streams()
    try:
        code = _dispatch(words)
        sys.stdout.flush()
        sys.exit(code)
    except LimnerError as error:
        complain(str(error))
    except CycloptsError as error:
        complain(" ".join(str(error).split()) + " (`limner --help` tells more.)")
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read the output (`| head`) has gone; Python must not try to write the rest of it at exit.
        _forget_output()
    except OSError as error:  # a disk that is full, a path that no system call takes, wherever it was not foreseen
        complain(f"{error.filename or 'The output'}: {error.strerror or error}. Check the name, access rights and free space.")
        _forget_output()
    sys.exit(2)


def _forget_output() -> None:
    with suppress(OSError, ValueError):  # no file of the system's own, as in tests
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _dispatch(words: list[str]) -> int:
    if words[:1] and words[0] in LATER:
        return int(importlib.import_module(f"limner.cli.{words[0]}").run(words[1:]))
    return call(app, [PIPED if word == "-" else word for word in renamed(words, RENAMED)])


def _listed() -> int:
    """Only for the list of commands: ``_dispatch`` takes these before it comes here."""
    return 0


for _name, _help in LATER.items():
    app.command(_listed, name=_name, help=_help)
