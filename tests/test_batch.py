"""Folders: what is painted, what is skipped, what the manifest says, and what is left when a run is killed."""

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from limner import LimnerError
from limner.batch import pipeline, planning
from limner.pictures import manifest
from tests.conftest import make_photo
from tests.test_cli import Call, limner, tree

__all__ = ["limner"]  # a fixture


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four small photographs in a tree."""
    place = tmp_path / "in"
    for i, name in enumerate(("a.jpg", "b.png", "deep/c.jpg", "deep/er/d.webp")):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(make_photo(40 + 4 * i, 30, seed=i)).save(place / name)
    return place


def entries(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / manifest.NAME).read_text().splitlines()]


def changed(out: Path) -> dict[str, int]:
    return {name: (out / name).stat().st_mtime_ns for name in tree(out) if name != manifest.NAME}


# ---------------------------------------------------------------------------------------------------------------- plan


@pytest.mark.parametrize(
    ("pattern", "painted"),
    [
        ("**/*.jpg", ["a.tiny.jpg", "deep/c.tiny.jpg"]),
        ("*.jpg", ["a.tiny.jpg"]),
        ("**/?.*", ["a.tiny.jpg", "b.tiny.png", "deep/c.tiny.jpg", "deep/er/d.tiny.webp"]),
        ("d*", ["deep/c.tiny.jpg", "deep/er/d.tiny.webp"]),
        ("d*/*/*", ["deep/er/d.tiny.webp"]),
    ],
)
def test_patterns_keep_the_tree(folder: Path, pattern: str, painted: list[str]) -> None:
    (folder / "deep" / ".hidden").mkdir()
    for name in (".x.jpg", "deep/.hidden/y.jpg"):
        Image.new("RGB", (8, 8)).save(folder / name)
    (folder / "deep" / "l.txt").write_text("a letter")
    jobs = planning.plan([folder / pattern], folder.parent / "out", "tiny")
    assert [job.target.relative_to(folder.parent / "out").as_posix() for job in jobs] == painted


@pytest.mark.parametrize("named", ["in", "in/**/*", "in/*/"])
def test_where_the_output_may_lie(tmp_path: Path, folder: Path, named: str) -> None:
    expected = {job.place for job in planning.plan([tmp_path / named], None, "tiny")}
    assert expected
    for out in (tmp_path, folder, folder / "deep", folder / "painted"):
        painted = planning.plan([tmp_path / named], out, "tiny")
        for job in painted:
            job.target.parent.mkdir(parents=True, exist_ok=True)
            job.target.write_bytes(b"a painting")
        assert {job.place for job in painted} | {p for p in expected if out == folder / "deep" and p.startswith("deep")} == expected
        assert planning.plan([tmp_path / named], out, "tiny") == painted
        for job in painted:
            job.target.unlink()


def test_a_file_with_a_wildcard_in_its_name_is_that_file(tmp_path: Path) -> None:
    path = tmp_path / "what[1].jpg"
    Image.new("RGB", (8, 8)).save(path)
    assert [job.source for job in planning.plan([path], None, "tiny")] == [path]


@pytest.mark.parametrize("pattern", ["*.tif", "none/**/*.jpg", "**.jpg/x**y/*"])
def test_a_pattern_without_pictures_is_refused(limner: Call, folder: Path, style_file: Path, pattern: str) -> None:
    code, out, err = limner("apply", folder / pattern, "-s", style_file, "-o", folder.parent / "out")
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert pattern in err
    assert not (folder.parent / "out").exists()


def test_format(limner: Call, folder: Path, style_file: Path) -> None:
    out = folder.parent / "out"
    assert limner("apply", folder, "-s", style_file, "-o", out, "--format", "webp")[0] == 0
    painted = sorted(out.rglob("*.webp"))
    assert len(painted) == 4
    for path in painted:
        with Image.open(path) as picture:
            assert picture.format == "WEBP"
    code, _, err = limner("apply", folder / "a.jpg", "-s", style_file, "-o", out / "a.png", "--format", "jpg")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "a.png" in err


# ---------------------------------------------------------------------------------------------------------------- manifest


def test_what_is_done_is_skipped_without_a_word(limner: Call, folder: Path, style_file: Path) -> None:
    out = folder.parent / "out"
    words = ("apply", folder, "-s", style_file, "-o", out, "--strength", 0.5)
    code, first, err = limner(*words)
    assert (code, err) == (0, "limner: 4 painted, 0 skipped, 0 failed.\n")
    made = entries(out)
    assert {entry["source"]: entry["target"] for entry in made} == {
        "a.jpg": "a.tiny.jpg",
        "b.png": "b.tiny.png",
        "deep/c.jpg": "deep/c.tiny.jpg",
        "deep/er/d.webp": "deep/er/d.tiny.webp",
    }
    assert made[0]["options"]["strength"] == 0.5
    assert len(made[0]["weights"]) == 64
    before = changed(out)
    assert limner(*words) == (0, first, "limner: 0 painted, 4 skipped, 0 failed.\n")
    (out / "deep" / "c.tiny.jpg").unlink()
    assert limner(*words) == (0, first, "limner: 1 painted, 3 skipped, 0 failed.\n")
    assert {name for name, when in changed(out).items() if before[name] != when} == {"deep/c.tiny.jpg"}
    assert limner(*words, "--overwrite")[2] == "limner: 4 painted, 0 skipped, 0 failed.\n"


def test_other_options_and_other_weights_need_overwrite(limner: Call, folder: Path, style_file: Path) -> None:
    out = folder.parent / "out"
    words = ("apply", folder, "-s", style_file, "-o", out)
    assert limner(*words)[0] == 0
    before = tree(out)
    code, told, err = limner(*words, "--strength", 0.5, "--keep-colors")
    assert (code, told, len(err.splitlines())) == (2, "", 1)
    for part in ("keep-colors False, not True", "strength 1.0, not 0.5", "3 more", "--overwrite"):
        assert part in err
    other = [{**entry, "weights": "0" * 64} for entry in entries(out)]
    (out / manifest.NAME).write_text("".join(json.dumps(entry) + "\n" for entry in other))
    code, _, err = limner(*words)
    assert code == 2
    assert "other weights" in err
    assert {**tree(out), manifest.NAME: b""} == {**before, manifest.NAME: b""}
    assert limner(*words, "--strength", 0.5, "--overwrite")[0] == 0
    assert limner(*words, "--strength", 0.5)[2] == "limner: 0 painted, 4 skipped, 0 failed.\n"


def test_an_option_that_an_older_version_did_not_have_counts_as_its_default(limner: Call, folder: Path, style_file: Path) -> None:
    out = folder.parent / "out"
    words = ("apply", folder, "-s", style_file, "-o", out)
    assert limner(*words)[0] == 0
    for entry in (old := entries(out)):
        del entry["options"]["keep_colors"]
    (out / manifest.NAME).write_text("".join(json.dumps(entry) + "\n" for entry in old))
    assert limner(*words)[2] == "limner: 0 painted, 4 skipped, 0 failed.\n"
    assert limner(*words, "--keep-colors")[0] == 2


def test_what_was_not_painted_or_has_changed_is_kept_and_told(limner: Call, folder: Path, style_file: Path) -> None:
    out = folder.parent / "out"
    (out / "deep").mkdir(parents=True)
    (out / "a.tiny.jpg").write_bytes(b"precious")
    words = ("apply", folder, "-s", style_file, "-o", out)
    assert limner(*words)[0] == 0
    Image.fromarray(make_photo(30, 30, seed=9)).save(folder / "b.png")
    before = tree(out)
    code, told, err = limner(*words)
    assert (code, len(told.splitlines())) == (0, 4)
    remarks = err.splitlines()
    assert len(remarks) == 3
    assert "a.tiny.jpg is there already" in remarks[0]
    assert "b.tiny.png was painted before its photograph was changed" in remarks[1]
    assert tree(out) == before


def test_no_manifest_beside_photographs(limner: Call, folder: Path, style_file: Path) -> None:
    assert limner("apply", folder, "-s", style_file)[0] == 0
    assert not list(folder.rglob("*.jsonl"))
    assert len(tree(folder)) == 8


def test_a_torn_line_is_dropped_and_a_damaged_one_named(limner: Call, folder: Path, style_file: Path) -> None:
    out = folder.parent / "out"
    words = ("apply", folder, "-s", style_file, "-o", out)
    assert limner(*words)[0] == 0
    path = out / manifest.NAME
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:40])
    assert limner(*words)[2] == "limner: 0 painted, 4 skipped, 0 failed.\n"
    assert path.read_bytes() == whole
    path.write_bytes(b"{}\n" + whole)
    code, _, err = limner(*words)
    assert code == 2
    assert f"{path} is damaged in line 1" in err


def test_half_written_files_of_a_killed_run_are_cleared(limner: Call, folder: Path, style_file: Path) -> None:
    out = folder.parent / "out"
    words = ("apply", folder, "-s", style_file, "-o", out)
    assert limner(*words)[0] == 0
    before = tree(out)
    for place in (out, out / "deep" / "er"):
        (place / ".0123456789abcdef.tmp").write_bytes(b"half a picture")
    (out / ".mine.tmp").write_bytes(b"precious")
    assert limner(*words)[0] == 0
    assert tree(out) == {**before, ".mine.tmp": b"precious"}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows needs no lock")
def test_two_programs_never_paint_into_one_folder(limner: Call, folder: Path, style_file: Path) -> None:
    out = folder.parent / "out"
    held = manifest.Manifest(out)
    code, _, err = limner("apply", folder, "-s", style_file, "-o", out)
    assert (code, len(err.splitlines())) == (2, 1)
    assert "Another Limner" in err
    held.close()
    assert not out.exists()
    assert limner("apply", folder, "-s", style_file, "-o", out)[0] == 0


# ---------------------------------------------------------------------------------------------------------------- pipeline


def jobs(count: int) -> list[planning.Job]:
    return [planning.Job(Path(f"{i}.jpg"), Path(f"{i}.png"), f"{i}.jpg") for i in range(count)]


@pytest.mark.parametrize("slow", ["read", "paint", "write"])
def test_results_come_in_order_and_few_pictures_wait_in_memory(slow: str) -> None:
    alive = most = 0
    lock = threading.Lock()

    def count(by: int) -> None:
        nonlocal alive, most
        with lock:
            alive += by
            most = max(most, alive)

    def wait(step: str, job: planning.Job) -> None:
        time.sleep(0.004 * (1 + int(job.source.stem) % 3) if step == slow else 0)

    def read(job: planning.Job) -> int:
        count(1)
        wait("read", job)
        return int(job.source.stem)

    def paint(job: planning.Job, photo: int) -> int:
        wait("paint", job)
        return -photo

    def write(job: planning.Job, painted: int) -> None:
        wait("write", job)
        assert painted == -int(job.source.stem)
        count(-1)

    results = list(pipeline.pipeline(jobs(60), read, paint, write))
    assert [result.job.place for result in results] == [job.place for job in jobs(60)]
    assert {result.outcome for result in results} == {"painted"}
    assert most <= 2 * (min(4, os.cpu_count() or 1) + 1) + 1


@pytest.mark.parametrize("step", ["read", "paint", "write"])
@pytest.mark.parametrize("error", [LimnerError("2.jpg is bad."), OSError("2.jpg is gone"), MemoryError()])
def test_what_fails_fails_alone(step: str, error: Exception) -> None:
    def at(name: str) -> Callable[..., None]:
        def work(job: planning.Job, *_: object) -> None:
            if name == step and job.place == "2.jpg":
                raise error

        return work

    results = list(pipeline.pipeline(jobs(5), at("read"), at("paint"), at("write")))
    assert [result.outcome for result in results] == ["painted", "painted", "failed", "painted", "painted"]
    assert "2.jpg" in str(results[2].error)


def test_what_is_painted_when_it_is_ended_is_still_written() -> None:
    written = []

    def paint(job: planning.Job, photo: None) -> None:
        if job.place == "3.jpg":
            raise KeyboardInterrupt

    def write(job: planning.Job, painted: None) -> None:
        time.sleep(0.05)
        written.append(job.place)

    with pytest.raises(KeyboardInterrupt):
        list(pipeline.pipeline(jobs(9), lambda job: None, paint, write))
    assert sorted(written) == ["0.jpg", "1.jpg", "2.jpg"]


def test_a_picture_is_the_same_alone_and_in_a_folder(limner: Call, tmp_path: Path, style_file: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for i, size in enumerate([(64, 48), (48, 64), (640, 480), (64, 48), (480, 640), (129, 77), (640, 480), (1300, 1000), (64, 48)]):
        Image.fromarray(make_photo(*size, seed=i)).save(source / f"{i}.png")
    assert limner("apply", source, "-s", style_file, "-o", tmp_path / "out")[0] == 0
    for path in source.iterdir():
        assert limner("apply", path, "-s", style_file, "-o", tmp_path / path.name)[0] == 0
        assert (tmp_path / path.name).read_bytes() == (tmp_path / "out" / f"{path.stem}.tiny.png").read_bytes(), path.name


# ---------------------------------------------------------------------------------------------------------------- the program


@pytest.fixture
def larger(tmp_path: Path) -> Path:
    """Twelve photographs, each of another size, so that painting them takes a while."""
    place = tmp_path / "in"
    for i in range(12):
        (place / str(i % 3)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(make_photo(560 + 8 * i, 500, seed=i)).save(place / str(i % 3) / f"{i:02}.jpg")
    return place


def program(*words: object) -> list[str]:
    return [sys.executable, "-m", "limner", *map(str, words)]


def half_way(words: list[str], out: Path, number: int) -> subprocess.Popen[bytes]:
    """Start it, and send the signal when four paintings are on record."""
    mine = signal.signal(signal.SIGINT, signal.default_int_handler)  # a child of tests that run behind a shell's & would ignore it
    started = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    signal.signal(signal.SIGINT, mine)
    path = out / manifest.NAME
    until = time.monotonic() + 60
    while not path.exists() or path.read_bytes().count(b"\n") < 4:
        assert started.poll() is None, "it ended too early"
        assert time.monotonic() < until
        time.sleep(0.002)
    started.send_signal(number)
    return started


def test_killed_half_way_and_started_again(larger: Path, style_file: Path) -> None:
    whole, out = larger.parent / "whole", larger.parent / "out"
    subprocess.run(program("apply", larger, "-s", style_file, "-o", whole), check=True, capture_output=True)
    words = program("apply", larger, "-s", style_file, "-o", out)
    with half_way(words, out, signal.SIGKILL) as killed:
        assert killed.wait() == -signal.SIGKILL
    before = changed(out)
    recorded = {entry["target"] for entry in (json.loads(line) for line in (out / manifest.NAME).read_text().split("\n")[:-1])}
    assert 4 <= len(recorded) < 12
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0
    # Nothing is done twice: what was there has kept its time, and the manifest names each painting once.
    assert recorded <= {name for name, when in changed(out).items() if before.get(name) == when}
    targets = [entry["target"] for entry in entries(out)]
    assert len(targets) == len(set(targets)) >= 11  # a painting that was there a moment before its line is kept, with a remark
    pictures = {name: data for name, data in tree(out).items() if name != manifest.NAME}
    assert pictures == {name: data for name, data in tree(whole).items() if name != manifest.NAME}
    assert len(pictures) == 12


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process there")
def test_ctrl_c_keeps_what_is_painted(larger: Path, style_file: Path) -> None:
    out = larger.parent / "out"
    words = program("apply", larger, "-s", style_file, "-o", out)
    with half_way(words, out, signal.SIGINT) as stopped:
        _, err = stopped.communicate(timeout=60)
    assert stopped.returncode == 130
    assert err.decode().splitlines() == ["limner: stopped; what is painted is kept, and the same command goes on."]
    assert {entry["target"] for entry in entries(out)} == set(changed(out))
    assert 4 <= len(changed(out)) < 12
    assert subprocess.run(words, capture_output=True).returncode == 0
    assert len(changed(out)) == 12


def test_the_bar_is_for_a_terminal_only(folder: Path, style_file: Path) -> None:
    ours, theirs = pty.openpty()
    words = program("apply", folder, "-s", style_file, "-o", folder.parent / "out")
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=theirs, env={**os.environ, "TERM": "xterm", "COLUMNS": "200"})
    os.close(theirs)
    shown = os.read(ours, 1 << 20).decode()
    os.close(ours)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 4
    assert "4/4" in shown
    assert "ETA" in shown
    again = subprocess.run([*words, "--overwrite"], capture_output=True, text=True)
    assert again.stderr == "limner: 4 painted, 0 skipped, 0 failed.\n"
