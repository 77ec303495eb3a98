"""Who imports whom, and what is not loaded before it is needed."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "limner"
HEAVY = {"torch", "openvino", "onnxruntime", "ray", "pyarrow"}
PICTURES = {"image", "formats", "icc", "sources", "duplicates", "prepare"}

# Each part of the house, and the parts of it that a part must never import.
FORBIDDEN = {
    "methods": {"training", *PICTURES, "cli", "batch", "style", "runtimes"},
    "features.py": {"training", *PICTURES, "cli", "batch", "style", "runtimes", "methods"},
    "adversarial.py": {"training", *PICTURES, "cli", "batch", "style", "runtimes", "methods", "features"},
    "edges.py": {"training", *PICTURES, "cli", "batch", "style", "runtimes", "methods", "features", "adversarial"},
    "image.py": {"training", "methods", "features", "cli", "batch", "style", "runtimes", "card", "sources", "prepare"},
    "formats.py": {"training", "methods", "features", "cli", "batch", "style", "runtimes", "card", "image", "sources", "prepare"},
    "encoding.py": {"training", "methods", "features", "cli", "batch", "style", "runtimes", "card", "image", "sources", "prepare"},
    "kinds.py": {"training", "methods", "features", "cli", "batch", "style", "runtimes", "card", *PICTURES},
    "tags.py": {"training", "methods", "features", "cli", "batch", "style", "runtimes", "card", *PICTURES},
    "limits.py": {"training", "methods", "features", "cli", "batch", "style", "runtimes", "card", *PICTURES},
    "graph.py": {"training", "methods", "features", "cli", "batch", "style", "runtimes", "card", *PICTURES},
    "tone.py": {"training", "methods", "features", "cli", "batch", "style", "runtimes", "card", *PICTURES},
    "pipes.py": {"training", "methods", "features", "cli", "ray_engine"},
    "sources.py": {"training", "methods", "features", "cli", "batch", "style", "runtimes", "card", "prepare"},
    "duplicates.py": {"training", "methods", "features", "cli", "batch", "style", "runtimes", "card", "image", "sources", "prepare"},
    "prepare": {"training", "methods", "features", "cli", "batch", "style", "runtimes", "card"},
    "icc.py": {"training", "methods", "features", "cli", "batch", "style", "runtimes", "card", *PICTURES},
    "card.py": {"training", "methods", "features", "cli", "batch", "style", "runtimes", *PICTURES},
    "weights.py": {"training", "methods", "features", "cli", "batch", "style", "runtimes", "card", *PICTURES},
    "style.py": {"training", "methods", "features", "cli", "batch"},
    "blend.py": {"training", "methods", "features", "cli", "batch", "style", "runtimes", *PICTURES, "card"},
    "plan.py": {"training", "methods", "features", "cli", "batch", "runtimes", "manifest"},
    "manifest.py": {"training", "methods", "features", "cli", "batch", "style", "runtimes", "card", "plan", *PICTURES},
    "quantize.py": {"training", "methods", "features", "cli", "batch", "style"},
    "gallery": {"training", "methods", "features", "cli", "batch", "style", "runtimes", *PICTURES},
    "rows.py": {"training", "methods", "features", "cli", "batch", "style", "runtimes", "card"},
    "enlarge.py": {"training", "methods", "features", "cli", "batch", "style", "runtimes", "card", "tiles"},
    "tiles.py": {"training", "methods", "features", "cli", "batch", "style", *PICTURES, "card"},
    "batch.py": {"training", "methods", "features", "cli"},
    "sheet.py": {"training", "methods", "features", "cli"},
    "ray_engine.py": {"training", "methods", "features", "cli"},
    "stores.py": {"training", "methods", "features", "cli", "batch", "style", "runtimes", "card", "plan", "ray_engine"},
    "runtimes": {"training", "features", "cli", "batch", "style", *PICTURES},
    "training": {"cli", "batch", "style", "prepare"},
}


def imported_parts(code: str) -> set[str]:
    """Parts of Limner that ``code`` imports, anywhere in it."""
    parts = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        parts |= {name.split(".")[1] for name in names if name.startswith("limner.")}
    return parts


def trespasses(part: str, code: str) -> set[str]:
    return imported_parts(code) & FORBIDDEN[part]


@pytest.mark.parametrize("part", sorted(FORBIDDEN))
def test_no_part_imports_what_it_must_not(part: str) -> None:
    place = SOURCE / part
    files = sorted(place.rglob("*.py")) if place.is_dir() else [place]
    assert files
    for file in files:
        assert not trespasses(part, file.read_text()), file


@pytest.mark.parametrize(
    "planted",
    [
        "from limner.training import run",
        "import limner.cli",
        "from limner import style",
        "def f():\n    from limner import image",
    ],
)
def test_a_planted_import_is_found(planted: str) -> None:
    assert trespasses("methods", planted)


def loaded_after(code: str) -> set[str]:
    names = "{n.split('.')[0] for n in sys.modules} | {n for n in sys.modules if n.startswith('limner.')}"
    program = f"import sys\n{code}\nprint(*{names})"
    return set(subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split())


def test_importing_limner_loads_no_engine() -> None:
    assert not loaded_after("import limner") & (HEAVY | {"numpy"})


def test_help_loads_no_engine() -> None:
    code = "from limner.cli import main\ntry:\n    main(['--help'])\nexcept SystemExit as stop:\n    assert not stop.code"
    assert not loaded_after(code) & HEAVY


def test_preparing_loads_no_engine() -> None:
    loaded = loaded_after("import limner.prepare")
    assert "limner.sources" in loaded
    assert not loaded & (HEAVY | {"av", "limner.training"})


def test_applying_loads_no_torch_and_no_method(style_file: Path) -> None:
    code = f"import limner, numpy\nlimner.load({str(style_file)!r})(numpy.zeros((20, 20, 3), numpy.uint8))"
    loaded = loaded_after(code)
    assert "openvino" in loaded
    assert not loaded & {"torch", "onnxruntime", "onnx", "ray", "pyarrow", "limner.methods", "limner.training", "limner.features"}


def test_a_folder_is_painted_without_ray(style_file: Path, photos: Path, tmp_path: Path) -> None:
    words = ["apply", str(photos), "-s", str(style_file), "-o", str(tmp_path / "out")]
    call = f"with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n    cli.main({words})"
    loaded = loaded_after(f"import contextlib, io\nfrom limner import cli\n{call}")
    assert (tmp_path / "out" / "limner-manifest.jsonl").is_file()
    assert "openvino" in loaded
    assert not loaded & {"torch", "ray", "pyarrow", "limner.ray_engine", "limner.stores", "limner.methods", "limner.training"}
