"""The weights of CartoonGAN, one by one: short trainings from the same initialised generator, their table, curves and contact sheet.

    .venv/bin/python runs/ablate_cartoongan.py --photos PHOTOS --cartoons CARTOONS --held-out HELD_OUT --start INIT/style.safetensors

Each variant differs from the default by what its name says. What is done already is not done again; Ctrl-C, and the same command goes on.
"""

import json
import subprocess
import sys
from pathlib import Path

from cyclopts import run
from sheet import sheet

VARIANTS: dict[str, list[str]] = {
    "omega 0.2": [],
    "omega 0.05": ["--content-weight", "0.05"],
    "omega 0.8": ["--content-weight", "0.8"],
    "omega 3.2": ["--content-weight", "3.2"],
    "no colour loss": ["--colour-weight", "0"],
    "coloured adversary": ["--adversary", "colour"],
    "coloured, no colour loss": ["--adversary", "colour", "--colour-weight", "0"],
    "no surface loss": ["--surface-weight", "0"],
    "no halo loss": ["--halo-weight", "0"],
}
COLOURS = ("#c0392b", "#e67e22", "#2980b9", "#8e44ad", "#16a085", "#7f8c8d", "#2c3e50", "#d4ac0d", "#8d6e63")


def ablate(*options: str, photos: Path, cartoons: Path, held_out: Path, start: Path, out: Path = Path("runs-out/ablation")) -> None:
    """Train every variant, and write table.md, curves.svg and sheet.jpg.

    Parameters
    ----------
    options
        Further options of `limner train cartoongan` for all of them, after a `--`.
    photos
        Photographs.
    cartoons
        Cartoons.
    held_out
        Photographs never trained on.
    start
        Weights of a generator that went through the initialisation phase.
    out
        Folder for the runs and what comes of them.
    """
    common = ["--photos", photos, "--cartoons", cartoons, "--held-out", held_out, "--start", start, "--initial-steps", 0, *options]
    curves: dict[str, list[dict[str, float]]] = {}
    for name, changes in VARIANTS.items():
        folder = out / name.replace(",", "").replace(" ", "-")
        if not (folder / "style.onnx").exists():
            new = ["cartoongan", *map(str, common), *changes, "--title", name, "--out", str(folder)]
            again = ["--resume", str(folder)]
            subprocess.run([sys.executable, "-m", "limner", "train", *(again if (folder / "checkpoints").exists() else new)], check=True)
        curves[name] = [json.loads(line) for line in (folder / "held-out.jsonl").read_text(encoding="utf-8").splitlines()]
    (out / "table.md").write_text(table(curves), encoding="utf-8")
    (out / "curves.svg").write_text(svg(curves), encoding="utf-8")
    files = [export(out / name.replace(",", "").replace(" ", "-")) for name in curves]
    sheet(*map(str, files), out=out / "sheet.jpg")


def export(folder: Path) -> Path:
    """The style at the end of a training, which the one with the best held-out number need not be."""
    last = folder / "last.onnx"
    words = ["export", str(folder), "--out", str(last), "--checkpoint", "newest"]
    subprocess.run([sys.executable, "-m", "limner", *words], check=True, stdout=subprocess.DEVNULL)
    return last


def table(curves: dict[str, list[dict[str, float]]]) -> str:
    steps = [int(line["step"]) for line in next(iter(curves.values()))]
    rows = ["| | " + " | ".join(f"step {step}" for step in steps) + " |", "| --- |" + " --- |" * len(steps)]
    for name, lines in curves.items():
        rows.append(f"| {name} | " + " | ".join(f"{line['kernel']:.2f}, {line['content']:.2f}" for line in lines) + " |")
    return "Kernel distance from held-out cartoons (the photographs' own is 1), content lost.\n\n" + "\n".join(rows) + "\n"


def svg(curves: dict[str, list[dict[str, float]]]) -> str:
    """Each variant's way through the plane of content lost (x) and distance from cartoons (y); a dot at each checkpoint."""
    points = [(line["content"], line["kernel"]) for lines in curves.values() for line in lines]
    (left, right), (low, high) = ((min(axis), max(axis)) for axis in zip(*points, strict=True))

    def at(line: dict[str, float]) -> tuple[float, float]:
        return 50 + 380 * (line["content"] - left) / (right - left), 330 - 300 * (line["kernel"] - low) / (high - low)

    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 380" font-family="sans-serif" font-size="12">',
        '<rect width="640" height="380" fill="white"/><path d="M50 20V330H430" fill="none" stroke="#999"/>',
        f'<text x="50" y="348">{left:.2f}</text><text x="430" y="348" text-anchor="end">{right:.2f}</text>',
        '<text x="240" y="366" text-anchor="middle">content lost</text>',
        f'<text x="44" y="330" text-anchor="end">{low:.2f}</text><text x="44" y="34" text-anchor="end">{high:.2f}</text>',
        '<text x="18" y="180" text-anchor="middle" transform="rotate(-90 18 180)">kernel distance from cartoons</text>',
    ]
    for row, (name, lines) in enumerate(curves.items()):
        colour, way = COLOURS[row % len(COLOURS)], [at(line) for line in lines]
        parts.append(f'<path d="M{" ".join(f"{x:.1f},{y:.1f}" for x, y in way)}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in way]
        parts.append(f'<rect x="450" y="{30 + 22 * row}" width="12" height="12" fill="{colour}"/>')
        parts.append(f'<text x="468" y="{41 + 22 * row}">{name}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    run(ablate)
