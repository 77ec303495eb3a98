"""CartoonGAN, what each choice does: short trainings with the same pictures and steps, their table, curves and contact sheet.

    .venv/bin/python runs/ablate_cartoongan.py --photos PHOTOS --abstractions DRAWN --cartoons CARTOONS --held-out HELD_OUT --vgg VGG19

First the initialisation phase, alone: the paper's target (the photograph) against its abstraction, the paper's generator (with norm)
against the U-Net (without). Then, from either generator's abstraction, the adversarial phase at four omegas, on plain features and without
a colour loss: the paper's 10, what the authors' code amounts to (10 / 127.5^2), and two between. What is done already is not done again;
Ctrl-C, and the same command goes on.
"""

import json
import subprocess
import sys
from pathlib import Path

from cyclopts import run

GENERATORS = {"unet": [], "paper": ["--generator", "paper", "--width", "32"]}
OMEGAS = ("10", "0.39", "0.015", "0.0006")
COLOURS = ("#c0392b", "#e67e22", "#2980b9", "#8e44ad", "#16a085", "#7f8c8d", "#2c3e50", "#d4ac0d", "#8d6e63")


def ablate(
    *,
    photos: Path,
    abstractions: Path,
    cartoons: Path,
    held_out: Path,
    vgg: Path,
    initial_steps: int = 400,
    steps: int = 120,
    out: Path = Path("runs-out/ablation"),
) -> None:
    """Train every variant, and write table.md, curves.svg and sheet.jpg.

    Parameters
    ----------
    photos
        Photographs.
    abstractions
        What `limner prepare abstractions` made of them.
    cartoons
        Cartoons.
    held_out
        Photographs never trained on.
    vgg
        VGG-19 weights that reach conv3_4.
    initial_steps
        Steps of each initialisation phase.
    steps
        Steps of each adversarial phase.
    out
        Folder for the runs and what comes of them.
    """
    common = ["--photos", photos, "--cartoons", cartoons, "--held-out", held_out, "--vgg", vgg, "--batch-size", 2, "--image-size", 96]
    common += [
        "--content-layers",
        "conv3_4",
        "--content-measure",
        "plain",
        "--checkpoint-every",
        40,
        "--compile",
        "no",
        "--trackers",
        "none",
    ]
    done: dict[str, Path] = {}
    for generator, network in GENERATORS.items():
        for target in ("photo", "abstraction"):
            extra = ["--abstractions", abstractions] if target == "abstraction" else []
            name = f"{generator}, {target}"
            phase = ["--steps", initial_steps, "--initial-steps", initial_steps]
            done[name] = train(out, name, [*common, *network, *extra, "--target", target, *phase])
        start = ["--start", out / f"{generator}-abstraction" / "last.safetensors", "--abstractions", abstractions]
        phase = ["--steps", steps, "--initial-steps", 0, "--learning-rate", 2e-4, "--discriminator-rate", 2e-4, "--colour-weight", 0]
        for omega in OMEGAS:
            name = f"{generator}, omega {omega}"
            done[name] = train(out, name, [*common, *network, *start, *phase, "--content-weight", omega])
    curves = {
        name: [json.loads(line) for line in (folder / "held-out.jsonl").read_text(encoding="utf-8").splitlines()]
        for name, folder in done.items()
    }
    (out / "table.md").write_text(table(curves), encoding="utf-8")
    (out / "curves.svg").write_text(svg(curves), encoding="utf-8")
    styles = [word for folder in done.values() for word in ("--style", str(folder / "last.onnx"))]
    examples = sorted(str(path) for path in (Path(__file__).parent.parent / "examples" / "photos").glob("*.jpg"))
    subprocess.run([sys.executable, "-m", "limner", "sheet", *examples, *styles, "-o", str(out / "sheet.jpg"), "--overwrite"], check=True)


def train(out: Path, name: str, words: list[object]) -> Path:
    """The run of a variant, trained or gone on with where that is not done, and the style at its end (not that of the best number)."""
    folder = out / name.replace(",", "").replace(" ", "-")
    if not (folder / "last.onnx").exists():
        new = ["train", "cartoongan", *map(str, words), "--title", name, "--out", str(folder)]
        again = ["train", "--resume", str(folder)]
        end = ["export", str(folder), "--out", str(folder / "last.onnx"), "--checkpoint", "newest"]
        for call in (again if (folder / "checkpoints").exists() else new, end):
            subprocess.run([sys.executable, "-m", "limner", *call], check=True)
    return folder


def table(curves: dict[str, list[dict[str, float]]]) -> str:
    rows = ["| | distance from drawings | content lost |", "| --- | --- | --- |"]
    rows += [f"| {name} | {lines[-1]['drawing']:.2f} | {lines[-1]['content']:.2f} |" for name, lines in curves.items()]
    return "At the end; held-out photographs themselves have a distance of 1 and lose 0.\n\n" + "\n".join(rows) + "\n"


def svg(curves: dict[str, list[dict[str, float]]]) -> str:
    """Each variant's way through the plane of content lost (x) and distance from drawings (y); a dot at each checkpoint."""
    points = [(line["content"], line["drawing"]) for lines in curves.values() for line in lines]
    (left, right), (low, high) = ((min(axis), max(axis)) for axis in zip(*points, strict=True))

    def at(line: dict[str, float]) -> tuple[float, float]:
        return 50 + 380 * (line["content"] - left) / (right - left), 330 - 300 * (line["drawing"] - low) / (high - low)

    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 380" font-family="sans-serif" font-size="12">',
        '<rect width="640" height="380" fill="white"/><path d="M50 20V330H430" fill="none" stroke="#999"/>',
        f'<text x="50" y="348">{left:.2f}</text><text x="430" y="348" text-anchor="end">{right:.2f}</text>',
        '<text x="240" y="366" text-anchor="middle">content lost</text>',
        f'<text x="44" y="330" text-anchor="end">{low:.2f}</text><text x="44" y="34" text-anchor="end">{high:.2f}</text>',
        '<text x="18" y="180" text-anchor="middle" transform="rotate(-90 18 180)">distance from drawings</text>',
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
