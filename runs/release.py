"""Whether this tree may be released: tag, version, changelog and citation agree, and the wheel works in an empty environment.

    git tag v0.1.0 && python runs/release.py        # then push the tag, and upload what lies in dist/
    python runs/release.py --no-tag                 # the wheel alone, as CI checks it

The environment has nothing but the wheel and what it asks for. In it the command line paints a photograph, and torch is not there.
"""

import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent


def version() -> str:
    text = (ROOT / "src" / "limner" / "version.py").read_text(encoding="utf-8")
    found = re.search(r'__version__ = "([^"]+)"', text)
    assert found
    return found[1]


def disagreements(*, tag: str | None) -> list[str]:
    """What does not fit to the version, in words. ``tag`` is that of the commit; None is not looked at."""
    here = version()
    newest = re.search(r"^## (\S+) - (\S+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    cited = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    found = []
    if newest is None or newest[1] != here:
        found.append(f"CHANGELOG.md begins with {newest[1] if newest else 'no version'}, and the version is {here}")
    if cited is None or cited[1] != here:
        found.append(f"CITATION.cff cites {cited[1] if cited else 'no version'}, and the version is {here}")
    if tag is not None:
        if tag != f"v{here}":
            found.append(f"the commit's tag is {tag or 'missing'}, and the version is {here}")
        if newest is not None and not re.fullmatch(r"\d{4}-\d\d-\d\d", newest[2]):
            found.append(f"CHANGELOG.md gives no date for {newest[1]}")
    return found


def build(folder: Path) -> Path:
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)], check=True)
    (wheel,) = folder.glob("limner-*.whl")
    return wheel


def try_out(wheel: Path, folder: Path) -> None:
    """Install the wheel into an empty environment and paint with it, away from this tree."""
    venv.create(folder / "venv", with_pip=True)
    bin = folder / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
    subprocess.run([str(bin / "python"), "-m", "pip", "install", "--quiet", str(wheel)], check=True)
    photo, out = ROOT / "examples" / "photos" / "chelsea.jpg", folder / "painted.jpg"
    subprocess.run([str(bin / "limner"), "apply", str(photo), "-o", str(out)], check=True, cwd=folder)
    assert out.stat().st_size > 1000
    torch = subprocess.run([str(bin / "python"), "-c", "import torch"], capture_output=True, check=False)
    assert torch.returncode != 0, "a user without a wish to train was made to install torch"


def main(*words: str) -> int:
    tag = None
    if "--no-tag" not in words:
        said = subprocess.run(["git", "tag", "--points-at", "HEAD"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
        tag = said[0] if said else ""
    if found := disagreements(tag=tag):
        print("not to be released:", *found, sep="\n  ")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        wheel = build(ROOT / "dist")
        try_out(wheel, Path(folder))
    print(f"{wheel} is fit to be released")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
