"""Preview sheets: the same photographs again and again, as the network paints them at one moment after another."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional as F

from limner.pictures import image

PHOTOS = 4
SHORT_SIDE = 384
"""Of the photographs, where the method does not say at which size its style is at its best."""
MULTIPLE = 16
ROW_HEIGHT = 256
MARGIN = 64
MAX_ROWS = 24


class PreviewSheet:
    """samples/sheet.jpg, which grows by a row each time; each row is also a file of its own, so that a resumed run goes on with the sheet.

    ``paint`` maps float32 NCHW RGB in [0, 1] to the same; ``photos`` are such batches of one, sides multiples of 16.
    """

    def __init__(self, folder: Path, paint: Callable[[Tensor], Tensor], photos: list[Tensor], *, name: str = "") -> None:
        self.folder, self.paint, self.photos = folder, paint, photos
        self.suffix = f"-{name}" if name else ""

    def add(self, step: int) -> Path | None:
        """Paint a row and make the sheet anew; returns the sheet. Nothing where there are no photographs."""
        if not self.photos:
            return None
        with torch.no_grad():
            painted = [self.paint(photo) for photo in self.photos]
        first = self._row(0)
        if not first.exists():
            _write(_side_by_side(self.photos, self.photos), first)
        _write(_side_by_side(painted, self.photos), self._row(step))
        path = self.folder / f"sheet{self.suffix}.jpg"
        _write(self._stacked(self._chosen()), path)
        return path

    def _row(self, step: int) -> Path:
        return self.folder / (f"step-{step:08d}{self.suffix}.jpg" if step else f"photographs{self.suffix}.jpg")

    def _chosen(self) -> list[tuple[int, Path]]:
        """The rows to show: all, or evenly spread ones with the first and the newest among them."""
        steps = sorted(int(path.stem.split("-")[1]) for path in self.folder.glob(f"step-????????{self.suffix}.jpg"))
        if len(steps) > MAX_ROWS:
            steps = [steps[i] for i in np.linspace(0, len(steps) - 1, MAX_ROWS).round().astype(int)]
        return [(step, self._row(step)) for step in (0, *steps)]

    def _stacked(self, rows: list[tuple[int, Path]]) -> Image.Image:
        pictures = [(step, image.to_pil(image.read(path)).convert("RGB")) for step, path in rows]
        height = sum(picture.height for _, picture in pictures)
        sheet = Image.new("RGB", (MARGIN + max(picture.width for _, picture in pictures), height), "white")
        draw, font, top = ImageDraw.Draw(sheet), ImageFont.load_default(16), 0
        for step, picture in pictures:
            sheet.paste(picture, (MARGIN, top))
            draw.text((MARGIN - 8, top + picture.height / 2), f"{step:,}" if step else "photo", "black", font, anchor="rm")
            top += picture.height
        return sheet


def _side_by_side(pictures: list[Tensor], photos: list[Tensor]) -> Image.Image:
    """Batches of one picture, in one row, as large as makes their photographs ``ROW_HEIGHT`` high."""
    shown = [Image.fromarray(image.from_float(picture.float().clamp(0, 1).cpu().numpy(), np.uint8)) for picture in pictures]
    heights = [ROW_HEIGHT * picture.shape[2] // photo.shape[2] for picture, photo in zip(pictures, photos, strict=True)]
    shown = [
        each.resize((round(each.width * height / each.height), height), Image.Resampling.LANCZOS)
        for each, height in zip(shown, heights, strict=True)
    ]
    row = Image.new("RGB", (sum(each.width for each in shown), max(heights)))
    left = 0
    for each in shown:
        row.paste(each, (left, 0))
        left += each.width
    return row


def _write(picture: Image.Image, path: Path) -> None:
    image.write(image.from_pil(picture), path)


def photos(pictures: Iterable[Tensor | None], short_side: int) -> list[Tensor]:
    """The first readable ones of ``pictures`` (uint8 CHW RGB) as batches of one, float32 in [0, 1], sides multiples of 16."""
    found: list[Tensor] = []
    for picture in pictures:
        if len(found) == PHOTOS:
            break
        if picture is not None:
            scale = short_side / min(picture.shape[1:])
            size = [max(round(side * scale / MULTIPLE), 1) * MULTIPLE for side in picture.shape[1:]]
            found.append(F.interpolate(picture[None].float() / 255, size, mode="bicubic", antialias=True).clamp(0, 1))
    return found
