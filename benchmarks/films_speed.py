"""Frames a second of painted films: the whole command, at several sizes and in each tier, beside the usual loop over frames.

    python benchmarks/films_speed.py FILM [--styles storybook] [--sizes 480 720 1080] [--seconds 4] [--start 0]

The film is first scaled to each size (its short side), and a part of it kept. Then, one after the other and on the same machine:

- ``limner apply`` on it, start of the program to the end of the file, for each tier, with and without calm;
- the usual loop: a program that reads a frame with PyAV, runs the standard network on it in torch without compiling, and writes the result
  with the same encoder and options. It takes so long that it is given the first LOOPED frames only, and its start does not count;
- reading alone, and reading and writing alone, by the same code as ``limner apply``, for their share in it.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from limner.film import painting, reading
from limner.film.options import FilmOptions
from limner.gallery import bundled
from limner.pictures.image import Picture

LOOP = """
import sys, time
import av, torch
from limner.methods.live import load_teacher
source, target, style, rate, count = sys.argv[1:]
network = load_teacher(style)
since = time.perf_counter()
with torch.no_grad(), av.open(source) as film, av.open(target, "w") as out:
    stream = out.add_stream("libx264", rate=round(float(rate)), options={"crf": "18", "preset": "medium", "bf": "0"})
    for number, frame in enumerate(film.decode(video=0)):
        if number == int(count):
            break
        x = torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1)[None].float() / 255
        height, width = x.shape[2] // 16 * 16, x.shape[3] // 16 * 16
        y = network(x[..., :height, :width])[0].clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).contiguous().numpy()
        if number == 0:
            stream.width, stream.height, stream.pix_fmt = y.shape[1], y.shape[0], "yuv420p"
        out.mux(stream.encode(av.VideoFrame.from_ndarray(y, format="rgb24")))
    out.mux(stream.encode())
print(time.perf_counter() - since)
"""

LOOPED = 4


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("film", type=Path)
    parser.add_argument("--styles", nargs="+", default=["storybook"])
    parser.add_argument("--sizes", nargs="+", type=int, default=[480, 720, 1080])
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--start", type=float, default=0.0)
    chosen = parser.parse_args()
    print("| short side | style | way | seconds | frames/s | beside the loop |")
    print("| --- | --- | --- | --- | --- | --- |")
    for side in chosen.sizes:
        with tempfile.TemporaryDirectory() as place:
            clip = Path(place) / f"{side}.mp4"
            part = FilmOptions(start=chosen.start, end=chosen.start + chosen.seconds, calm="off", crf=12)
            frames = painting.paint(chosen.film, clip, lambda picture: _scaled(picture, side), part, identity={}).frames  # noqa: B023
            rate = float(reading.opened(clip).rate)

            def show(style: str, way: str, seconds: float, loop: float | None = None, frames: int = frames) -> None:
                beside = "" if loop is None else f"{loop * frames / seconds:.1f} x"
                print(f"| {side} | {style} | {way} | {seconds:.1f} | {frames / seconds:.1f} | {beside} |", flush=True)  # noqa: B023

            since = time.perf_counter()
            for _ in reading.opened(clip).frames():
                pass
            show("", "reading alone", time.perf_counter() - since)
            since = time.perf_counter()
            painting.paint(clip, clip.with_name("copy.mp4"), lambda picture: picture, FilmOptions(calm="off"), identity={})
            show("", "reading and writing alone", time.perf_counter() - since)
            for style in chosen.styles:
                words = ["-c", LOOP, str(clip), str(clip.with_name("loop.mp4")), style, str(rate), str(LOOPED)]
                loop = float(subprocess.run([sys.executable, *words], check=True, stdout=subprocess.PIPE, text=True).stdout)
                show(style, f"a loop of torch, {LOOPED} frames", loop, frames=LOOPED)
                for tier in bundled.tiers(bundled.find(style)):
                    for calm in ("off", "flow"):
                        out = str(clip.with_name(f"{style}.{tier}.{calm}.mp4"))
                        command = ["-m", "limner", "apply", str(clip), "-o", out, "-s", style, "--tier", tier, "--calm", calm]
                        show(style, f"limner, {tier}, calm {calm}", _timed(command), loop / LOOPED)


def _timed(words: list[str]) -> float:
    since = time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - since


def _scaled(picture: Picture, side: int) -> Picture:
    """To a short side of ``side`` pixels, larger or smaller, of even sides."""
    import cv2

    height, width = picture.pixels.shape[:2]
    size = (2 * round(width * side / min(height, width) / 2), 2 * round(height * side / min(height, width) / 2))
    return Picture(np.ascontiguousarray(cv2.resize(picture.pixels, size, interpolation=cv2.INTER_CUBIC)))


if __name__ == "__main__":
    main()
