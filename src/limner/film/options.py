"""The options of painting films, beside those of painting pictures."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from limner.errors import require

Codec = Literal["h264", "hevc", "av1", "vp9"]


class Encoder(NamedTuple):
    """An encoder of ffmpeg, its option for quality with a usual value, and further options."""

    encoder: str
    quality: str
    usual: float
    options: dict[str, str]


CODECS: dict[Codec, Encoder] = {
    "h264": Encoder("libx264", "crf", 18, {"preset": "medium", "bf": "0"}),
    "hevc": Encoder("libx265", "crf", 20, {"preset": "medium", "x265-params": "bframes=0:log-level=error"}),
    "av1": Encoder("libsvtav1", "crf", 28, {"preset": "8", "svtav1-params": "pred-struct=1"}),
    "vp9": Encoder("libvpx-vp9", "crf", 28, {"b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1", "auto-alt-ref": "0"}),
}


@dataclass(frozen=True)
class FilmOptions:
    """Options of ``limner apply`` for films."""

    start: float = 0.0
    """Seconds of a film from which on it is painted."""
    end: float | None = None
    """Seconds of a film at which the painting ends; by default its own end."""
    codec: Codec | None = None
    """How films are encoded; by default h264, and vp9 in WebM."""
    crf: float | None = None
    """Quality of films: less is better and larger; by default 18 for h264, 20 for hevc and 28 for the others."""

    def codec_for(self, suffix: str) -> Codec:
        return self.codec or ("vp9" if suffix == ".webm" else "h264")


def check(options: FilmOptions) -> None:
    """Raise ``LimnerError`` where an option is out of its range."""
    require(options.start >= 0, f"A `start` of {options.start:g} s is not possible: give a number of seconds.")
    require(
        options.end is None or options.end > options.start,
        f"An `end` of {options.end:g} s is not possible: it must come after the start, {options.start:g} s." if options.end else "",
    )
    require(options.crf is None or 0 <= options.crf <= 63, f"A `crf` of {options.crf} is not possible: give a number from 0 to 63.")
