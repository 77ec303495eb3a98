"""Bytes of a photograph to bytes of its painting: the same ones that ``limner apply`` writes."""

import hashlib
import io
import re
import sys
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from limner import limits
from limner.batch.options import Options
from limner.batch.painter import Painter
from limner.batch.planning import Job
from limner.errors import LimnerError
from limner.gallery import bundled
from limner.pictures import formats, image
from limner.serve.problems import Problem
from limner.style.style import Style, default_output, load

OWN = 4
"""Style files of clients that stay open beside those in use, the ones used last."""

MEDIA_TYPES = {
    **{"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "TIFF": "image/tiff"},
    **{"BMP": "image/bmp", "GIF": "image/gif", "AVIF": "image/avif"},
}

_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\"<>:|?*]")
"""What a file's name cannot hold somewhere, and what turns the direction of writing."""


@dataclass(frozen=True)
class Photo:
    """A picture as it came."""

    data: bytes
    name: str = ""
    """What its file was called: no path, and none is opened. Empty where nothing was said."""


@dataclass(frozen=True)
class Painting:
    """A picture as it goes."""

    data: bytes
    name: str
    """What to call its file: ``photo.storybook.jpg``."""
    media_type: str
    style: str
    size: tuple[int, int]
    """Width and height."""
    seconds: float
    lost: tuple[str, ...]
    """What was in the photograph's file and is not in the painting's."""


class Studio:
    """The styles of a process, opened once and shared by its threads."""

    def __init__(self, workers: int = 1, max_pixels: int = limits.PIXELS) -> None:
        self._kept, self._max_pixels = OWN + workers, max_pixels
        self._styles: dict[tuple[str, bundled.Tier], Style] = {}
        self._own: OrderedDict[str, Style] = OrderedDict()
        self._lock = threading.Lock()
        self._folder = tempfile.TemporaryDirectory(prefix="limner-serve-")

    def close(self) -> None:
        self._folder.cleanup()

    def style(self, name: str = "", tier: bundled.Tier = "standard") -> Style:
        """A bundled style, ready. Raises ``Problem`` where it has no such tier."""
        name = name or bundled.default(tier)
        if tier not in bundled.tiers(name):
            raise Problem(422, f"The style {name} has no {tier} tier: there is {', '.join(bundled.tiers(name))}.")
        with self._lock:
            found = self._styles.get((name, tier))
            if found is None:
                found = self._styles[name, tier] = load(name, tier=tier)
            found.open()
        return found

    def own(self, data: bytes) -> Style:
        """A client's style file, looked at before an engine opens it. Raises ``Problem`` where it is none, or asks for too much."""
        key = hashlib.sha256(data).hexdigest()
        with self._lock:
            if key not in self._own:
                path = Path(self._folder.name) / f"{key}.onnx"
                path.write_bytes(data)
                try:
                    found = load(path)
                    found.open()
                except LimnerError as error:
                    path.unlink()
                    raise Problem(422, str(error).replace(str(path), "The file")) from error
                self._own[key] = found
                while len(self._own) > self._kept:
                    self._own.popitem(last=False)[1].path.unlink()
            self._own.move_to_end(key)
            return self._own[key]

    def paint(self, photo: Photo, options: Options, own: bytes | None = None, watch: Callable[[float], None] = lambda _: None) -> Painting:
        """Paint. ``watch`` is told which part of a big picture is done, and may raise. Raises ``Problem`` with the library's sentence."""
        start = time.perf_counter()
        chosen = self.own(own) if own is not None else self.style(options.style, options.tier)
        name = _file_name(photo.name)
        opened = self._open(photo, name or "The upload")
        painter = Painter(chosen, options, watch=watch)
        try:
            target = self._target(name, chosen.card.name, options, opened)
            painted, lost = painter.paint_whole(Job(Path(name or "picture"), target, name), painter.sized(opened))
            watch(1.0)
            if painter.is_photograph(painted, target.suffix):
                data = photo.data
            else:
                data = image.encode(painted, target.suffix, strip=options.strip, quality=options.quality)
        except LimnerError as error:
            raise Problem(422, str(error)) from error
        height, width = painted.pixels.shape[:2]
        media_type = MEDIA_TYPES[image.WRITABLE[target.suffix.lower()]]
        return Painting(data, target.name, media_type, chosen.card.name, (width, height), time.perf_counter() - start, lost)

    def _open(self, photo: Photo, name: str) -> image.Picture:
        """The picture, within the limits."""
        file = io.BytesIO(photo.data)
        try:
            if photo.data:
                formats.open_header(file, name, sys.maxsize)
        except LimnerError as error:
            raise Problem(415, str(error)) from error
        try:
            if photo.data:
                formats.open_header(file, name, self._max_pixels)
        except LimnerError as error:
            raise Problem(413, str(error)) from error
        try:
            return image.decode(file, name, max_pixels=self._max_pixels)
        except LimnerError as error:
            raise Problem(422, str(error)) from error

    @staticmethod
    def _target(name: str, style_name: str, options: Options, opened: image.Picture) -> Path:
        if not name:
            suffix = next((each for each, format in image.WRITABLE.items() if format == opened.metadata.format), ".png")
            name = f"painting{suffix}"
        return default_output(Path(name), style_name, options.format)


def _file_name(name: str) -> str:
    """The last part of what a client calls its file, with nothing in it that a file's name should not have."""
    return _UNFIT.sub("", PurePosixPath(name.replace("\\", "/")).name).strip(". ")[-200:]
