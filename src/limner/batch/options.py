"""The options of ``limner apply``, and which of them a painting shows."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from limner.errors import require
from limner.film import options as films
from limner.film.options import FilmOptions
from limner.gallery.bundled import Tier
from limner.gallery.card import Card, WorkingSize
from limner.style.runtimes.contract import Device, Runtime

Format = Literal["jpg", "png", "webp", "tif", "avif", "bmp", "gif"]
Executor = Literal["local", "ray"]


@dataclass(frozen=True)
class Options:
    """Options of ``limner apply``."""

    style: str = ""
    """Name of a bundled style (see `limner styles`), or a style file; the first bundled one that has the tier if left out."""
    tier: Tier = "standard"
    """The style's network itself, the same in int8 (faster), or a small one for video (many times faster, and coarser)."""
    strength: float = 1.0
    """From 0, the photograph itself, to 1, the style."""
    keep_colors: bool = False
    """Keep the photograph's own colours under the style's strokes."""
    working_size: WorkingSize | None = None
    """Short side, in pixels, at which larger pictures are painted, to be enlarged to their own size afterwards: strokes and lines grow with
    the picture. 0 or full is the picture's own size; left out, it is what the style's card says."""
    stroke_size: float = 1.0
    """How much larger than usual strokes and lines are, of a style that paints at a working size: from 0.5 to 2."""
    max_size: int | None = None
    """Scale pictures down so that the longer side has at most this many pixels; strokes then look larger."""
    runtime: Runtime = "auto"
    """Engine to run the style with."""
    device: Device = "auto"
    """Where to run it; auto is the CPU, and with the torch runtime a GPU where there is one."""
    executor: Executor = "local"
    """Who does the work: this program, or Ray Data, here or on the cluster of RAY_ADDRESS (with ray: `s3://...` and .parquet files too)."""
    overwrite: bool = False
    """Paint again what is there already."""
    format: Format | None = None
    """Format of the paintings; by default that of each photograph, and PNG where Limner only reads it."""
    strip: bool = False
    """Write no metadata (camera, place, time, colour profile)."""
    quality: int = 95
    """Quality of JPEG, WebP and AVIF, from 1 to 100."""
    max_pixels: int = 200_000_000
    """Refuse pictures with more pixels than this."""
    film: FilmOptions = field(default_factory=FilmOptions)
    """What films ask for beside these."""


NOT_SEEN = ("style", "stroke_size", "runtime", "device", "executor", "overwrite", "format", "max_pixels", "film")
"""Options that leave no trace in a painting, or one that its name, its style's weights or its working size tell."""


def check(options: Options) -> None:
    """Raise ``LimnerError`` where an option is out of its range."""
    require(
        0 <= options.strength <= 1,
        f"A `strength` of {options.strength:g} is not possible: give a number from 0 (the photograph) to 1 (the style).",
    )
    require(
        options.max_size is None or options.max_size >= 1, f"A `max_size` of {options.max_size} is not possible: give a number of pixels."
    )
    require(
        options.working_size is None or options.working_size == "full" or options.working_size >= 0,
        f"A `working_size` of {options.working_size} is not possible: give the short side in pixels, or full.",
    )
    require(0.5 <= options.stroke_size <= 2, f"A `stroke_size` of {options.stroke_size:g} is not possible: give a number from 0.5 to 2.")
    require(
        options.stroke_size == 1 or options.working_size is None,
        "`stroke_size` and `working_size` are two names for one thing: give one of them.",
    )
    require(1 <= options.quality <= 100, f"A `quality` of {options.quality} is not possible: give a number from 1 to 100.")
    films.check(options.film)


def working_size(options: Options, style: Card) -> WorkingSize | None:
    """The working size to ask ``style`` for. Raises ``LimnerError`` where larger strokes are asked of one that has none."""
    if options.stroke_size == 1:
        return options.working_size
    require(
        style.working_size > 0,
        f"{style.name} paints every picture at its own size, so its strokes have one `stroke_size`: use `max_size` to enlarge them.",
    )
    return round(style.working_size / options.stroke_size)


def seen(options: Options, working_size: int = 0, *, film: bool = False) -> dict[str, Any]:
    """The options that decide what a painting, perhaps of a film, looks like; the ``working_size`` is that of the style, where the options
    name none."""
    photo = {name: value for name, value in asdict(options).items() if name not in NOT_SEEN} | {"working_size": working_size}
    return photo | asdict(options.film) if film else photo
