"""docs/images/films.jpg: two neighbouring frames of a film and of its paintings, and what differs beyond the motion."""

import argparse
import tempfile
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from limner.batch.sheet import lay_out
from limner.film import calm, painting, reading
from limner.film.options import FilmOptions
from limner.style import style

ROOT = Path(__file__).parent.parent
FRAMES, SHOWN, STEP, NOISE = 14, 12, 3, 3.0
HEIGHT, WIDTH, CROP = 300, 400, (20, 60, 200, 300)  # top, left, height, width of what is shown
TIMES = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--ways", nargs="+", default=["starry-night:live:off", "starry-night:live:flow", "storybook:live:off", "storybook:live:flow"]
    )
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images" / "films.jpg")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        film = Path(place) / "film.mkv"
        _pan(film)
        columns = {"film": _frames(film)}
        for way in chosen.ways:
            name, tier, kept = way.rsplit(":", 2)
            opened = style.load(name, tier=tier)
            out = Path(place) / "out.mkv"
            painting.paint(film, out, opened.paint, FilmOptions(calm=kept, crf=8), identity={"way": way})
            columns[f"{opened.card.title}, {tier}, calm {kept}"] = _frames(out)
            out.unlink()
    before, now = (columns["film"][n] for n in (SHOWN - 1, SHOWN))
    flow, _ = calm.flows(now, before, 2)
    rows: list[list[Image.Image]] = [[], [], []]
    for title, frames in columns.items():
        beyond = np.abs(frames[SHOWN].astype(int) - calm.moved_along(frames[SHOWN - 1], flow))
        print(f"{title}: {_cut(beyond).mean():.2f} of 255")
        for row, picture in zip(rows, (frames[SHOWN - 1], frames[SHOWN], (TIMES * beyond).clip(0, 255).astype(np.uint8)), strict=True):
            row.append(Image.fromarray(_cut(picture)))
    lay_out(rows, list(columns)).save(chosen.out, quality=88)


def _pan(path: Path) -> None:
    """A camera that moves over an example photograph, with the noise that cameras have."""
    photo = np.asarray(Image.open(ROOT / "examples" / "photos" / "chelsea.jpg").convert("RGB"))
    chance = np.random.default_rng(0)
    scale = HEIGHT / photo.shape[0] * 1.05
    wide = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt, stream.options = WIDTH, HEIGHT, "yuv444p", {"crf": "8"}
        for n in range(FRAMES):
            pixels = wide[n : n + HEIGHT, STEP * n : STEP * n + WIDTH] + chance.normal(0, NOISE, (HEIGHT, WIDTH, 3))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels.clip(0, 255).astype(np.uint8), format="rgb24")))
        container.mux(stream.encode())


def _frames(path: Path) -> list[NDArray[np.uint8]]:
    return [frame.picture.pixels.astype(np.uint8) for frame in reading.opened(path).frames()]


def _cut(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    top, left, height, width = CROP
    return np.ascontiguousarray(picture[top : top + height, left : left + width])


if __name__ == "__main__":
    main()
