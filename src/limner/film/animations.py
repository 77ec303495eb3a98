"""Writing painted segments as animated pictures, or as a folder of single ones."""

import shutil
from collections.abc import Generator, Sequence
from contextlib import closing
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from limner import files, limits
from limner.errors import require
from limner.film.kinds import ANIMATIONS, FRAMES
from limner.film.writing import Part


def write(parts: Sequence[Part], time_base: Fraction, target: Path, *, quality: int) -> None:
    """An animated picture or a folder of frames, as ``target``'s suffix says; whole or not at all."""
    suffix = target.suffix.lower()
    if suffix == FRAMES:
        _write_folder(parts, target)
        return
    import av

    format = ANIMATIONS[suffix]
    unit = 10 if format == "GIF" else 1  # milliseconds; rounded are times and not durations, whose errors would add up
    times = [unit * round(1000 * time * time_base / unit) for part in parts for time in part.times]
    times.append(unit * round(1000 * parts[-1].until * time_base / unit))
    with av.open(f"file:{parts[0].path}") as container:
        stream = container.streams.video[0]
        limits.painting(
            4.0 * stream.width * stream.height * (len(times) - 1),
            f"{target}, which is put together in memory,",
            "paint a shorter part of the film (`start`, `end`), fewer frames (`fps`) or smaller ones (`max_size`), or name a .mp4.",
        )
    options: dict[str, Any] = {"quality": quality} if format == "WEBP" else {}
    with files.replacing(target) as beside, closing(_pictures(parts)) as pictures:
        durations = [max(after - before, unit) for before, after in pairwise(times)]
        first = next(pictures)
        more = pictures if format == "GIF" else list(pictures)  # which Pillow goes through more than once
        first.save(beside, format, save_all=True, append_images=more, duration=durations, loop=0, **options)


def _write_folder(parts: Sequence[Part], target: Path) -> None:
    """000001.png and so on; frames of an earlier call go. Raises ``LimnerError`` where other files are there."""
    beside = target.with_name(files.shortened(f".{target.name}", ".limner-frames"))
    there = list(target.iterdir()) if target.is_dir() else []
    ours = all(path.suffix == ".png" and path.stem.isdigit() for path in there)
    require(ours and (not target.exists() or target.is_dir()), f"{target} holds other files than frames: name another folder.")
    try:
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        with closing(_pictures(parts)) as pictures:
            for number, picture in enumerate(pictures, 1):
                picture.save(beside / f"{number:06}.png")
        if target.exists():
            shutil.rmtree(target)
        beside.replace(target)
    except OSError as error:
        raise files.cannot_write(target, error) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _pictures(parts: Sequence[Part]) -> Generator[Image.Image, None, None]:
    """RGB, or RGBA where they are not opaque, one in memory at a time."""
    import av

    for part in parts:
        with av.open(f"file:{part.path}") as container:
            for frame in container.decode(video=0):
                samples = frame.to_ndarray(format="rgba")
                yield Image.fromarray(np.ascontiguousarray(samples[..., :3]) if samples[..., 3].min() == 255 else samples)
