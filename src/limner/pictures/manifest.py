"""The manifest: what in an output folder was made from what, with which style and options. One JSON line for each finished painting."""

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Protocol, TypeVar

from limner import journal
from limner.errors import LimnerError, require
from limner.journal import Journal
from limner.version import __version__

NAME = "limner-manifest.jsonl"

LOCK = ".limner-manifest.lock"
"""Held by the program that paints into the folder, and gone when it is done."""

Target = TypeVar("Target")


@dataclass(frozen=True)
class Entry:
    """One painting."""

    source: str
    """Where the photograph lay in what was named, such as `deep/photo.jpg`. Forward slashes, as in `target`."""
    size: int
    """Bytes of the photograph's file."""
    mtime_ns: int
    """When that file was changed last, in nanoseconds since 1970."""
    target: str
    """Where the painting lies, from the output folder on."""
    style: str
    """Name of the style."""
    weights: str
    """SHA-256 of its weights, from its card."""
    options: dict[str, Any]
    """The options that decide what the painting looks like."""
    limner: str = __version__
    """The version that painted it."""

    def line(self) -> str:
        return journal.line(asdict(self))

    def differences(self, new: "Entry", defaults: Mapping[str, Any]) -> list[str]:
        """In what ``new`` would be made in another way. An option that an older version did not have counts as ``defaults`` says."""
        before = {**defaults, **self.options}
        names = sorted(name for name in before.keys() | new.options.keys() if before.get(name) != new.options.get(name))
        found = [f"{name.replace('_', '-')} {before.get(name)}, not {new.options.get(name)}" for name in names]
        return found if self.weights == new.weights else ["other weights of the style", *found]


def parse(lines: Iterable[bytes], name: str) -> dict[str, Entry]:
    """Entries by target; of several for one the last counts. Raises ``LimnerError``, beginning with ``name``, for what is no manifest."""
    entries = {}
    known = {f.name for f in fields(Entry)}
    for number, line in enumerate(lines, 1):
        try:
            table = json.loads(line)
            entry = Entry(**{key: value for key, value in table.items() if key in known})
            if not _is_sound(entry):
                raise ValueError("a value is of another type")
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise LimnerError(f"{name} is damaged in line {number}: delete that line (its painting is then kept as it is).") from error
        entries[entry.target] = entry
    return entries


def _is_sound(entry: Entry) -> bool:
    texts = (entry.source, entry.target, entry.style, entry.weights, entry.limner)
    numbers = all(type(number) is int for number in (entry.size, entry.mtime_ns))
    return all(isinstance(text, str) for text in texts) and numbers and isinstance(entry.options, dict)


class AnyManifest(Protocol):
    """What a batch needs of a manifest, wherever it lies."""

    entries: dict[str, Entry]
    """By target."""

    def add(self, entry: Entry) -> None: ...

    def close(self) -> None: ...


class Manifest:
    """The manifest of a local folder, held by one program at a time. Threads may add to it.

    Raises ``LimnerError`` where the folder cannot be written to, another Limner is painting into it, or the manifest is damaged.
    """

    entries: dict[str, Entry]
    """By target."""

    def __init__(self, folder: Path, tell: Callable[[str], None] = lambda _: None) -> None:
        self.path = folder / NAME
        self._new_folder = not folder.exists()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            require(not self.path.exists() or self.path.is_file(), f"{self.path} is no ordinary file: name another `out`.")
            self._journal = Journal(self.path)
        except OSError as error:
            raise self._unwritable(error) from error
        from filelock import FileLock  # which loads asyncio: not where pictures are only read

        self._held = FileLock(folder / LOCK)
        try:
            self._hold(folder, tell)
            self.entries = parse(self._journal.lines(), str(self.path))
        except BaseException:
            self._let_go()
            self._journal.close()
            raise

    def add(self, entry: Entry) -> None:
        """Put an entry on record."""
        try:
            self._journal.append(asdict(entry))
        except OSError as error:
            raise self._unwritable(error) from error
        self.entries[entry.target] = entry

    def close(self) -> None:
        self._let_go()
        if not self.entries:  # nothing was painted: leave nothing behind
            with suppress(OSError):  # what is there is told, or nobody's loss
                self.path.unlink(missing_ok=True)
                if self._new_folder and not any(self.path.parent.iterdir()):
                    self.path.parent.rmdir()
        self._journal.close()

    def _hold(self, folder: Path, tell: Callable[[str], None]) -> None:
        from filelock import Timeout

        try:
            self._held.acquire(timeout=0)
        except Timeout as error:
            raise LimnerError(f"Another Limner is painting into {folder}: wait until it is done, or name another `out`.") from error
        except (OSError, NotImplementedError):  # network shares
            tell(f"{folder} lies on a disk without locks: let no other Limner paint into it meanwhile.")

    def _let_go(self) -> None:
        with suppress(OSError):  # Windows deletes no file that is open: it stays, and is empty
            if self._held.is_locked:
                Path(self._held.lock_file).unlink(missing_ok=True)
        self._held.release()

    def _unwritable(self, error: OSError) -> LimnerError:
        reason = error.strerror or error
        return LimnerError(f"{self.path} cannot be written ({reason}): name another `out`, or check access rights and free space.")


def missing(
    new: Mapping[Target, Entry],
    entries: Mapping[str, Entry],
    is_there: Callable[[Target], bool],
    defaults: Mapping[str, Any],
    tell: Callable[[str], None],
) -> set[Target]:
    """Of the paintings asked for (``new``) those that are still to be made; ``entries`` is what the manifest says.

    ``tell`` takes a remark where a painting is kept though it may not be what is asked for. Raises ``LimnerError`` where paintings are
    there that were made with other options or weights.
    """
    todo, others = set(), []
    for target, entry in new.items():
        before = entries.get(entry.target)
        if not is_there(target):
            todo.add(target)
        elif before is None:
            tell(f"{target} is there already; `overwrite` paints it again.")
        elif differences := before.differences(entry, defaults):
            others.append(f"{target} was painted with other options ({'; '.join(differences)})")
        elif (before.size, before.mtime_ns) != (entry.size, entry.mtime_ns):
            tell(f"{target} was painted before its photograph was changed; `overwrite` paints it again.")
    if others:
        more = f", and so were {len(others) - 1:,} more" if len(others) > 1 else ""
        raise LimnerError(f"{others[0]}{more}: name another `out`, or set `overwrite` to paint again.")
    return todo
