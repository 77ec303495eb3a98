"""A contact sheet: every photograph of a folder beside what each style makes of it. See runs/sheet.sh."""

from pathlib import Path

from cyclopts import run
from PIL import Image, ImageDraw, ImageFont

import limner
from limner import image

GAP, HEADING = 6, 30


def sheet(*styles: str, photos: Path = Path("examples/photos"), out: Path = Path("sheet.jpg"), height: int = 300, rows: int = 12) -> None:
    """Make the sheet, and print where it is.

    Parameters
    ----------
    styles
        Names of bundled styles, or style files; all the bundled ones if none is named.
    photos
        Folder of photographs.
    out
        The sheet to write; more photographs than --rows go to out-2.jpg and so on.
    height
        Height of each picture on the sheet, in pixels. Pictures are painted at their own size, then scaled.
    rows
        Photographs on one sheet.
    """
    painters = [limner.load(name) for name in styles or [card.name for card in limner.styles()]]
    paths = image.find(photos)
    for start in range(0, len(paths), rows):
        lines = []
        for path in paths[start : start + rows]:
            photo = image.to_pil(image.read(path)).convert("RGB")
            lines.append([scaled(picture, height) for picture in (photo, *(paint(photo) for paint in painters))])
        target = out if start == 0 else out.with_stem(f"{out.stem}-{start // rows + 1}")
        target.parent.mkdir(parents=True, exist_ok=True)
        lay_out(lines, ["photograph", *(paint.card.title for paint in painters)]).save(target, quality=90, subsampling=0)
        print(target)


def scaled(picture: Image.Image, height: int) -> Image.Image:
    return picture.resize((round(picture.width * height / picture.height), height), Image.Resampling.LANCZOS)


def lay_out(lines: list[list[Image.Image]], titles: list[str]) -> Image.Image:
    """A line for each photograph, a column for each style; columns as wide as the widest picture."""
    width, height = max(picture.width for line in lines for picture in line), lines[0][0].height
    whole = Image.new("RGB", (GAP + len(titles) * (width + GAP), HEADING + len(lines) * (height + GAP)), "white")
    draw, font = ImageDraw.Draw(whole), ImageFont.load_default(18)
    for column, title in enumerate(titles):
        left = GAP + column * (width + GAP)
        draw.text((left, 4), title, "black", font)
        for row, line in enumerate(lines):
            whole.paste(line[column], (left + (width - line[column].width) // 2, HEADING + row * (height + GAP)))
    return whole


if __name__ == "__main__":
    run(sheet)
