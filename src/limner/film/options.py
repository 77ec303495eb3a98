"""The options of painting films, beside those of painting pictures."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from limner.errors import require

Codec = Literal[
    "h264", "hevc", "av1", "vp9",
    "h264-nvenc", "hevc-nvenc", "av1-nvenc", "h264-qsv", "hevc-qsv", "av1-qsv",
    "h264-amf", "hevc-amf", "h264-videotoolbox", "hevc-videotoolbox",
]  # fmt: skip
Calm = Literal["off", "statistics", "flow"]


class Encoder(NamedTuple):
    """An encoder of ffmpeg, its format of pixels, a usual quality, the least one, and its options, where {crf} stands for the quality."""

    encoder: str
    pixels: str
    usual: float
    worst: float
    options: dict[str, str]


_NVENC = {"cq": "{crf}", "rc": "vbr", "b": "0", "preset": "p5", "bf": "0"}
_QSV = {"global_quality": "{crf}", "b": "0", "bf": "0"}
_AMF = {"qp_i": "{crf}", "qp_p": "{crf}", "rc": "cqp", "bf": "0"}
# Its quality goes from 1 to 100, where more is better; ffmpeg's unit of it is 118, and ffmpeg does the sum.
_VIDEOTOOLBOX = {"global_quality": "(100-{crf}*100/51)*118", "flags": "+qscale", "bf": "0"}

# Without frames that look ahead, those of two segments never lie across one another.
CODECS: dict[Codec, Encoder] = {
    "h264": Encoder("libx264", "yuv420p", 17, 51, {"crf": "{crf}", "preset": "faster", "bf": "0"}),
    "hevc": Encoder("libx265", "yuv420p", 20, 51, {"crf": "{crf}", "preset": "medium", "x265-params": "bframes=0:log-level=error"}),
    "av1": Encoder("libsvtav1", "yuv420p", 28, 63, {"crf": "{crf}", "preset": "8", "svtav1-params": "pred-struct=1"}),
    "vp9": Encoder(
        "libvpx-vp9", "yuv420p", 28, 63,
        {"crf": "{crf}", "b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1", "auto-alt-ref": "0"},
    ),
    "h264-nvenc": Encoder("h264_nvenc", "yuv420p", 17, 51, _NVENC),
    "hevc-nvenc": Encoder("hevc_nvenc", "yuv420p", 20, 51, _NVENC),
    "av1-nvenc": Encoder("av1_nvenc", "yuv420p", 28, 63, _NVENC),
    "h264-qsv": Encoder("h264_qsv", "nv12", 17, 51, _QSV),
    "hevc-qsv": Encoder("hevc_qsv", "nv12", 20, 51, _QSV),
    "av1-qsv": Encoder("av1_qsv", "nv12", 28, 51, _QSV),
    "h264-amf": Encoder("h264_amf", "nv12", 17, 51, _AMF),
    "hevc-amf": Encoder("hevc_amf", "nv12", 20, 51, _AMF),
    "h264-videotoolbox": Encoder("h264_videotoolbox", "nv12", 17, 51, _VIDEOTOOLBOX),
    "hevc-videotoolbox": Encoder("hevc_videotoolbox", "nv12", 20, 51, _VIDEOTOOLBOX),
}  # fmt: skip
LOSSLESS = Encoder("png", "rgba", 0, 0, {})
"""Of the segments of what is written as pictures in the end."""


@dataclass(frozen=True)
class FilmOptions:
    """Options of ``limner apply`` for films and animated pictures."""

    start: float = 0.0
    """Seconds of a film from which on it is painted."""
    end: float | None = None
    """Seconds of a film at which the painting ends; by default its own end."""
    fps: float | None = None
    """Most frames a second; others are left out. By default all are painted, each at its own time."""
    frame: float | None = None
    """Paint only the frame shown at this second of a film, counted from its beginning, as a picture beside it: a look at style and options
    before an hour of work. Photographs among the films are left alone, and a picture of an earlier look is painted anew."""
    codec: Codec | None = None
    """How films are encoded; by default h264, and vp9 in WebM. With nvenc, qsv, amf or videotoolbox a chip of NVIDIA's, Intel's, AMD's or
    Apple's does it."""
    crf: float | None = None
    """Quality of films: less is better and larger; by default 17 for h264, 20 for hevc and 28 for the others."""
    calm: Calm = "flow"
    """How strokes are kept from flickering: flow moves the painting before along with the picture, and blends it into the next one;
    statistics, for networks with instance norms, lets their means and variances change slowly along a shot."""

    def codec_for(self, suffix: str) -> Codec:
        return self.codec or ("vp9" if suffix == ".webm" else "h264")


def check(options: FilmOptions) -> None:
    """Raise ``LimnerError`` where an option is out of its range."""
    require(options.start >= 0, f"A `start` of {options.start:g} s is not possible: give a number of seconds.")
    require(
        options.end is None or options.end > options.start,
        f"An `end` of {options.end or 0:g} s is not possible: it must come after the start, {options.start:g} s.",
    )
    require(options.fps is None or 0 < options.fps <= 1000, f"An `fps` of {options.fps or 0:g} is not possible: give a number from 1 on.")
    frame = options.frame
    require(frame is None or 0 <= frame <= 1e9, f"A `frame` at {frame} s is not possible: give a number of seconds from 0 on.")
    worst = CODECS[options.codec or "h264"].worst
    require(options.crf is None or 0 <= options.crf <= worst, f"A `crf` of {options.crf} is not possible: give a number from 0 to {worst}.")
