"""The method on the page CONTRIBUTING.md works as it stands there, and what a method lacks is said before its first step."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from limner.errors import LimnerError
from limner.methods import contract
from limner.training import trainer
from limner.training.options import Options

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def code_on_page() -> str:
    found = re.search(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert found
    return found[1]


def planted(monkeypatch: pytest.MonkeyPatch, code: str, name: str = "sobel") -> ModuleType:
    """A method as if its file lay in limner.methods."""
    module = ModuleType(f"limner.methods.{name}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(code, f"{name}.py", "exec"), vars(module))
    return module


@pytest.mark.slow
def test_one_new_file_is_a_method(tmp_path: Path, photos: Path) -> None:
    """In a copy of the tree: listed, trained, applied and tested, with no other edit."""
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "tests", tmp_path / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "src/limner/methods/sobel.py").write_text(code_on_page(), encoding="utf-8")

    def python(*words: str | Path) -> str:
        environment = {**os.environ, "PYTHONPATH": str(tmp_path / "src")}
        done = subprocess.run(
            [sys.executable, *map(str, words)], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "sobel" in python("-m", "limner", "train", "--help")
    words = ["train", "sobel", "--photos", photos, "--out", "edges", "--steps", "100", "--image-size", "64", "--preset", "fine"]
    assert python("-m", "limner", *words) == "edges/style.onnx\n"
    photo = np.zeros((60, 60, 3), np.uint8)
    photo[:, 30:] = 255
    Image.fromarray(photo).save(tmp_path / "photo.png")
    python("-m", "limner", "apply", "photo.png", "-s", "edges/style.onnx", "-o", "painted.png")
    painted = np.asarray(Image.open(tmp_path / "painted.png")).astype(float).mean((0, 2))
    assert painted[29:31].mean() > 1.2 * painted[:20].mean()  # it begins to see edges
    python("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_methods.py", "-k", "sobel")


def test_the_page_lacks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert contract.find(planted(monkeypatch, code_on_page()).__name__.rpartition(".")[2])


@pytest.mark.parametrize(
    ("there", "instead", "sentence"),
    [
        ("https://arxiv.org/abs/1709.00643", "a paper", r"sobel lacks the link of its paper: .*arxiv\.org/abs/"),
        ("    steps: int = 500\n", "", r"sobel lacks the option steps, how many steps a training takes: add it to Config\."),
        ("    image_size: int = 128\n", "", r"sobel lacks the option image_size, the side of its crops"),
        (
            '    PRESETS: ClassVar[dict[str, dict[str, object]]] = {"fine": {"width": 32}}',
            "PRESETS = {}",
            r"sobel lacks presets: .*inside Config",
        ),
        ('{"fine": {"width": 32}}', '{"fine": {"wide": 32}}', r"sobel lacks the option wide, which its preset fine sets"),
        ("def build(", "def make(", r"sobel lacks the function build"),
        ("class Config", "class Options", r"sobel lacks its options: .*Config"),
    ],
    ids=["no link", "no steps", "no image_size", "PRESETS outside", "unknown option", "no build", "no Config"],
)
def test_what_is_missing_is_said_when_the_method_is_found(there: str, instead: str, sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "from __future__ import annotations\n" + code_on_page()
    assert there in code
    planted(monkeypatch, _docstring_first(code.replace(there, instead)))
    with pytest.raises(LimnerError, match=sentence):
        contract.find("sobel")


@pytest.mark.parametrize(
    ("there", "instead"),
    [
        ("run.average(generator, 0.99)", "torch.optim.swa_utils.AveragedModel(generator)"),
        ("    run.keep(generator=generator, optimizer=optimizer)\n", ""),
    ],
    ids=["no average", "nothing kept"],
)
def test_without_an_average_nothing_is_trained(
    there: str, instead: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, photos: Path
) -> None:
    assert there in code_on_page()
    module = planted(monkeypatch, code_on_page().replace(there, instead))
    steps: list[int] = []
    monkeypatch.setattr(module.F, "mse_loss", lambda *_: steps.append(1))
    with pytest.raises(LimnerError, match=r"keeps no 'average', which becomes the style file: make it with run\.average"):
        trainer.train("sobel", module.Config(photos, steps=20, image_size=32), Options(tmp_path / "run"))
    assert not steps
    assert not (tmp_path / "run").exists(), "nothing stands in the way of the next try"


def test_an_unknown_method_is_told_the_known_ones() -> None:
    with pytest.raises(LimnerError, match="no method 'cubism': Limner has cartoongan, cyclegan, fast-style, live, gatys"):
        contract.find("cubism")


def test_methods_that_paint_single_pictures_are_found_like_those_that_train() -> None:
    assert contract.names("stylize") == ["gatys"]
    for name in contract.names("stylize"):
        contract.find(name)


def _docstring_first(code: str) -> str:
    """The future import below the docstring, where Python wants it."""
    future, rest = code.split("\n", 1)
    docstring, body = rest.split('"""\n', 1)
    return f'{docstring}"""\n{future}\n{body}'
