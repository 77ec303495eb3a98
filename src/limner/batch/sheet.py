"""A contact sheet: photographs, and beside each what every style makes of it, on one picture."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from limner.batch import batch, planning
from limner.errors import LimnerError, require
from limner.files import replacing
from limner.gallery import bundled
from limner.gallery.bundled import Tier
from limner.pictures import formats, image
from limner.style import style
from limner.style.style import Style

GAP, HEADING, LETTERS = 6, 30, 18
"""Pixels between pictures, of the line of names above them, and of its letters."""

LARGEST = formats.MAX_SIDE["JPEG"]
"""Most pixels a side that a sheet may have, in any format."""


@dataclass(frozen=True)
class Options:
    """Options of ``limner sheet``."""

    style: tuple[str, ...] = ()
    """A bundled style, or a style file; give it again for each further one. All the bundled ones if left out."""
    tier: Tier = "standard"
    """The styles' networks themselves, the same in int8 (faster), or small ones for video (many times faster, and coarser)."""
    height: int = 300
    """Height of each picture on the sheet, in pixels."""
    max_size: int = 1000
    """Photographs are painted at their own size, but at most with this many pixels on the longer side, and then reduced: strokes of a
    larger one could not be seen."""
    overwrite: bool = False
    """Replace a file that is there already."""
    quality: int = 90
    """Quality of JPEG, WebP and AVIF, from 1 to 100."""


class Sheet:
    """A sheet that is to be made: checked, its photographs found, its styles opened. ``len`` is how many paintings it takes.

    ``inputs`` are pictures, folders and patterns, as ``limner apply`` takes them. Raises ``LimnerError`` before anything is painted where
    the call as a whole cannot work.
    """

    def __init__(self, inputs: Sequence[str], out: Path, options: Options) -> None:
        require(options.height >= 16, f"Pictures {options.height} pixels high are too small to be seen: give at least 16.")
        require(options.max_size >= 1, f"Pictures of at most {options.max_size} pixels cannot be painted: give a larger number.")
        require(1 <= options.quality <= 100, f"A quality of {options.quality} is not possible: give a number from 1 to 100.")
        batch.check_writable([out])
        require(options.overwrite or not out.exists(), f"{out} is there already: overwrite it, or give the sheet another name.")
        self.out, self.options = out, options
        self.styles = [style.load(name, tier=options.tier) for name in options.style or bundled.names()]
        names = [each.card.name for each in self.styles]
        found = planning.photographs([Path(name) for name in inputs], out, *names)
        self.photographs = [path for path, _ in found if path.resolve() != out.resolve()]  # an older sheet is no photograph
        require(bool(self.photographs), f"There is no photograph to lay on {out}: name some.")
        self.largest = min(LARGEST, formats.MAX_SIDE.get(image.WRITABLE[out.suffix.lower()], LARGEST))
        require(
            HEADING + len(self.photographs) * (options.height + GAP) <= self.largest,
            f"{len(self.photographs):,} photographs of {options.height} pixels each are too many for one sheet ({self.largest:,} pixels): "
            "name fewer, or make them less high.",
        )
        self.titles = ["photograph", *names]
        for each in self.styles:
            each.open()

    def __len__(self) -> int:
        return len(self.photographs) * len(self.styles)

    def write(self, advance: Callable[[], None], tell: Callable[[str], None]) -> bool:
        """Paint, and write the sheet, whole or not at all; whether every photograph is on it.

        ``advance`` is called after each painting; ``tell`` is told what is wrong with a photograph that is left out. Raises ``LimnerError``
        where not one is good, or the sheet cannot be written.
        """
        lines = []
        with replacing(self.out) as beside:
            beside.touch()  # a place that cannot be written to is known before, not after, the work
            for path in self.photographs:
                try:
                    lines.append(self._line(path, advance))
                except (LimnerError, OSError, MemoryError) as error:
                    told = f"{path} could not be painted ({error or type(error).__name__}): check its name, and free memory."
                    tell(str(error) if isinstance(error, LimnerError) else told)
            require(bool(lines), f"{self.out} is not written: not one photograph could be painted.")
            whole = image.from_pil(lay_out(lines, self.titles, self._columns()))
            beside.write_bytes(image.encode(whole, self.out.suffix, quality=self.options.quality))
        return len(lines) == len(self.photographs)

    def _columns(self) -> int:
        """One photograph in many styles goes on over several lines: so wide a picture would be seen as a thread."""
        return len(self.titles) if len(self.photographs) > 1 or len(self.titles) < 8 else 4

    def _line(self, path: Path, advance: Callable[[], None]) -> list[Image.Image]:
        photo = image.read(path)
        height, width = photo.pixels.shape[:2]
        columns = self._columns()
        require(
            GAP + columns * (self.options.height * width / height + GAP) <= self.largest,
            f"{path} is too wide for a sheet, {width} x {height} pixels beside {len(self.titles) - 1} paintings of it: leave it out.",
        )
        return line(photo, self.styles, self.options.height, self.options.max_size, advance)


def line(
    photo: image.Picture, styles: Sequence[Style], height: int = 300, max_size: int = 1000, advance: Callable[[], None] = lambda: None
) -> list[Image.Image]:
    """A photograph and what each style makes of it, as RGB pictures ``height`` pixels high.

    It is painted at its own size, but with at most ``max_size`` pixels on the longer side (or as many as are shown), and then reduced.
    ``advance`` is called after each painting. Raises ``LimnerError`` where a style cannot paint it.
    """
    photo = image.fit(photo, max(max_size, height, round(height * photo.pixels.shape[1] / photo.pixels.shape[0])))
    pictures = [photo]
    for each in styles:
        pictures.append(each.paint(photo))
        advance()
    return [scaled(Image.fromarray(image.flat(picture)), height) for picture in pictures]


def scaled(picture: Image.Image, height: int) -> Image.Image:
    return picture.resize((max(1, round(picture.width * height / picture.height)), height), Image.Resampling.LANCZOS)


def lay_out(lines: Sequence[Sequence[Image.Image]], titles: Sequence[str], columns: int | None = None) -> Image.Image:
    """One RGB picture with a line for each photograph and a column for each title. Pictures are equally high; columns are as wide as the
    widest picture or title, with white between them. Where there are more titles than ``columns``, further ones come below."""
    font = ImageFont.load_default(LETTERS)
    width = max([picture.width for line in lines for picture in line] + [round(font.getlength(title)) for title in titles])
    height, columns = lines[0][0].height, columns or len(titles)
    parts = range(0, len(titles), columns)
    part_height = HEADING + len(lines) * (height + GAP)
    whole = Image.new("RGB", (GAP + columns * (width + GAP), len(parts) * part_height), "white")
    draw = ImageDraw.Draw(whole)
    for place, title in enumerate(titles):
        part, column = divmod(place, columns)
        left, top = GAP + column * (width + GAP), part * part_height
        draw.text((left, top + 4), title, "black", font)
        for row, pictures in enumerate(lines):
            picture = pictures[place]
            whole.paste(picture, (left + (width - picture.width) // 2, top + HEADING + row * (height + GAP)))
    return whole
