"""Pictures inside a page: the samples of a run as data: URLs, as small as they have to be."""

import base64
import math
import re
from dataclasses import dataclass
from pathlib import Path

from limner.errors import LimnerError
from limner.pictures import image

MOST_BYTES = 3_400_000
"""All pictures together; base64 makes them a third larger."""


@dataclass(frozen=True)
class EmbeddedPicture:
    """A picture inside the page."""

    source: str
    """data: URL"""
    width: int
    height: int
    alt: str
    caption: str


def newest(samples: Path) -> list[EmbeddedPicture]:
    """Of each sheet the photographs and, below them, the newest row that is whole."""
    rows: dict[str, dict[int, Path]] = {}
    for path in samples.glob("step-*"):
        if match := re.fullmatch(r"step-(\d+)(-.+)?\.(jpg|png)", path.name):
            rows.setdefault(match[2] or "", {})[int(match[1])] = path
    found = []
    share = {"most_pixels": 3_000_000 // max(1, len(rows)), "most_bytes": MOST_BYTES // 8 // max(1, len(rows))}
    for name, row in sorted(rows.items()):
        told = f" ({name[1:]})" if name else ""
        photographs = _picture(samples / f"photographs{name}.jpg", f"The photographs{told}", "", **share)
        painted = (_picture(row[step], f"Samples at step {step:,}{told}", f"Step {step:,}{told}", **share) for step in sorted(row)[::-1])
        found += [photographs, next(filter(None, painted), None)]
    return [shown for shown in found if shown]


def sheets(samples: Path) -> list[EmbeddedPicture]:
    """The growing sheets, those that can be read."""
    paths = [path for path in (samples / "sheet.jpg", *sorted(samples.glob("sheet-*.jpg"))) if path.exists()]
    share = {"most_pixels": 6_000_000 // max(1, len(paths)), "most_bytes": MOST_BYTES * 3 // 4 // max(1, len(paths))}
    alt = "Sheet of samples: photographs in the first row, below them a row for each moment of the training, the newest last"
    found = []
    for path in paths:
        name = path.stem.removeprefix("sheet").removeprefix("-")
        found.append(_picture(path, f"{alt} ({name})" if name else alt, name, **share))
    return [shown for shown in found if shown]


def _picture(path: Path, alt: str, caption: str, *, most_pixels: int, most_bytes: int) -> EmbeddedPicture | None:
    """The picture inside the page, made as small as it has to be; None where it cannot be read."""
    try:
        picture = image.read(path)
    except LimnerError:  # cut in two, or gone since it was listed
        return None
    shrink = 1.0
    while True:
        height, width = picture.pixels.shape[:2]
        shrink *= min(1, math.sqrt(most_pixels / (width * height)))
        picture = image.fit(picture, max(1, int(max(width, height) * shrink)))
        data = image.encode(picture, ".jpg", strip=True, quality=80)
        if len(data) <= most_bytes:
            height, width = picture.pixels.shape[:2]
            return EmbeddedPicture(f"data:image/jpeg;base64,{base64.b64encode(data).decode()}", width, height, alt, caption)
        shrink = 0.95 * math.sqrt(most_bytes / len(data))
