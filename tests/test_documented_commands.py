"""Every command in the README and the documents is one that the command line takes: parsed, not run."""

import importlib
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from cyclopts import App, CycloptsError, MissingArgumentError

from limner.cli import application, main, train

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
ENDS = {"|", ">", ">>", "&&", ";", "&"}
STANDS_FOR = {"METHOD": "fast-style", "...": None, "$what": None}

Parse = Callable[[Sequence[str]], None]


def commands(page: str) -> Iterator[tuple[str, bool]]:
    """What a page gives to be typed, and whether that is a whole command: those in blocks are, those in a sentence may leave out a part."""
    for line in re.findall(r"^(?: {4}|\t)(.*\blimner .*)$", page, re.MULTILINE):
        yield line, "..." not in line
    for block in re.findall(r"^```(?:sh|bash|shell|console)?\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        yield from ((line, "..." not in line) for line in block.splitlines() if re.match(r"(\$ )?limner ", line))
    yield from ((code, False) for code in re.findall(r"`([^`\n]*\blimner [^`\n]+)`", page))


def words_of(line: str) -> list[str] | None:
    """The words after `limner`, up to where the shell goes on with something else; None where no program is called."""
    words = shlex.split(line, comments=True)
    if "limner" not in words:
        return None
    start = words.index("limner")
    if start and words[start - 1] not in ("$", "|", "-m"):
        return None
    rest = words[start + 1 :]
    end = next((i for i, word in enumerate(rest) if word in ENDS), len(rest))
    return [word for each in rest[:end] if (word := STANDS_FOR.get(each, each)) is not None]


@pytest.fixture
def parse(monkeypatch: pytest.MonkeyPatch) -> Parse:
    """Parses the words of a command as ``limner`` does, and runs nothing. Raises CycloptsError for a wrong one."""
    monkeypatch.chdir(ROOT)
    run = application.call

    def call(app: App, words: Sequence[str]) -> int:
        app.parse_args(list(words), exit_on_error=False, print_error=False)
        return 0

    for name in main.COMMANDS:
        monkeypatch.setattr(importlib.import_module(f"limner.cli.{name}"), "call", call)
    monkeypatch.setattr(train, "_resume", lambda folder: 0)

    def parse(words: Sequence[str]) -> None:
        run(main.app, words)

    return parse


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_of_a_page_parse(page: Path, parse: Parse) -> None:
    wrong = []
    for line, whole in commands(page.read_text(encoding="utf-8")):
        words = words_of(line)
        try:
            if words is not None:
                parse(words)
        except MissingArgumentError as error:
            if whole:
                wrong.append(f"{line}: {error}")
        except CycloptsError as error:
            wrong.append(f"{line}: {error}")
    assert wrong == []


def test_commands_are_found() -> None:
    found = [words for page in PAGES for line, _ in commands(page.read_text(encoding="utf-8")) if (words := words_of(line))]
    assert {words[0] for words in found} >= set(main.COMMANDS)
    assert ["apply", "-", "-o", "-"] in found
    assert any(words[:2] == ["train", "fast-style"] and "--photos" in words for words in found)


@pytest.mark.parametrize(
    "line",
    [
        "limner apply photo.jpg --engine ray",
        "limner apply photo.jpg --engine=local",
        "limner apply holiday/*.jpg -o out/ -s starry-night --keep-colors --strength 0.5",
        "limner sheet photo.jpg -s ink -s comic -o two.png",
        "limner train --preset hand fast-style --style-image a.jpg --photos p/ --out o/",
    ],
)
def test_flags_of_older_versions_are_taken(line: str, parse: Parse) -> None:
    words = words_of(line)
    assert words
    parse(words)


@pytest.mark.parametrize(
    "line",
    [
        "limner apply photo.jpg --renamed 3",
        "limner sheet photo.jpg --columns 3",
        "limner prepare crops photos/ -o x --renamed 3",
        "limner train fast-style --style-image a.jpg --photos p/ --out o/ --renamed 3",
        "limner paint a.jpg b.jpg --renamed 3",
        "limner renamed",
    ],
)
def test_a_renamed_flag_is_found(line: str, parse: Parse) -> None:
    words = words_of(line)
    assert words
    with pytest.raises(CycloptsError):
        parse(words)
