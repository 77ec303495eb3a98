"""What becomes what: pictures, folders and globs in; a tree of paintings out."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from limner import extras
from limner import files as disk
from limner.errors import LimnerError, require
from limner.film import kinds
from limner.gallery import bundled
from limner.pictures import image
from limner.style.style import default_output


@dataclass(frozen=True)
class Job:
    """One picture to paint."""

    source: Path
    target: Path
    place: str
    """Where the photograph lies in what was named, such as `deep/photo.jpg`."""
    film: bool = False
    """Whether it is a film, or an animated picture."""
    frame: float | None = None
    """Second of the film ``source`` whose frame is the picture; None: there is no such film."""


def plan(
    inputs: Iterable[Path],
    out: Path | None,
    style_name: str,
    format: str | None = None,
    tell: Callable[[str], None] = lambda _: None,
    frame: float | None = None,
) -> list[Job]:
    """What becomes what. A folder gives all the pictures and films in it, at any depth; below ``out`` its tree is kept, and that of a glob
    (``photos/**/*.jpg``) from its first wildcard on.

    Without ``out`` a painting lies beside its photograph (``photo.starry-night.jpg``). ``out`` is a file where there is a single picture
    and ``out`` has a suffix, else a folder. ``format`` is a suffix without its dot. ``tell`` takes a remark on what
    was left out. With ``frame``, a second, one frame of each film becomes a picture, and nothing else does. Raises ``LimnerError`` where
    there is no picture, or two would become one file.
    """
    named = list(inputs)
    found = photographs(named, out, style_name, films=True, tell=tell)
    if frame is not None:
        extras.need("video", "A frame of a film")
        found = [(source, place) for source, place in found if _is_painted_as_film(source)]
        require(bool(found), f"There is no film in {', '.join(map(str, named[:3]))}: name one, or leave `frame` out to paint photographs.")
    if out is not None and not is_folder(out):
        if len(found) == 1 and not disk.is_folder(named[0]):
            if format is not None and image.WRITABLE.get(out.suffix.lower(), "") != image.WRITABLE[f".{format}"]:
                raise LimnerError(f"{out} is no name for a file in the format {format}: change one, or leave `format` out.")
            source, place = found[0]
            if frame is not None:
                return [Job(source, out, place.as_posix(), frame=frame)]
            film = _is_film(source) or (_is_painted_as_film(source) and out.suffix.lower() in kinds.WRITABLE)
            if film:
                kinds.check_suffix(out)
            return [Job(source, out, place.as_posix(), film)]
        if out.suffix.lower() in (*image.SUFFIXES, *kinds.WRITABLE):
            raise LimnerError(f"{len(found)} pictures cannot all become {out}: let `out` be a folder.")
    return jobs_for(found, out, style_name, format, films=True, frame=frame)


def jobs_for(
    found: Iterable[tuple[Path, Path]],
    out: Path | None,
    style_name: str,
    format: str | None,
    *,
    films: bool = False,
    frame: float | None = None,
) -> list[Job]:
    """A job for each (file, place below ``out``); with ``films`` there may be some among them, and with ``frame`` all are.

    Raises ``LimnerError`` where two would become one file.
    """
    jobs = []
    taken: dict[Path, Path] = {}
    for source, place in found:
        own = source if out is None else out / place
        film = films and frame is None and _is_painted_as_film(source)
        if frame is not None:
            own = own.with_suffix(".png")
        if film:
            # Other formats are of pictures: of a folder of both, films stay films.
            own, wanted = own.with_suffix(kinds.suffix_for(source)), format if format == "gif" else None
        target = default_output(own, style_name, wanted if film else format, (*image.WRITABLE, *kinds.WRITABLE) if film else image.WRITABLE)
        if target in taken:
            raise LimnerError(f"{taken[target]} and {source} would both become {target}: rename one, or paint them apart.")
        taken[target] = source
        jobs.append(Job(source, target, place.as_posix(), film, frame))
    return jobs


def is_folder(out: Path) -> bool:
    """Whether ``-o out`` means a folder, there or to be made; tables are folders, too."""
    return out.suffix != kinds.FRAMES and (disk.is_folder(out) or out.suffix in ("", ".parquet"))


def without_paintings(paths: list[Path], *style_names: str) -> list[Path]:
    """``paths`` without what Limner painted: ``photo.starry-night.jpg`` is none of the photographs where ``photo.jpg`` lies beside it."""
    names = {*style_names, *bundled.names()}
    endings = tuple(f".{name}" for name in names)
    stems = {path.with_suffix("") for path in paths}
    shortened = {default_output(p, name).with_suffix("") for p in paths if len(os.fsencode(p.name)) > 200 for name in names}

    def is_painting(path: Path) -> bool:
        return path.stem.endswith(endings) and (path.with_name(path.stem.rpartition(".")[0]) in stems or path.with_suffix("") in shortened)

    return [path for path in paths if not is_painting(path)]


def photographs(
    named: list[Path], out: Path | None, *style_names: str, films: bool = False, tell: Callable[[str], None] = lambda _: None
) -> list[tuple[Path, Path]]:
    """(file, place below ``out``) of every photograph (and with ``films``, film) that ``named`` means, each file once, and none of Limner's
    own paintings."""
    also = _is_film if films and extras.has("video") else None
    found: dict[str, tuple[Path, Path]] = {}
    left_out = Counter[str]()
    # A single file that is named is wanted as it is; of several (`*.jpg`) those are not that an earlier call painted.
    files = [path for path in named if not disk.is_folder(path) and not _is_glob(path)]
    wanted = files if len(named) == 1 else without_paintings(files, *style_names)
    for path in named:
        if disk.is_folder(path):
            base, inside = path, image.find(path, left_out=left_out, also=also)
        elif _is_glob(path):
            base, inside = _matching(path, left_out, also)
        else:
            if path in wanted:
                found.setdefault(os.path.realpath(path), (path, Path(path.name)))
            continue
        if out is not None and base.resolve() in out.resolve().parents:  # what was painted there is no photograph
            inside = [p for p in inside if out.resolve() not in Path(os.path.realpath(p)).parents]
        inside = without_paintings(inside, *style_names)
        if not inside:
            if _is_glob(path):
                raise LimnerError(f"No pictures match {path}: check the pattern (** stands for folders at any depth).")
            raise LimnerError(f"There are no pictures in {path}: name a folder that holds some (folders inside it are searched too).")
        for p in inside:
            found.setdefault(os.path.realpath(p), (p, p.relative_to(base)))
    if left_out:
        tell(f"left out, not known as pictures: {image.told_left_out(left_out)}.")
    return list(found.values())


def _is_glob(path: Path) -> bool:
    return re.search(r"[*?[]", str(path)) is not None and not disk.exists(path)


def _is_film(path: Path) -> bool:
    return kinds.kind(path) == "film"


def _is_painted_as_film(path: Path) -> bool:
    """Where the extra packages are missing, the first frame of an animated picture is painted still; of a film, it is told."""
    kind = kinds.kind(path)
    return kind == "film" or (kind == "animation" and extras.has("video"))


def _matching(pattern: Path, left_out: Counter[str], also: Callable[[Path], bool] | None) -> tuple[Path, list[Path]]:
    """The folder before the first wildcard, and the pictures that match; matching folders are searched. Hidden ones are left out."""
    first = next(i for i, part in enumerate(pattern.parts) if re.search(r"[*?[]", part))
    base = Path(*pattern.parts[:first])
    found: set[Path] = set()
    try:
        for path in base.glob(str(Path(*pattern.parts[first:]))):
            if any(part.startswith(".") for part in path.relative_to(base).parts):
                continue
            if path.is_dir():
                found.update(image.find(path, left_out=left_out, also=also))
            elif path.suffix.lower() in image.SUFFIXES or (also is not None and also(path)):
                found.add(path)
            elif not image.is_own(path):
                left_out[path.suffix.lower() or "without a suffix"] += 1
    except ValueError as error:
        raise LimnerError(f"{pattern} is no pattern for files ({error}): ** must stand between slashes.") from error
    return base, sorted(image.without_own(base, found))
