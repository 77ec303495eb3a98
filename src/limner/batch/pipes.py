"""One picture between pipes: `cat photo.jpg | limner apply - -o - > painting.jpg`."""

from collections.abc import Callable
from pathlib import Path
from typing import IO

from limner import files
from limner.batch.options import Options, check
from limner.batch.painter import Painter
from limner.batch.planning import Job
from limner.errors import require
from limner.film import kinds
from limner.pictures import image
from limner.style import style


def paint(name: str, out: str, options: Options, source: IO[bytes], sink: IO[bytes], tell: Callable[[str], None]) -> tuple[str, ...]:
    """Paint a picture from the file ``name``, or ``source`` for ``-``, to the file ``out``, or ``sink`` for ``-``.

    The format is that of ``options``, of ``out``, or of the photograph. Returns what was lost, as ``Result`` has it.
    """
    check(options)
    target = Path(f"painting.{options.format}" if options.format else "painting") if out == "-" else Path(out)
    suffix = target.suffix.lower()
    writable = suffix in image.WRITABLE or (out == "-" and not suffix)
    require(writable, f"{out} cannot be written: Limner writes {', '.join(image.WRITABLE)}, not {suffix!r}.")
    require(options.film.frame is None, "A `frame` is taken of a film in a file: give its name, and `out` that of a file.")
    there = out != "-" and files.exists(target) and not options.overwrite
    require(not there, f"{out} is there already: set `overwrite` to paint it again, or name another `out`.")
    require(
        name == "-" or kinds.kind(Path(name)) != "film", f"{name} is a film, which does not go through a pipe: give `out` a file's name."
    )
    opened = style.load(options.style, tier=options.tier, runtime=options.runtime, device=options.device)
    painter = Painter(opened, options, tell=tell)
    if name == "-":
        piped = image.from_pipe(source, "standard input")
        photo = image.decode(piped, "standard input", max_pixels=options.max_pixels)
    else:
        piped, photo = None, image.read(name, max_pixels=options.max_pixels)
    if not suffix:
        suffix = next((each for each, format in image.WRITABLE.items() if format == photo.metadata.format), ".png")
    painted, lost = painter.paint_whole(Job(Path(name), target.with_suffix(suffix), name), painter.sized(photo))
    if painter.is_photograph(painted, suffix) and piped is not None:
        data = piped.getvalue()
    else:
        data = image.encode(painted, suffix, strip=options.strip, quality=options.quality)
    if out == "-":
        sink.write(data)
        sink.flush()
    else:
        with files.replacing(target) as beside:
            beside.write_bytes(data)
    return lost
