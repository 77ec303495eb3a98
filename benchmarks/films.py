"""Flicker of painted films: each frame by itself, and with what keeps it calm.

    python benchmarks/films.py FILM... [--styles storybook starry-night] [--tier live] [--calm off flow] [--side 240]
        [--start 0] [--seconds 4]

Each film is painted at a short side of so many pixels, for some seconds from the start on, as `limner apply` does it. Errors are those of
`limner evaluate video`; detail is the mean gradient of the calm painting beside that of the plain one, for what is blurred flickers less,
too. The film itself, written and read in the same way, is what a painting that keeps to it would reach.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from limner.film import flicker, painting, reading
from limner.film.options import FilmOptions
from limner.pictures import image
from limner.pictures.image import Picture
from limner.style import style


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("films", nargs="+", type=Path)
    parser.add_argument("--styles", nargs="+", default=["storybook", "starry-night"])
    parser.add_argument("--tier", default="live")
    parser.add_argument("--calm", nargs="+", default=["off", "flow"], help="off first; statistics is for styles with instance norms")
    parser.add_argument("--side", type=int, default=240)
    parser.add_argument("--start", type=float, default=0.0)
    parser.add_argument("--seconds", type=float, default=4.0)
    chosen = parser.parse_args()
    print("| film | style | calm | flicker: film | painting | relative | detail | frames/s |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for film in chosen.films:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            span = {"start": chosen.start, "end": chosen.start + chosen.seconds}
            small = folder / "film.mkv"
            painting.paint(film, small, lambda picture: _fitted(picture, chosen.side), FilmOptions(**span, calm="off", crf=8), identity={})
            for name in chosen.styles:
                opened = style.load(name, tier=chosen.tier)
                detail: dict[str, float] = {}
                for calm in chosen.calm:
                    target = folder / f"{opened.card.name}.{calm}.mkv"
                    since = time.perf_counter()
                    made = painting.paint(
                        small, target, opened.paint, FilmOptions(calm=calm, crf=8), identity={}, paint_along=opened.paint_along
                    )
                    seconds = time.perf_counter() - since
                    shot = flicker.whole(flicker.measure(small, target))
                    detail[calm] = _detail(target)
                    numbers = f"{shot.film:.2f} | {shot.painting:.2f} | {shot.flicker:.2f} | {detail[calm] / detail['off']:.2f}"
                    print(f"| {film.stem} | {opened.card.name} | {calm} | {numbers} | {made.frames / seconds:.1f} |", flush=True)


def _fitted(picture: Picture, side: int) -> Picture:
    height, width = picture.pixels.shape[:2]
    return image.fit(picture, round(side * max(height, width) / min(height, width)))


def _detail(path: Path) -> float:
    """Mean absolute difference of neighbouring pixels."""
    frames = reading.opened(path).frames()
    found = [float(np.abs(np.diff(frame.picture.pixels.astype(np.int16), axis=1)).mean()) for frame in frames]
    return float(np.mean(found))


if __name__ == "__main__":
    main()
