"""Who imports whom, and what is not loaded before it is needed."""

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "limner"
HEAVY = {"torch", "openvino", "onnxruntime", "ray", "pyarrow"}

GROUND = "colour errors extras files journal limits parallel privacy progress ranges version"
# The storeys of the house, from the ground up (docs/architecture.md): who lives on one imports from those below, and from its own room.
STOREYS = (GROUND, "pictures gallery", "blocks film", "methods", "style", "batch prepare training", "serve", "cli", "__init__ __main__")
STOREY = {room: number for number, rooms in enumerate(STOREYS) for room in rooms.split()}
# Arrows that lead downwards, and yet into rooms that one has no business in: what a method needs is handed to it.
FORBIDDEN = {
    ("blocks", "pictures"),
    ("methods", "pictures"),
    ("methods", "film"),
    ("batch", "methods"),
    ("batch", "blocks"),
    ("prepare", "style"),
    ("serve", "methods"),
    ("serve", "blocks"),
    ("serve", "training"),
}

Imports = Mapping[str, Iterable[str]]
"""Modules of Limner, by their names below ``limner``, and the modules that each imports anywhere in its code."""


def imports(root: Path) -> dict[str, set[str]]:
    paths = {".".join(path.relative_to(root).with_suffix("").parts): path for path in root.rglob("*.py")}
    return {name: set(_imported(path.read_text(encoding="utf-8"), set(paths))) for name, path in paths.items()}


def _imported(code: str, modules: set[str]) -> Iterator[str]:
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in (name.removeprefix("limner.") for name in names if name.split(".")[0] == "limner"):
            yield name if name in modules else name.rpartition(".")[0] or "__init__"


def room(module: str) -> str:
    return module.split(".")[0]


def trespasses(found: Imports) -> list[str]:
    """Arrows between rooms that lead upwards, or sideways to neighbours, or where they are forbidden."""
    arrows = {(a, b) for a, imported in found.items() for b in imported if room(a) != room(b)}
    within_ground = {(a, b) for a, b in arrows if STOREY[room(a)] == STOREY[room(b)] == 0}
    wrong = {(a, b) for a, b in arrows - within_ground if STOREY[room(b)] >= STOREY[room(a)] or (room(a), room(b)) in FORBIDDEN}
    return sorted(f"{a} imports {b}" for a, b in wrong)


def circle(found: Imports) -> list[str]:
    """Modules that import one another in a ring; none, where there is no ring."""
    done, way = set[str](), list[str]()

    def walk(module: str) -> list[str]:
        if module in way:
            return [*way[way.index(module) :], module]
        if module in done:
            return []
        way.append(module)
        for other in sorted(found.get(module, ())):
            if ring := walk(other):
                return ring
        done.add(way.pop())
        return []

    return next((ring for module in sorted(found) if (ring := walk(module))), [])


def test_rooms_import_downwards_only() -> None:
    assert trespasses(imports(SOURCE)) == []


def test_there_is_no_circle() -> None:
    assert circle(imports(SOURCE)) == []


def test_every_room_has_its_storey() -> None:
    there = {path.stem for path in SOURCE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert there == set(STOREY)


def test_packages_are_empty() -> None:
    """Whoever imports one module of a room does not load its siblings."""
    assert [path for path in SOURCE.rglob("*/__init__.py") if path.read_text(encoding="utf-8")] == []


@pytest.mark.parametrize(
    ("planted", "code"),
    [
        ("methods/new.py", "from limner.training import run"),
        ("methods/new.py", "import limner.cli.main"),
        ("pictures/new.py", "def f():\n    from limner.style import style"),
        ("gallery/new.py", "from limner.pictures.image import read"),
        ("methods/new.py", "from limner.pictures import image"),
        ("errors.py", "from limner.pictures import image"),
        ("batch/new.py", "import limner"),
        ("batch/new.py", "from limner.serve import settings"),
        ("serve/new.py", "from limner.training import run"),
    ],
)
def test_a_planted_trespass_is_found(tmp_path: Path, planted: str, code: str) -> None:
    for path in SOURCE.rglob("*.py"):
        copy = tmp_path / path.relative_to(SOURCE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text("", encoding="utf-8")
    (tmp_path / planted).write_text(code, encoding="utf-8")
    module = planted.removesuffix(".py").replace("/", ".")
    assert [line.split(" imports ")[0] for line in trespasses(imports(tmp_path))] == [module]


def test_a_planted_circle_is_found() -> None:
    """Within one room, where no storey helps; and over a function's own import."""
    found = imports(SOURCE)
    ring = circle({**found, "pictures.icc": {"pictures.image"}})
    assert ring[0] == ring[-1]
    assert {"pictures.icc", "pictures.image"} <= set(ring)


def test_cyclopts_stays_in_the_command_line() -> None:
    users = {path for path in SOURCE.rglob("*.py") if "cyclopts" in path.read_text(encoding="utf-8")}
    assert {path.relative_to(SOURCE).parts[0] for path in users} == {"cli"}


def loaded_after(code: str) -> set[str]:
    names = "{n.split('.')[0] for n in sys.modules} | {n for n in sys.modules if n.startswith('limner.')}"
    program = f"import sys\n{code}\nprint(*{names})"
    return set(subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split())


def test_importing_limner_loads_no_engine() -> None:
    assert not loaded_after("import limner") & (HEAVY | {"numpy"})


def test_help_loads_no_engine() -> None:
    code = "from limner.cli.main import main\ntry:\n    main(['--help'])\nexcept SystemExit as stop:\n    assert not stop.code"
    assert not loaded_after(code) & (HEAVY | {"numpy", "PIL", "markdown_it"})


def test_preparing_loads_no_engine() -> None:
    loaded = loaded_after("import limner.prepare.squares")
    assert "limner.pictures.sources" in loaded
    assert not loaded & (HEAVY | {"av", "limner.training"})


def test_applying_loads_no_torch_and_no_method(style_file: Path) -> None:
    code = f"import limner, numpy\nlimner.load({str(style_file)!r})(numpy.zeros((20, 20, 3), numpy.uint8))"
    loaded = loaded_after(code)
    assert "openvino" in loaded
    assert not loaded & {"torch", "onnxruntime", "onnx", "ray", "pyarrow", "limner.methods", "limner.training", "limner.blocks"}


def test_a_server_loads_no_torch() -> None:
    loaded = loaded_after("import limner.serve.app")
    assert "fastapi" in loaded
    assert not loaded & (HEAVY | {"limner.methods", "limner.training", "limner.blocks", "gradio"})


def test_a_folder_is_painted_without_ray(style_file: Path, photos: Path, tmp_path: Path) -> None:
    words = ["apply", str(photos), "-s", str(style_file), "-o", str(tmp_path / "out")]
    call = f"with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n    main.main({words})"
    loaded = loaded_after(f"import contextlib, io\nfrom limner.cli import main\n{call}")
    assert (tmp_path / "out" / "limner-manifest.jsonl").is_file()
    assert "openvino" in loaded
    assert not loaded & {"torch", "ray", "pyarrow", "limner.batch.on_ray", "limner.batch.stores", "limner.methods", "limner.training"}
