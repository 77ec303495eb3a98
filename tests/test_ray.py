"""The same on Ray Data. In processes of their own: Ray belongs in none that goes on with other tests."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.conftest import make_photo
from tests.test_cli import tree

pytest.importorskip("ray")
pytestmark = pytest.mark.slow

SEVERAL = """
import contextlib, io, json, sys, ray
from limner.cli import main
ray.init("local", logging_level="ERROR", log_to_driver=False, include_dashboard=False)
results = []
for words in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main.main(words)
        except SystemExit as stop:
            results.append((stop.code or 0, out.getvalue(), err.getvalue()))
assert ray.is_initialized()  # it is ours, and is left to us
print(json.dumps(results))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "in"
    for i in range(9):
        (place / str(i % 2)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(make_photo(40 + 4 * i, 60, seed=i)).save(place / str(i % 2) / f"{i}.{'png' if i % 3 else 'jpg'}")
    return place


def limner(*words: object) -> tuple[int, str, str]:
    done = subprocess.run([sys.executable, "-m", "limner", *map(str, words)], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def paintings(out: Path) -> dict[str, bytes]:
    return {name: data for name, data in tree(out).items() if not name.startswith("limner-manifest")}


def records(out: Path) -> list[dict[str, object]]:
    lines = [line for path in sorted(out.glob("limner-manifest*.jsonl")) for line in path.read_text().splitlines()]
    return sorted(map(json.loads, lines), key=lambda entry: entry["target"])


def test_a_local_ray_paints_the_same_bytes(folder: Path, style_file: Path, tmp_path: Path) -> None:
    (folder / "1" / "bad.jpg").write_text("a letter")
    plain, by_ray = tmp_path / "plain", tmp_path / "ray"
    words = ("apply", folder, "-s", style_file, "--keep-colors", "--working-size", 50, "-o")
    code, _, told = limner(*words, plain)
    assert (code, told.splitlines()[1]) == (2, "limner: 9 painted, 0 skipped, 1 failed:")
    assert limner(*words, by_ray, "--executor", "ray")[::2] == (code, told)  # and not a word of Ray's
    assert len(paintings(plain)) == 9
    assert paintings(by_ray) == paintings(plain)
    assert records(by_ray) == records(plain)
    # Either goes on where the other was.
    (by_ray / "0" / "4.tiny.png").unlink()
    (folder / "1" / "bad.jpg").unlink()
    assert limner(*words, by_ray)[2] == "limner: 1 painted, 8 skipped, 0 failed.\n"
    assert limner(*words, by_ray, "--executor", "ray")[2] == "limner: 0 painted, 9 skipped, 0 failed.\n"
    assert paintings(by_ray) == paintings(plain)


def test_other_file_systems_and_tables(folder: Path, style_file: Path, tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    files = sorted(path for path in folder.rglob("*.*"))
    rows: list[dict[str, Any]] = [
        {"path": path.relative_to(folder).as_posix(), "image": {"bytes": path.read_bytes(), "path": "x"}} for path in files
    ]
    rows += [{"path": "bad.png", "image": {"bytes": b"a letter", "path": "x"}}, {"path": "none.png", "image": None}]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "table.parquet", row_group_size=4)
    parquet.write_table(pa.table({"text": ["a"]}), tmp_path / "letters.parquet")
    plain, store, table = tmp_path / "plain", tmp_path / "store", tmp_path / "table"
    assert limner("apply", folder, "-s", style_file, "-o", plain)[0] == 0
    # "fsspec+file" is a file system that pyarrow does not know as this machine's own.
    from_store = ["apply", f"fsspec+file://{folder}", "-s", str(style_file), "-o", f"fsspec+file://{store}", "--executor", "ray"]
    from_table = ["apply", str(tmp_path / "table.parquet"), "-s", str(style_file), "-o", str(table), "--executor", "ray"]
    bad: dict[str, list[object]] = {
        "name one with --out": [folder, "--executor", "ray"],
        "a.jpg": [folder / "0" / "0.jpg", "--executor", "ray", "-o", tmp_path / "a.jpg"],
        "nonsense://x cannot be reached": ["nonsense://user:secret@x", "--executor", "ray", "-o", tmp_path / "out"],
        "set --executor to ray": ["s3://bucket/x"],
        "alone": [folder, f"fsspec+file://{folder}", "--executor", "ray", "-o", tmp_path / "out"],
        "none": [f"fsspec+file://{tmp_path}/none", "--executor", "ray", "-o", tmp_path / "out"],
        "letters.parquet is no table of pictures": [tmp_path / "letters.parquet", "--executor", "ray", "-o", tmp_path / "out"],
    }
    calls = [
        from_store,
        from_store,
        [*from_store, "--strength", "0.5"],
        from_table,
        *(["apply", "-s", str(style_file), *map(str, words)] for words in bad.values()),
    ]
    done = subprocess.run([sys.executable, "-c", SEVERAL, json.dumps(calls)], check=True, capture_output=True, text=True)
    first, again, other, rows_told, *refused = json.loads(done.stdout)
    assert (first[0], len(first[1].splitlines()), first[2]) == (0, 9, "limner: 9 painted, 0 skipped, 0 failed.\n")
    assert paintings(store) == paintings(plain)
    assert [entry["source"] for entry in records(store)] == [entry["source"] for entry in records(plain)]
    assert (again[0], again[2]) == (0, "limner: 0 painted, 9 skipped, 0 failed.\n")
    assert other[0] == 2
    assert "strength 1.0, not 0.5" in other[2]
    assert rows_told[0] == 2
    assert rows_told[2].splitlines()[2] == "limner: 9 painted, 0 skipped, 2 failed:"
    assert "bad.png" in rows_told[2]
    assert "none.png" in rows_told[2]
    assert paintings(table) == paintings(plain)
    for named, (code, out, err) in zip(bad, refused, strict=True):
        assert (code, out, len(err.splitlines())) == (2, "", 1), err
        assert named in err
    assert not (tmp_path / "out").exists()


def test_paintings_become_rows_of_a_table(folder: Path, style_file: Path, tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    (folder / "1" / "5.png").write_bytes(b"a letter")
    plain, table = tmp_path / "plain", tmp_path / "painted.parquet"
    into = ["apply", str(folder), "-s", str(style_file), "-o", str(table), "--executor", "ray"]
    (tmp_path / "other.parquet").mkdir()
    parquet.write_table(pa.table({"text": ["a"]}), tmp_path / "other.parquet" / "part.parquet")
    again = ["apply", str(table), "-s", str(style_file), "-o", str(tmp_path / "twice.parquet"), "--executor", "ray"]
    calls = [into, [*into, "--strength", "0.5"], [*into, "--overwrite"], [*into[:-3], str(tmp_path / "other.parquet"), *into[-2:]], again]
    done = subprocess.run([sys.executable, "-c", SEVERAL, json.dumps(calls)], check=True, capture_output=True, text=True)
    first, other, overwrite, no_paintings, twice = json.loads(done.stdout)
    assert (first[0], first[2].splitlines()[1]) == (2, "limner: 8 painted, 0 skipped, 1 failed:")
    for (code, _, told), named in zip(
        (other, overwrite, no_paintings), ("strength 1.0, not 0.5", "delete it", "other.parquet"), strict=True
    ):
        assert (code, len(told.splitlines())) == (2, 1)
        assert named in told
    assert (twice[0], twice[2]) == (0, "limner: 8 painted, 0 skipped, 0 failed.\n")

    Image.fromarray(make_photo(60, 60)).save(folder / "1" / "5.png")
    code, _, told = limner(*into)
    assert (code, told) == (0, "limner: 1 painted, 8 skipped, 0 failed.\n")
    assert limner("apply", folder, "-s", style_file, "-o", plain)[0] == 0
    rows = parquet.read_table(table).to_pylist()
    assert len(rows) == 9
    assert {row["path"]: row["image"] for row in rows} == paintings(plain)
    assert sorted((json.loads(row["limner"]) for row in rows), key=lambda entry: entry["target"]) == records(plain)
