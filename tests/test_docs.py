"""The documents say what the program does. `LIMNER_WRITE_DOCS=1 pytest tests/test_docs.py` brings docs/command-line.md up to date."""

import os
import re
from pathlib import Path

import pytest

from limner.cli import main
from limner.methods import contract

ROOT = Path(__file__).parent.parent
PREPARE = tuple(("prepare", *kind) for kind in ((), ("crops",), ("shards",), ("npz",), ("edges",), ("abstractions",)))
TRAIN = tuple(("train", contract.shown(name)) for name in contract.names())
COMMANDS = (
    ("apply",),
    ("sheet",),
    ("paint",),
    ("styles",),
    *PREPARE,
    ("train",),
    *TRAIN,
    ("export",),
    ("quantize",),
    ("evaluate", "video"),
    ("serve",),
)


def command_line_page(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", "100")
    codes = "Exit codes: 0 done, 2 something was bad (one sentence on stderr says what), 130 after Ctrl-C."
    parts = [f"# The command line\n\nWhat `--help` says, command by command. {codes}\n"]
    for command in COMMANDS:
        with pytest.raises(SystemExit):
            main.main([*command, "--help"])
        text = "\n".join(line.rstrip() for line in capsys.readouterr().out.strip().splitlines())
        parts.append(f"## limner {' '.join(command)}\n\n```text\n{text}\n```\n")
    return "\n".join(parts)


def test_command_line_page_is_what_help_says(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    page = ROOT / "docs" / "command-line.md"
    expected = command_line_page(capsys, monkeypatch)
    if os.environ.get("LIMNER_WRITE_DOCS"):
        page.write_text(expected, encoding="utf-8")
    assert page.read_text(encoding="utf-8") == expected


def test_readme_tree_is_the_tree() -> None:
    listed = set(re.findall(r"^  (\S+?)/? {2,}\S", _tree_in_readme(), re.MULTILINE))
    source = ROOT / "src" / "limner"
    there = {p.name for p in source.iterdir() if p.name not in ("__pycache__", "py.typed")}
    assert listed == there


def test_links_lead_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "examples" / "README.md"]:
        for target in re.findall(r"\]\(([^)#]+)\)|(?:src|href)=\"([^\"]+)\"", page.read_text(encoding="utf-8")):
            link = target[0] or target[1]
            if not link.startswith("http"):
                assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_examples_in_readme_name_bundled_styles() -> None:
    from limner.gallery import bundled

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for style in bundled.names():
        assert style in text
    for style in re.findall(r"(?:-s|--style) ([a-z-]+)(?![a-z./-])", text):
        assert style in bundled.names(), style


def _tree_in_readme() -> str:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    match = re.search(r"src/limner/\n(.*?)\n```", text, re.DOTALL)
    assert match
    return match[1]
