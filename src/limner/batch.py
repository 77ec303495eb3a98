"""Many files, one style: what becomes what, what is there already, going on after a bad file."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from limner.errors import LimnerError
from limner.runtimes import Device, Runtime


@dataclass(frozen=True)
class Options:
    """Options of ``limner apply``."""

    style: Annotated[str, Parameter(alias="-s")] = ""
    """Name of a bundled style (see `limner styles`), or a style file; the first bundled one if left out."""
    strength: float = 1.0
    """From 0, the photograph itself, to 1, the style."""
    keep_colors: bool = False
    """Keep the photograph's own colours under the style's strokes."""
    max_size: int | None = None
    """Scale pictures down so that the longer side has at most this many pixels; strokes then look larger."""
    runtime: Runtime = "auto"
    """Engine to run the style with."""
    device: Device = "auto"
    """Where to run it; auto is the CPU."""
    overwrite: bool = False
    """Paint again what is there already."""
    strip: bool = False
    """Write no metadata (camera, place, time, colour profile)."""
    quality: int = 95
    """Quality of JPEG, WebP and AVIF, from 1 to 100."""
    max_pixels: int = 200_000_000
    """Refuse pictures with more pixels than this."""


@dataclass(frozen=True)
class Job:
    """One picture to paint."""

    source: Path
    target: Path


def plan(inputs: Iterable[Path], out: Path | None, style_name: str) -> list[Job]:
    """What becomes what. A folder gives all the pictures in it, at any depth; below ``out`` its tree is kept.

    Without ``out`` a painting lies beside its photograph (``photo.starry-night.jpg``). ``out`` is a file where there is a single picture
    and ``out`` has a suffix, else a folder. Raises ``LimnerError`` where a folder holds no picture, or two pictures would become one file.
    """
    from limner import image
    from limner.style import default_output

    found: list[tuple[Path, Path]] = []
    inputs = list(inputs)
    for path in inputs:
        if path.is_dir():
            inside = [p for p in image.find(path) if not p.stem.endswith(f".{style_name}")]  # paintings of an earlier call are not photos
            if not inside:
                raise LimnerError(f"There are no pictures in {path}: name a folder that holds some (folders inside it are searched too).")
            found += [(p, p.relative_to(path)) for p in inside]
        else:
            found.append((path, Path(path.name)))
    if out is not None and out.suffix and not out.is_dir() and len(inputs) == 1 and not inputs[0].is_dir():
        return [Job(found[0][0], out)]
    jobs = [Job(source, default_output(source if out is None else out / inner, style_name)) for source, inner in found]
    taken: dict[Path, Path] = {}
    for job in jobs:
        if job.target in taken:
            raise LimnerError(
                f"{taken[job.target]} and {job.source} would both become {job.target}: paint them in two calls with different -o."
            )
        taken[job.target] = job.source
    return jobs


def run(
    inputs: Iterable[Path], out: Path | None, options: Options, tell: Callable[[str], None]
) -> Iterator[tuple[Job, LimnerError | None]]:
    """Paint all of ``inputs``; yields each job when it is done, with the error where it failed. ``tell`` takes sentences for people.

    Raises ``LimnerError`` before anything is painted where the call as a whole cannot work.
    """
    from limner import image, style

    if not 0 <= options.strength <= 1:
        raise LimnerError(f"A --strength of {options.strength:g} is not possible: give a number from 0 (the photograph) to 1 (the style).")
    if options.max_size is not None and options.max_size < 1:
        raise LimnerError(f"A --max-size of {options.max_size} is not possible: give a number of pixels.")
    paint = style.load(options.style, runtime=options.runtime, device=options.device)
    for job in plan(inputs, out, paint.card.name):
        try:
            if job.target.exists() and not options.overwrite:
                tell(f"{job.target} is there already; --overwrite paints it again.")
                yield job, None
                continue
            picture = image.read(job.source, max_pixels=options.max_pixels)
            if options.max_size is not None:
                picture = image.fit(picture, options.max_size)
            painted = paint.paint(picture, strength=options.strength, keep_colors=options.keep_colors)
            image.write(painted, job.target, strip=options.strip, quality=options.quality)
        except LimnerError as error:
            yield job, error
        else:
            tell(f"{job.target}")
            yield job, None
