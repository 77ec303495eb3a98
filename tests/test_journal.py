"""Journals: what is read back, what a killed program costs, and what a full disk does."""

import errno
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from limner import journal, limits
from limner.errors import LimnerError
from limner.journal import Journal
from tests.conftest import Full

ENTRIES = [{"step": 1, "loss": 0.5}, {"name": "größer \udcff", "of": [1, None]}]


def filled(path: Path) -> bytes:
    with Journal(path) as file:
        for entry in ENTRIES:
            file.append(entry)
    return path.read_bytes()


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    data = filled(path)
    assert [json.loads(line) for line in journal.read(path)] == ENTRIES
    assert data.isascii()
    assert data == "".join(map(journal.line, ENTRIES)).encode()


def test_every_place_at_which_a_line_can_be_torn(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    whole = filled(path)
    first = len(journal.line(ENTRIES[0]))
    for cut in range(first, len(whole)):
        path.write_bytes(whole[:cut])
        assert journal.read(path) == [whole[: first - 1]]
        assert path.read_bytes() == whole[:cut]  # who only reads leaves it to its writer
        with Journal(path) as file:
            assert file.lines() == [whole[: first - 1]]
            file.append(ENTRIES[1])
        assert path.read_bytes() == whole


def test_a_new_one_is_empty(tmp_path: Path) -> None:
    with Journal(tmp_path / "a.jsonl") as file:
        assert file.lines() == []
    assert (tmp_path / "a.jsonl").read_bytes() == b""


def test_threads_append_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with Journal(path) as file, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: file.append({"n": n, "long": "x" * 5000}), range(200)))
    assert sorted(json.loads(line)["n"] for line in journal.read(path)) == list(range(200))


def test_a_full_disk_leaves_no_half_of_a_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    whole = filled(path)
    with Journal(path) as file:
        file._file = Full(file._file)  # type: ignore[assignment]
        with pytest.raises(OSError) as caught:
            file.append(ENTRIES[0])
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == whole


def test_one_of_endless_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jsonl"
    filled(path)
    monkeypatch.setattr(limits, "TABLE", 10)
    with pytest.raises(LimnerError, match="more than the 10 that"):
        journal.read(path)
