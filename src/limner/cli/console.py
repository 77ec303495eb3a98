"""What the commands say, and where."""

import io
import os
import re
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.errors import LimnerError

if TYPE_CHECKING:
    import logging


# Of names and titles, what a terminal would take for orders: control characters, and those that turn the direction of writing.
_ORDERS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def harmless(text: str) -> str:
    """``text`` in one line, with what would steer a terminal as ``\\x1b``."""
    return _ORDERS.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def as_flags(sentence: str) -> str:
    """A sentence of the library, in which options have their Python names, with the flags of the command line: `max_size`, --max-size."""
    return re.sub(r"`([a-z][a-z0-9_]*)`", lambda found: "--" + found[1].replace("_", "-"), sentence)


def say(text: str) -> None:
    """A line of results."""
    try:
        print(harmless(text))
    except BrokenPipeError:
        raise
    except OSError as error:
        raise LimnerError(f"The output cannot be written ({error.strerror}): check what it is led to, and free space.") from error


def complain(sentence: str) -> None:
    with suppress(OSError):  # there is no other place to say that nothing can be said
        print(f"limner: {harmless(as_flags(sentence))}", file=sys.stderr)


def prepare_streams() -> None:
    """Standard streams that can be used whatever the surroundings are: closed, in another encoding, of no width."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # closed: the next file to be opened would take its place, and get what libraries print
            os.open(os.devnull, os.O_RDWR)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 (for as long as the program lives)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file's name that the terminal cannot show ends nothing
    for name, least in (("COLUMNS", 20), ("LINES", 5)):
        value = os.environ.get(name, "")
        if value and not (value.isascii() and value.isdigit() and least <= int(value) <= 10_000):
            del os.environ[name]  # Rich would fold its help to no width, for ever
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # libraries', about odd files: we have a sentence of our own


def log_to_stderr() -> None:
    import logging

    from rich.logging import RichHandler

    from limner.progress import console

    plain: dict[str, Any] = {"show_time": True, "show_level": False, "show_path": False, "markup": False, "highlighter": None}
    logger = logging.getLogger("limner")
    logger.setLevel(logging.INFO)
    handler = RichHandler(console=console(), **plain)
    handler.addFilter(_make_harmless)
    logger.handlers = [handler]


def _make_harmless(record: "logging.LogRecord") -> bool:
    record.msg, record.args = "\n".join(map(harmless, as_flags(record.getMessage()).split("\n"))), ()
    return True
