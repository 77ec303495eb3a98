"""Files that appear whole or not at all."""

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from limner.errors import LimnerError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A place beside ``path`` to write to; at the end it takes ``path``'s name at one stroke. What fails leaves ``path`` as it was.

    Missing folders are made. Raises ``LimnerError`` where the disk refuses.
    """
    beside = path.with_name(f".{secrets.token_hex(8)}.tmp")  # hidden, short, and no name that a search for pictures would list
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise LimnerError(f"{path} is a folder: give the name of a file to write.")
        yield beside
        beside.replace(path)
    except OSError as error:
        reason = error.strerror or error
        raise LimnerError(f"{path} cannot be written ({reason}): choose another place, or check access rights and free space.") from error
    finally:
        with suppress(OSError):  # the folder may not be there, and what was to be told is told
            beside.unlink(missing_ok=True)


def leftovers(folder: Path) -> list[Path]:
    """What programs that were killed inside ``replacing`` have left in ``folder``. Only for a folder that nobody else is writing to."""
    return [path for path in folder.glob(".*.tmp") if re.fullmatch(r"\.[0-9a-f]{16}\.tmp", path.name)]
