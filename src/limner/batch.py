"""Many files, one style: what becomes what, what is there already, going on after a bad file."""

import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from limner.errors import LimnerError
from limner.files import replacing
from limner.gallery import Tier
from limner.runtimes import Device, Runtime

if TYPE_CHECKING:
    from limner.style import Style


@dataclass(frozen=True)
class Options:
    """Options of ``limner apply``."""

    style: Annotated[str, Parameter(alias="-s")] = ""
    """Name of a bundled style (see `limner styles`), or a style file; the first bundled one if left out."""
    tier: Tier = "standard"
    """The style's network itself, the same in int8 (faster), or a small one for video (many times faster, and coarser)."""
    strength: float = 1.0
    """From 0, the photograph itself, to 1, the style."""
    keep_colors: bool = False
    """Keep the photograph's own colours under the style's strokes."""
    max_size: int | None = None
    """Scale pictures down so that the longer side has at most this many pixels; strokes then look larger."""
    runtime: Runtime = "auto"
    """Engine to run the style with."""
    device: Device = "auto"
    """Where to run it; auto is the CPU, and with the torch runtime a GPU where there is one."""
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

    inputs = list(inputs)
    found = _photographs(inputs, out, style_name)
    if out is not None and out.suffix and not out.is_dir():
        if len(found) == 1 and not inputs[0].is_dir():
            return [Job(found[0][0], out)]
        if out.suffix.lower() in image.SUFFIXES:
            raise LimnerError(f"{len(found)} pictures cannot all become {out}: give -o a folder.")
    jobs = [Job(source, default_output(source if out is None else out / inner, style_name)) for source, inner in found]
    taken: dict[Path, Path] = {}
    for job in jobs:
        if job.target in taken:
            raise LimnerError(f"{taken[job.target]} and {job.source} would both become {job.target}: rename one, or paint them apart.")
        taken[job.target] = job.source
    return jobs


def _photographs(inputs: list[Path], out: Path | None, style_name: str) -> list[tuple[Path, Path]]:
    """(file, place below ``out``) of every photograph that ``inputs`` name, each file once, and none of Limner's own paintings."""
    from limner import image

    found: dict[Path, tuple[Path, Path]] = {}
    # A single file that is named is wanted as it is; of several (`*.jpg`) those are not that an earlier call painted.
    files = [path for path in inputs if not path.is_dir()]
    wanted = files if len(inputs) == 1 else _without_paintings(files, style_name)
    for path in inputs:
        if not path.is_dir():
            if path in wanted:
                found.setdefault(path.resolve(), (path, Path(path.name)))
            continue
        inside = image.find(path)
        if out is not None and path.resolve() in out.resolve().parents:
            inside = [p for p in inside if out.resolve() not in p.resolve().parents]
        inside = _without_paintings(inside, style_name)
        if not inside:
            raise LimnerError(f"There are no pictures in {path}: name a folder that holds some (folders inside it are searched too).")
        for p in inside:
            found.setdefault(p.resolve(), (p, p.relative_to(path)))
    return list(found.values())


def _without_paintings(paths: list[Path], style_name: str) -> list[Path]:
    """``paths`` without what Limner painted: ``photo.starry-night.jpg`` is none of the photographs where ``photo.jpg`` lies beside it."""
    from limner import gallery

    endings = tuple(f".{name}" for name in {style_name, *gallery.names()})
    stems = {path.with_suffix("") for path in paths}
    return [p for p in paths if not (p.stem.endswith(endings) and p.with_name(p.stem.rpartition(".")[0]) in stems)]


def run(
    inputs: Iterable[Path], out: Path | None, options: Options, tell: Callable[[str], None]
) -> Iterator[tuple[Job, LimnerError | None]]:
    """Paint all of ``inputs``; yields each job when it is done, with the error where it failed. ``tell`` takes remarks for people.

    Raises ``LimnerError`` before anything is painted where the call as a whole cannot work.
    """
    from limner import image, style

    if not 0 <= options.strength <= 1:
        raise LimnerError(f"A --strength of {options.strength:g} is not possible: give a number from 0 (the photograph) to 1 (the style).")
    if options.max_size is not None and options.max_size < 1:
        raise LimnerError(f"A --max-size of {options.max_size} is not possible: give a number of pixels.")
    if not 1 <= options.quality <= 100:
        raise LimnerError(f"A --quality of {options.quality} is not possible: give a number from 1 to 100.")
    paint = style.load(options.style, tier=options.tier, runtime=options.runtime, device=options.device)
    jobs = plan(inputs, out, paint.card.name)
    for job in jobs:
        if job.target.suffix.lower() not in image.WRITABLE:
            raise LimnerError(f"{job.target} cannot be written: Limner writes {', '.join(image.WRITABLE)}, not {job.target.suffix!r}.")
    paint.open()
    for job in jobs:
        try:
            if job.target.exists() and not options.overwrite:
                tell(f"{job.target} is there already; --overwrite paints it again.")
                yield job, None
                continue
            _paint_file(paint, job, options)
        except LimnerError as error:
            yield job, error
        except (OSError, MemoryError) as error:
            yield job, LimnerError(f"{job.source} could not be painted ({error or type(error).__name__}): check its name, and free memory.")
        else:
            yield job, None


def _paint_file(paint: "Style", job: Job, options: Options) -> None:
    from limner import image

    picture = image.read(job.source, max_pixels=options.max_pixels)
    same_format = image.WRITABLE.get(job.target.suffix.lower()) == picture.metadata.format
    if options.strength == 0 and options.max_size is None and not options.strip and same_format:
        # The photograph itself, to the bit: not even its colour profile or its JPEG blocks are worked out anew.
        with replacing(job.target) as beside:
            shutil.copyfile(job.source, beside)
        return
    if options.max_size is not None:
        picture = image.fit(picture, options.max_size)
    painted = paint.paint(picture, strength=options.strength, keep_colors=options.keep_colors)
    image.write(painted, job.target, strip=options.strip, quality=options.quality)
