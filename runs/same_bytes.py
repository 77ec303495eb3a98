"""Whether this tree paints as another commit does: every bundled style, every tier of it, the example photographs, byte by byte.

    python runs/same_bytes.py 6c68e3b

The commit is checked out beside, into a temporary worktree that is removed again. Both trees paint in processes of their own, through the
command line. Exit code 1 where a painting differs.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
PHOTOS = ROOT / "examples" / "photos"


def limner(tree: Path, *words: str) -> str:
    """What the command line of a source tree prints."""
    environment = {**os.environ, "PYTHONPATH": str(tree / "src")}
    return subprocess.run(
        [sys.executable, "-m", "limner", *words], env=environment, cwd=tree, check=True, capture_output=True, text=True
    ).stdout


def painted(tree: Path, out: Path) -> dict[str, bytes]:
    for style in limner(tree, "styles", "--names").split():
        for tier in ("standard", "int8", "live"):
            ending = "" if tier == "standard" else f".{tier}"
            if next((tree / "src").rglob(f"{style}{ending}.onnx"), None):
                limner(tree, "apply", str(PHOTOS), "-o", str(out / f"{style}{ending}"), "-s", style, "--tier", tier)
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*")) if path.suffix in (".jpg", ".png")}


def main(commit: str) -> int:
    with tempfile.TemporaryDirectory() as folder:
        other = Path(folder) / "tree"
        subprocess.run(["git", "worktree", "add", "--detach", "--quiet", str(other), commit], cwd=ROOT, check=True)
        try:
            before = painted(other, Path(folder) / "before")
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(other)], cwd=ROOT, check=True)
        after = painted(ROOT, Path(folder) / "after")
    differing = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    print(f"{len(after)} paintings, {len(differing)} of them differ from those of {commit}", *differing, sep="\n  ")
    return 1 if differing or not after else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
