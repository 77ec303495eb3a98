"""The command line. Of each command it knows the name, what it is for, and where it lies: none is imported before it is asked for."""

import os
import sys
from contextlib import suppress

from cyclopts import App, CycloptsError

from limner.cli.application import call
from limner.cli.console import complain, prepare_streams
from limner.errors import LimnerError
from limner.version import __version__

COMMANDS = {
    "apply": "Paint photographs with a style. A command that was ended goes on when it is given again.",
    "styles": "List the bundled styles and their tiers, or show one style's card.",
    "export": "Write the style file of a training run.",
    "sheet": "Lay photographs and what every style makes of them side by side on one sheet.",
    "prepare": "Make pictures ready for training: as small files, tar shards or one .npz.",
    "paint": "Paint a photograph in the style of any painting, slowly and well.",
    "quantize": "Write the int8 form of a style file, faster on CPUs.",
    "serve": "Serve a page to paint photographs on, and an API to build on.",
    "live": "Paint what the camera sees, live, on a page of this machine.",
    "evaluate": "Measure paintings: how much a painted film flickers.",
    "train": "Train a style of your own: limner train --help lists the methods.",
}
"""Each lies in the module of its name, as ``run``, and reads its words itself: some look at them before they are parsed."""

NO_WORD = "\0"
"""The system ends words with it."""

# Plain text: to lay out Markdown takes as long as all the rest of `limner --help`.
app = App(name="limner", help="Turns photographs into paintings, and trains new styles.", version=__version__, help_format="plaintext")
for _name, _help in COMMANDS.items():
    app.command(f"limner.cli.{_name}:run", name=_name, help=_help, help_flags=(), version_flags=(), end_of_options_delimiter=NO_WORD)


def main(words: list[str] | None = None) -> None:
    """The console script: exit code 0, 2 after bad input (told in one sentence each), 130 after Ctrl-C."""
    words = sys.argv[1:] if words is None else words
    prepare_streams()
    try:
        code = call(app, words)
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
