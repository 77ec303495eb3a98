"""Films: what they become, frame by frame, with their sound; what is bad about them; and what is left when a run is killed."""

import contextlib
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from limner import LimnerError, extras, files
from limner.film import calm, flicker, kinds, options, painting, reading, writing
from limner.film.options import FilmOptions
from limner.pictures.image import Picture
from limner.style.style import load
from tests.conftest import NORM, make_photo
from tests.test_cli import Call, limner, tree

av = pytest.importorskip("av")

__all__ = ["limner"]  # a fixture

Pixels = NDArray[np.uint8]
LIVE = NORM.with_suffix(".live.onnx")


def moving(count: int = 12, width: int = 64, height: int = 48, seed: int = 0) -> list[Pixels]:
    """A picture that moves by two pixels a frame."""
    wide = make_photo(width + 2 * count, height, seed)
    return [np.ascontiguousarray(wide[:, 2 * n : 2 * n + width]) for n in range(count)]


def make_film(
    path: Path,
    frames: list[Pixels],
    *,
    times: list[int] | None = None,
    rate: int = 12,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    rotation: int = 0,
    sound: float = 0.0,
    chapters: list[tuple[float, float]] | None = None,
    **options: str,
) -> Path:
    """``times`` are in ticks of 1/(10 * rate) s; ``sound`` is its length in seconds."""
    with av.open(str(path), "w", options={"movflags": "+faststart"} if path.suffix in (".mp4", ".mov") else {}) as container:
        stream = container.add_stream(codec, rate=rate)
        height, width = frames[0].shape[:2]
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        stream.time_base = stream.codec_context.time_base = Fraction(1, 10 * rate)
        stream.options = {"g": "4", **({"crf": "10"} if codec == "libx264" else {}), **options}
        if rotation:
            stream.set_display_rotation(rotation)
        if sound:
            voice = container.add_stream("aac", rate=16000)
        if chapters:
            unit = Fraction(1, 1000)
            table = [
                {"id": n, "start": round(a * 1000), "end": round(b * 1000), "time_base": unit, "metadata": {"title": f"no. {n}"}}
                for n, (a, b) in enumerate(chapters)
            ]
            container.set_chapters(table)
        if sound:
            tone = (8000 * np.sin(np.arange(int(16000 * sound)) / 7)).astype(np.int16)
            for at in range(0, len(tone), 1024):
                block = av.AudioFrame.from_ndarray(tone[None, at : at + 1024], format="s16", layout="mono")
                block.sample_rate, block.pts, block.time_base = 16000, at, Fraction(1, 16000)
                container.mux(voice.encode(block))
            container.mux(voice.encode())
        for n, each in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(each, format="rgb24")
            frame.pts, frame.time_base = (10 * n if times is None else times[n]), Fraction(1, 10 * rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def shown(path: Path) -> list[Pixels]:
    return [frame.picture.pixels.astype(np.uint8) for frame in reading.opened(path).frames()]


def times(path: Path) -> list[float]:
    film = reading.opened(path)
    return [round(float((frame.time - film.begin) * film.time_base), 3) for frame in film.frames()]


def packets(path: Path, kind: str = "audio") -> list[tuple[float, bytes]]:
    """Seconds after the first frame, and bytes."""
    film = reading.opened(path)
    begin = float(film.begin * film.time_base)
    with av.open(str(path)) as container:
        stream = next(each for each in container.streams if each.type == kind)
        return [(round(float(p.pts * p.time_base) - begin, 3), bytes(p)) for p in container.demux(stream) if p.size]


def names(folder: Path) -> set[str]:
    return set(tree(folder))


def inverted(picture: Picture) -> Picture:
    return picture.with_pixels(255 - picture.pixels)


def counted(painted: list[Picture]) -> Callable[[Picture], Picture]:
    """A painter that writes down what it is given."""

    def paint_one(picture: Picture) -> Picture:
        painted.append(picture)
        return inverted(picture)

    return paint_one


def paint(
    source: Path,
    target: Path,
    painter: Callable[[Picture], Picture] = inverted,
    paint_along: calm.PaintAlong | None = None,
    **options: Any,
) -> painting.Painted:
    chosen = FilmOptions(**{"calm": "off", **options})
    return painting.paint(source, target, painter, chosen, identity={"painter": "inverted"}, paint_along=paint_along)


def difference(one: list[Pixels], other: list[Pixels]) -> float:
    """The largest mean difference of two frames; both films have the same number."""
    return max(float(np.abs(a.astype(int) - b).mean()) for a, b in zip(one, other, strict=True))


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return make_film(tmp_path / "clip.mp4", moving(), sound=1.0, chapters=[(0, 0.5), (0.5, 1)])


# ------------------------------------------------------------------------------------------------------------- what becomes


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_every_frame_is_painted_and_the_sound_is_copied(tmp_path: Path, film: Path, suffix: str) -> None:
    out = tmp_path / f"out{suffix}"
    parts = list[float]()
    made = painting.paint(film, out, inverted, FilmOptions(calm="off"), identity={}, watch=parts.append)
    assert (made.frames, made.lost) == (12, [])
    assert difference(shown(out), [255 - frame for frame in shown(film)]) < 3
    assert times(out) == pytest.approx(times(film), abs=0.002)
    assert [data for _, data in packets(out)] == [data for _, data in packets(film)]
    assert [when for when, _ in packets(out)] == pytest.approx([when for when, _ in packets(film)], abs=0.002)
    with av.open(str(out)) as container:
        assert [(c["metadata"]["title"], float(c["start"] * c["time_base"])) for c in container.chapters()] == [
            ("no. 0", 0),
            ("no. 1", 0.5),
        ]
    assert parts == sorted(parts)
    assert parts[-1] > 0.9
    assert names(tmp_path) == {"clip.mp4", out.name}


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1", "vp9"])
def test_codecs(tmp_path: Path, codec: str) -> None:
    film = make_film(tmp_path / "clip.mp4", moving(6, 96, 80))
    paint(film, tmp_path / "out.mkv", codec=codec)
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert container.streams.video[0].codec_context.name.replace("libdav1d", "av1") == codec
    assert difference(shown(tmp_path / "out.mkv"), [255 - frame for frame in shown(film)]) < 6


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root may make threads real-time ones")
def test_no_thread_becomes_a_real_time_one(tmp_path: Path) -> None:
    """The encoder of av1 makes some, and the calling one, which then starves the machine: what it starts is real-time, too."""
    seen = set[int]()

    def look(picture: Picture) -> Picture:
        seen.add(os.sched_getscheduler(0))
        return picture

    paint(make_film(tmp_path / "long.mp4", moving(30)), tmp_path / "out.mp4", look, codec="av1")
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(ProcessLookupError):  # one that ended since the folder was listed
            seen.add(os.sched_getscheduler(int(task.name)))
    assert seen == {os.SCHED_OTHER}


def test_colours_of_a_flat_film_stay(tmp_path: Path) -> None:
    colours = [(200, 30, 40), (20, 180, 60), (30, 40, 210)]
    film = make_film(tmp_path / "clip.mp4", [np.full((48, 64, 3), colour, np.uint8) for colour in colours])
    paint(film, tmp_path / "out.mp4", lambda picture: picture)
    for before, after in zip(shown(film), shown(tmp_path / "out.mp4"), strict=True):
        assert np.abs(before.mean((0, 1)) - after.mean((0, 1))).max() < 3


def test_variable_rate_is_kept(tmp_path: Path) -> None:
    film = make_film(tmp_path / "clip.mkv", moving(6), times=[0, 10, 15, 60, 62, 90])
    paint(film, tmp_path / "out.mp4")
    assert times(tmp_path / "out.mp4") == [0, 0.083, 0.125, 0.5, 0.517, 0.75] == times(film)


def test_a_part_of_a_film(tmp_path: Path, film: Path) -> None:
    out = tmp_path / "out.mp4"
    assert paint(film, out, start=0.25, end=0.75).frames == 6
    assert times(out) == [round(n / 12, 3) for n in range(6)]
    assert difference(shown(out), [255 - frame for frame in shown(film)[3:9]]) < 3.5
    with av.open(str(out)) as container:
        assert [round(float(c["end"] * c["time_base"]), 2) for c in container.chapters()] == [0.25, 0.5]
    sound = packets(out)
    assert {data for _, data in sound} < {data for _, data in packets(film)}
    assert -0.07 < sound[0][0] < 0.07
    assert 0.4 < sound[-1][0] < 0.6


def test_most_frames_a_second(tmp_path: Path, film: Path) -> None:
    paint(film, tmp_path / "out.mp4", fps=4)
    assert times(tmp_path / "out.mp4") == [0, 0.25, 0.5, 0.75]


def test_rotated_films_are_upright(tmp_path: Path) -> None:
    film = make_film(tmp_path / "clip.mov", moving(3), rotation=90)
    assert shown(film)[0].shape == (64, 48, 3)
    paint(film, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        frame = next(container.decode(video=0))
        assert (frame.width, frame.height, frame.rotation) == (48, 64, 0)
    assert difference(shown(tmp_path / "out.mp4"), [255 - frame for frame in shown(film)]) < 3


def test_odd_sides_go_on_by_a_pixel(tmp_path: Path) -> None:
    film = make_film(tmp_path / "clip.mkv", moving(3, 63, 47), codec="ffv1", pixels="bgr0")
    paint(film, tmp_path / "out.mp4", crf=5)
    assert {frame.shape for frame in shown(tmp_path / "out.mp4")} == {(48, 64, 3)}
    assert difference([frame[:47, :63] for frame in shown(tmp_path / "out.mp4")], [255 - frame for frame in shown(film)]) < 6
    paint(film, tmp_path / "out.gif")
    assert {frame.shape for frame in shown(tmp_path / "out.gif")} == {(47, 63, 3)}


@pytest.mark.parametrize("pixels", ["yuv422p10le", "yuv420p10le", "yuvj420p", "gray"])
def test_other_formats_of_pixels(tmp_path: Path, pixels: str) -> None:
    film = make_film(tmp_path / "clip.mp4", moving(4), pixels=pixels)
    paint(film, tmp_path / "out.mp4", crf=5)
    assert difference(shown(tmp_path / "out.mp4"), [255 - frame for frame in shown(film)]) < 4


@pytest.mark.parametrize("target", ["out.mp4", "out.gif", "out.webp"])
def test_one_frame(tmp_path: Path, target: str) -> None:
    film = make_film(tmp_path / "clip.mp4", moving(1))
    assert paint(film, tmp_path / target).frames == 1
    with Image.open(tmp_path / target) if target != "out.mp4" else Image.fromarray(shown(tmp_path / target)[0]) as picture:
        assert picture.size == (64, 48)


def test_sound_that_is_longer_than_the_pictures(tmp_path: Path) -> None:
    film = make_film(tmp_path / "clip.mp4", moving(4), sound=3.0)
    assert paint(film, tmp_path / "out.mp4").lost == []
    assert [data for _, data in packets(tmp_path / "out.mp4")] == [data for _, data in packets(film)]
    assert len(shown(tmp_path / "out.mp4")) == 4


def test_what_a_format_cannot_hold_is_told(tmp_path: Path, film: Path) -> None:
    assert paint(film, tmp_path / "out.webm").lost == ["sound (aac), which webm cannot hold"]
    assert paint(film, tmp_path / "out.gif").lost == ["sound (aac), which gif cannot hold"]


def make_subtitled(path: Path, codec: str) -> Path:
    """A film of two seconds with three lines of text."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=12)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        text = container.add_stream(codec)
        text.codec_context.subtitle_header, text.codec_context.time_base = SUBTITLES, Fraction(1, 1000)
        text.metadata["language"] = "fin"
        for n, each in enumerate(moving(24)):
            frame = av.VideoFrame.from_ndarray(each, format="rgb24")
            frame.pts, frame.time_base = n, Fraction(1, 12)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        for begin, line in ((0, b"one"), (500, b"two"), (1500, b"three")):
            packet = av.Packet(len(line).to_bytes(2, "big") + line if codec == "mov_text" else line)
            packet.pts, packet.dts, packet.duration, packet.time_base, packet.stream = begin, begin, 400, Fraction(1, 1000), text
            container.mux(packet)
    return path


SUBTITLES = b"""[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize
Style: Default,Arial,16

[Events]
Format: Layer, Start, End, Style, Text
"""


@pytest.mark.parametrize(
    ("source", "codec", "target", "lost"),
    [
        ("in.mp4", "mov_text", "out.mp4", []),
        ("in.mp4", "mov_text", "out.mov", []),
        ("in.mp4", "mov_text", "out.mkv", ["subtitles (mov_text), which mkv cannot hold"]),
        ("in.mkv", "subrip", "out.mkv", []),
        ("in.mkv", "subrip", "out.mp4", ["subtitles (srt), which mp4 cannot hold"]),
    ],
)
def test_subtitles_are_copied_or_told(tmp_path: Path, source: str, codec: str, target: str, lost: list[str]) -> None:
    film = make_subtitled(tmp_path / source, codec)
    assert paint(film, tmp_path / target).lost == lost
    with av.open(str(tmp_path / target)) as container:
        assert [stream.metadata["language"] for stream in container.streams.subtitles] == ([] if lost else ["fin"])
    if not lost:
        found, expected = packets(tmp_path / target, "subtitle"), packets(film, "subtitle")
        assert [data for _, data in found] == [data for _, data in expected]
        assert {b"one", b"two", b"three"} <= {data[2:] if codec == "mov_text" else data for _, data in found}
        assert [when for when, _ in found] == pytest.approx([when for when, _ in expected], abs=0.002)


# -------------------------------------------------------------------------------------------------------- animated pictures


def animated(path: Path, count: int = 4, **options: Any) -> Path:
    frames = [Image.fromarray(each) for each in moving(count, 40, 30)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=[100, 200, 50, 150][:count], loop=0, **options)
    return path


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
@pytest.mark.parametrize("target", [".gif", ".webp", ".apng", ".mp4"])
def test_animated_pictures(tmp_path: Path, suffix: str, target: str) -> None:
    source = animated(tmp_path / f"in{suffix}", **({"lossless": True} if suffix == ".webp" else {}))
    out = tmp_path / f"out{target}"
    assert paint(source, out).frames == 4
    assert times(out) == [0, 0.1, 0.3, 0.35]
    assert reading.opened(out).seconds == pytest.approx(0.5, abs=0.002)
    assert difference(shown(out), [255 - frame for frame in shown(source)]) < 12  # GIF has 256 colours


def test_transparency_goes_along(tmp_path: Path) -> None:
    frames = []
    for n, colour in enumerate([(250, 0, 0), (0, 0, 250)]):
        pixels = np.zeros((20, 30, 4), np.uint8)
        pixels[:, 5 * n : 15 + 5 * n] = (*colour, 255)
        frames.append(Image.fromarray(pixels))
    source = tmp_path / "in.png"
    frames[0].save(source, save_all=True, append_images=frames[1:], duration=100)
    paint(source, tmp_path / "out.webp")
    alphas = [frame.picture.alpha for frame in reading.opened(tmp_path / "out.webp").frames()]
    assert [alpha[10, 2] for alpha in alphas if alpha is not None] == [255, 0]
    made = paint(source, tmp_path / "out.mp4")
    assert made.lost == ["transparency, which mp4 cannot hold"]
    assert shown(tmp_path / "out.mp4")[0][10, 25].min() > 245


def test_a_folder_of_frames(tmp_path: Path, film: Path) -> None:
    out = tmp_path / "out.frames"
    paint(film, out)
    assert sorted(names(out)) == [f"{n:06}.png" for n in range(1, 13)]
    assert difference([np.asarray(Image.open(out / name)) for name in sorted(names(out))], [255 - frame for frame in shown(film)]) == 0
    paint(film, out, end=0.5)
    assert len(list(out.iterdir())) == 6
    (out / "letter.txt").write_text("kept")
    with pytest.raises(LimnerError, match="other files than frames"):
        paint(film, out)
    assert (out / "letter.txt").read_text() == "kept"


# --------------------------------------------------------------------------------------------------- found among photographs


def test_films_are_told_by_their_bytes(tmp_path: Path, film: Path) -> None:
    for name in ("clip.mkv", "clip.ts", "clip.avi", "clip.flv"):
        make_film(tmp_path / name, moving(8), codec="mpeg4" if name == "clip.avi" else "libx264")
        (tmp_path / name).rename(tmp_path / f"{name}.data")
        assert kinds.kind(tmp_path / f"{name}.data") == "film", name
    Image.fromarray(make_photo(30, 20)).save(tmp_path / "photo.mp4", "JPEG")
    Image.fromarray(make_photo(30, 20)).save(tmp_path / "still.gif")
    (tmp_path / "letter.txt").write_text("GET / HTTP/1.1" * 100)
    for still in ("photo.mp4", "still.gif", "letter.txt", "missing"):
        assert kinds.kind(tmp_path / still) == "", still
    assert kinds.kind(animated(tmp_path / "some.gif")) == kinds.kind(animated(tmp_path / "some.png")) == "animation"


def test_a_folder_of_photographs_and_films(limner: Call, tmp_path: Path, film: Path, style_file: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    (folder / "deep").mkdir(parents=True)
    film.rename(folder / "deep" / "clip.mp4")
    make_film(folder / "old.avi", moving(3), codec="mpeg4")
    Image.fromarray(make_photo(40, 30)).save(folder / "photo.jpg")
    animated(folder / "some.gif")
    words = ("apply", folder, "-s", style_file, "-o", out, "--calm", "off")
    code, told, err = limner(*words)
    assert code == 0, err
    expected = {"deep/clip.tiny.mp4", "old.tiny.mp4", "photo.tiny.jpg", "some.tiny.gif"}
    assert names(out) == {*expected, "limner-manifest.jsonl"}
    assert len(shown(out / "deep" / "clip.tiny.mp4")) == 12
    assert len(shown(out / "some.tiny.gif")) == 4
    assert limner(*words) == (0, told, "limner: 0 painted, 4 skipped, 0 failed.\n")
    code, _, err = limner(*words, "--crf", 30)
    assert (code, len(err.splitlines())) == (2, 1)
    assert "crf" in err
    assert "photo.tiny" not in err


def test_beside_the_film(limner: Call, film: Path, style_file: Path) -> None:
    code, told, err = limner("apply", film, "-s", style_file)
    assert (code, told, err) == (0, f"{film.with_name('clip.tiny.mp4')}\n", "")
    assert len(packets(film.with_name("clip.tiny.mp4"))) == len(packets(film))


def test_without_the_extra_packages(limner: Call, tmp_path: Path, film: Path, style_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "installed", lambda *packages: "av" not in packages)
    animated(tmp_path / "some.gif")
    code, _, err = limner("apply", tmp_path, "-s", style_file, "-o", tmp_path / "out")
    assert code == 0
    assert "1 .mp4" in err
    assert "all but the first of its 4 frames" in err
    code, _, err = limner("apply", film, "-s", style_file)
    assert (code, len(err.splitlines())) == (2, 1)
    assert "limner[video]" in err


def test_a_still_of_an_animation_is_told(limner: Call, tmp_path: Path, style_file: Path) -> None:
    code, _, err = limner("apply", animated(tmp_path / "in.gif"), "-s", style_file, "-o", tmp_path / "out.jpg")
    assert code == 0
    assert "all but the first of its 4 frames" in err


# ---------------------------------------------------------------------------------------------------------------- bad films


def spoilt(film: Path, how: str) -> Path:
    data = film.read_bytes()
    if how == "cut in the header":
        film.write_bytes(data[:60])
    elif how == "garbage":
        film.write_bytes(os.urandom(2000))
    elif how == "empty":
        film.write_bytes(b"")
    elif how == "only sound":
        with av.open(str(film)) as old, av.open(str(film.with_name("sound.mp4")), "w") as new:
            copy = new.add_stream_from_template(old.streams.audio[0])
            for packet in old.demux(old.streams.audio[0]):
                if packet.size:
                    packet.stream = copy
                    new.mux(packet)
        film.with_name("sound.mp4").replace(film)
    return film


@pytest.mark.parametrize("how", ["cut in the header", "garbage", "empty", "only sound"])
def test_bad_films_get_one_sentence(limner: Call, tmp_path: Path, film: Path, style_file: Path, how: str) -> None:
    code, told, err = limner("apply", spoilt(film, how), "-s", style_file, "-o", tmp_path / "out.mp4")
    assert (code, told, len(err.splitlines())) == (2, "", 1), err
    assert str(film) in err
    assert names(tmp_path) == {"clip.mp4"}


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("-o", "out.txt"), "out.txt"),
        (("-o", "out.jpg"), "out.jpg"),
        (("--start", 5, "-o", "out.mp4"), "no frame between"),
        (("--start", 2, "--end", 1), "end"),
        (("--crf", 60), "crf"),
        (("--fps", 0), "fps"),
        (("--codec", "h264", "-o", "out.webm"), "webm"),
        (("-o", "-"), "pipe"),
    ],
)
def test_bad_calls_get_one_sentence(
    limner: Call, tmp_path: Path, film: Path, style_file: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[Any, ...], what: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, told, err = limner("apply", film, "-s", style_file, *words)
    assert (code, told, len(err.splitlines())) == (2, "", 1), err
    assert what in err
    assert names(tmp_path) == {"clip.mp4"}


CHIPS = [codec for codec in options.CODECS if "-" in codec]


@pytest.mark.parametrize("codec", CHIPS)
def test_a_chip_that_is_not_there_is_told_before_anything_is_painted(
    limner: Call, tmp_path: Path, film: Path, style_file: Path, codec: options.Codec
) -> None:
    try:
        writing.encoder(codec)
    except LimnerError:
        pass
    else:
        pytest.skip("this machine has it")
    Image.fromarray(make_photo(40, 30)).save(tmp_path / "a.jpg")
    for words in ((film, "-o", tmp_path / "out.mp4"), (tmp_path,), (tmp_path, "-o", tmp_path / "out")):
        code, told, err = limner("apply", *words, "-s", style_file, "--codec", codec)
        assert (code, told, len(err.splitlines())) == (2, "", 1), err
        assert f"set --codec to {codec.partition('-')[0]}" in err
        assert names(tmp_path) == {"clip.mp4", "a.jpg"}
    with pytest.raises(LimnerError, match=codec):
        paint(film, tmp_path / "out.mp4", codec=codec)
    assert names(tmp_path) == {"clip.mp4", "a.jpg"}


@pytest.mark.parametrize("codec", CHIPS)
def test_ffmpeg_knows_the_options_of_chips(codec: options.Codec) -> None:
    """No chip is needed to ask an encoder what it would take: the least quality, and no frames that look ahead."""
    encoder = options.CODECS[codec]
    given = writing.options_of(encoder, encoder.worst)
    assert given["bf"] == "0"
    assert given != writing.options_of(encoder, encoder.usual)
    if encoder.encoder not in av.codecs_available:
        pytest.skip("not in this build")
    context = av.CodecContext.create(encoder.encoder, "w")
    known = {each.name: each for each in (*context.supported_options.generic, *context.supported_options.private)}
    for name, value in given.items():
        number = value.replace(".", "").isdigit()
        assert known[name].min <= float(value) <= known[name].max if number else value in {each.name for each in known[name].choices}, name


def test_of_a_film_that_is_cut_short_the_rest_is_painted(tmp_path: Path) -> None:
    film = make_film(tmp_path / "clip.mp4", moving(60), sound=5.0)
    whole = shown(film)
    with film.open("r+b") as file:
        file.truncate(film.stat().st_size * 6 // 10)
    made = paint(film, tmp_path / "out.mp4")
    assert 12 < made.frames < 48
    assert len(made.lost) == 1
    assert "cut short" in made.lost[0]
    assert difference(shown(tmp_path / "out.mp4")[:10], [255 - frame for frame in whole[:10]]) < 3


def test_a_painter_that_fails_leaves_nothing(tmp_path: Path, film: Path) -> None:
    def fail(picture: Picture) -> Picture:
        raise LimnerError("too large")

    with pytest.raises(LimnerError, match="too large"):
        paint(film, tmp_path / "out.mp4", fail)
    assert names(tmp_path) == {"clip.mp4"}


# ------------------------------------------------------------------------------------------------- ended, and taken up again


@pytest.fixture
def short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(painting, "SECONDS", 0.25)


@pytest.mark.usefixtures("short_segments")
@pytest.mark.parametrize(
    ("options", "at"),
    [*(({}, at) for at in (1, 4, 8, 12)), ({"calm": "flow"}, 5), ({"calm": "flow"}, 11), ({"fps": 5}, 4), ({"start": 0.3}, 7)],
    ids=str,
)
def test_a_call_that_was_ended_goes_on(tmp_path: Path, film: Path, options: dict[str, Any], at: int) -> None:
    paint(film, tmp_path / "whole.mp4", **options)
    count = 0

    def until(picture: Picture) -> Picture:
        nonlocal count
        count += 1
        if count == at:
            raise KeyboardInterrupt
        return inverted(picture)

    with pytest.raises(KeyboardInterrupt):
        paint(film, tmp_path / "out.mp4", until, **options)
    painted = list[Picture]()
    made = paint(film, tmp_path / "out.mp4", counted(painted), **options)
    assert made.frames == len(shown(tmp_path / "whole.mp4"))
    assert len(painted) < made.frames or at < 5
    assert (tmp_path / "out.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()
    assert names(tmp_path) == {"clip.mp4", "whole.mp4", "out.mp4"}


@pytest.mark.usefixtures("short_segments")
def test_with_other_options_all_is_painted_anew(tmp_path: Path, film: Path) -> None:
    def last_fails(picture: Picture, left: list[int] = [8]) -> Picture:  # noqa: B006
        left[0] -= 1
        if not left[0]:
            raise LimnerError("ended")
        return inverted(picture)

    with pytest.raises(LimnerError):
        paint(film, tmp_path / "out.mp4", last_fails)
    assert any(path.name.endswith(".limner-film") for path in tmp_path.iterdir())
    painted = list[Picture]()
    paint(film, tmp_path / "out.mp4", counted(painted), crf=30)
    assert len(painted) == 12


KILLED = """
import sys, time
from pathlib import Path
from limner.film import painting
from limner.film.options import FilmOptions

painting.SECONDS = 0.25

def paint(picture):
    time.sleep(0.05)
    return picture.with_pixels(255 - picture.pixels)

painting.paint(Path(sys.argv[1]), Path(sys.argv[2]), paint, FilmOptions(calm=sys.argv[3]), identity={"painter": "inverted"})
"""


@pytest.mark.usefixtures("short_segments")
@pytest.mark.parametrize(("segments", "calm_"), [(1, "off"), (2, "flow"), (3, "off")])
def test_killed_in_the_middle_it_goes_on(tmp_path: Path, film: Path, segments: int, calm_: str) -> None:
    paint(film, tmp_path / "whole.mp4", calm=calm_)
    out = tmp_path / "out.mp4"
    folder = tmp_path / ".out.mp4.limner-film"
    with subprocess.Popen([sys.executable, "-c", KILLED, str(film), str(out), calm_]) as process:
        while process.poll() is None and len(list(folder.glob("*.done"))) < segments:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not out.exists()
    painted = list[Picture]()
    paint(film, out, counted(painted), calm=calm_)
    assert len(painted) <= 12 - 3 * (segments - 1)
    assert out.read_bytes() == (tmp_path / "whole.mp4").read_bytes()
    assert names(tmp_path) == {"clip.mp4", "whole.mp4", "out.mp4"}


KILLED_AT = """
import os, signal, sys
from pathlib import Path
from limner.film import painting, writing
from limner.film.options import FilmOptions

film, out, moment = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
painting.SECONDS = 0.25

def die_in(owner, name, when):
    calls, whole = [], getattr(owner, name)
    def dying(*words, **more):
        calls.append(words)
        if when(len(calls), words):
            os.kill(os.getpid(), signal.SIGKILL)
        return whole(*words, **more)
    setattr(owner, name, dying)

if moment == "the first segment":
    die_in(writing.Segment, "add", lambda count, _: count == 2)
elif moment == "the end of a segment":  # it has its name, and is not on record
    die_in(painting._Segments, "_record", lambda count, _: count == 2)
elif moment == "the second segment":
    die_in(writing.Segment, "add", lambda count, _: count == 5)
elif moment == "joining":
    packets = writing._painted
    def some(*words):
        for number, packet in enumerate(packets(*words)):
            if number == 6:
                os.kill(os.getpid(), signal.SIGKILL)
            yield packet
    writing._painted = some
elif moment == "the last rename":
    die_in(Path, "replace", lambda _, words: words[1] == out)

painting.paint(film, out, lambda p: p.with_pixels(255 - p.pixels), FilmOptions(calm="flow"), identity={"painter": "inverted"})
"""


@pytest.mark.usefixtures("short_segments")
@pytest.mark.parametrize(
    ("moment", "left"),
    [("the first segment", 12), ("the end of a segment", 9), ("the second segment", 9), ("joining", 0), ("the last rename", 0)],
)
def test_killed_at_any_moment_it_goes_on(tmp_path: Path, film: Path, moment: str, left: int) -> None:
    paint(film, tmp_path / "whole.mp4", calm="flow")
    out = tmp_path / "out.mp4"
    killed = subprocess.run([sys.executable, "-c", KILLED_AT, str(film), str(out), moment], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not out.exists()
    painted = list[Picture]()
    paint(film, out, counted(painted), calm="flow")
    assert len(painted) == left
    assert out.read_bytes() == (tmp_path / "whole.mp4").read_bytes()
    files.clear_leftovers({tmp_path})  # as every batch does that paints there
    assert names(tmp_path) == {"clip.mp4", "whole.mp4", "out.mp4"}


@pytest.mark.usefixtures("short_segments")
@pytest.mark.parametrize("when", ["a segment", "the whole"])
def test_a_full_disk_is_told_and_loses_nothing(tmp_path: Path, film: Path, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    paint(film, tmp_path / "whole.mp4")
    out = tmp_path / "out.mp4"

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    count = 0

    class Full(writing.Segment):
        def close(self) -> None:
            nonlocal count
            count += 1
            super().close()
            if count == 3:
                full()

    with monkeypatch.context() as patched:
        if when == "a segment":
            patched.setattr(painting, "Segment", Full)
        else:
            patched.setattr(writing, "join", full)
        with pytest.raises(LimnerError, match="No space left") as told:
            paint(film, out)
    assert str(out) in str(told.value)
    assert not out.exists()
    assert not list(tmp_path.glob("*.tmp"))
    painted = list[Picture]()
    paint(film, out, counted(painted))
    assert len(painted) == (6 if when == "a segment" else 0)
    assert out.read_bytes() == (tmp_path / "whole.mp4").read_bytes()


def test_two_cannot_paint_the_same(tmp_path: Path, film: Path) -> None:
    with files.holding(tmp_path / ".out.mp4.limner-film", "taken"):
        program = [sys.executable, "-c", KILLED, str(film), str(tmp_path / "out.mp4"), "off"]
        found = subprocess.run(program, capture_output=True, text=True, check=False)
    assert "Another Limner is painting" in found.stderr


# --------------------------------------------------------------------------------------------------------------------- calm


def noisy(picture: Picture, random: np.random.Generator) -> Picture:
    """A painter whose strokes lie elsewhere in every frame."""
    strokes = random.integers(-40, 41, (*picture.pixels.shape[:2], 1))
    return picture.with_pixels((picture.pixels.astype(int) + strokes).clip(0, 255).astype(np.uint8))


def test_flow_calms_and_is_measured(tmp_path: Path) -> None:
    film = make_film(tmp_path / "clip.mkv", moving(12, 96, 80), codec="ffv1", pixels="bgr0")
    measured = {}
    for how in ("off", "flow"):
        random = np.random.default_rng(0)
        paint(film, tmp_path / f"{how}.mkv", partial(noisy, random=random), calm=how, crf=5)
        (shot,) = flicker.measure(film, tmp_path / f"{how}.mkv")
        assert shot.frames == 12
        measured[how] = shot.painting
    (itself,) = flicker.measure(film, film)
    assert itself.flicker == pytest.approx(itself.film / max(itself.film, flicker.LEAST))
    assert measured["off"] > 15
    assert measured["flow"] < measured["off"] / 2
    assert itself.painting < measured["flow"]


def test_what_moves_is_not_smeared(tmp_path: Path) -> None:
    """A faithful painter's film stays what it is."""
    film = make_film(tmp_path / "clip.mkv", moving(12, 96, 80), codec="ffv1", pixels="bgr0")
    paint(film, tmp_path / "out.mkv", lambda picture: picture, calm="flow", crf=5)
    assert difference([f[8:-8, 8:-8] for f in shown(tmp_path / "out.mkv")], [f[8:-8, 8:-8] for f in shown(film)]) < 4


def test_cuts_are_respected(tmp_path: Path) -> None:
    shots = [moving(6, 96, 80, seed=1), moving(6, 96, 80, seed=2)]
    film = make_film(tmp_path / "clip.mkv", [*shots[0], *shots[1]], codec="ffv1", pixels="bgr0")
    paint(film, tmp_path / "out.mkv", lambda picture: picture, calm="flow", crf=5)
    assert difference(shown(tmp_path / "out.mkv")[6:7], shown(film)[6:7]) < 5  # the shot before differs by more than thirty
    found = flicker.measure(film, tmp_path / "out.mkv")
    assert [shot.frames for shot in found] == [6, 6]
    assert found[1].start == pytest.approx(0.5, abs=0.01)


def test_what_was_hidden_is_painted_anew() -> None:
    before, now = (make_photo(160, 120, seed=4) for _ in range(2))
    before[30:80, 40:90] = now[30:80, 52:102] = make_photo(50, 50, seed=5)
    found = calm.motion(now, before)
    assert found.trust is not None
    assert found.trust[35:75, 42:50].mean() < 0.4  # what the square was before
    assert found.trust[90:].mean() > 0.9


def lamp() -> list[Pixels]:
    """A still picture with a lamp in a corner that is bright in every other frame."""
    frames = [make_photo(160, 120, seed=7) for _ in range(12)]
    for number, frame in enumerate(frames):
        frame[:40, :50] = 220 if number % 2 else 120
    return frames


def test_statistics_calm_what_a_lamp_shakes(tmp_path: Path) -> None:
    """Its light changes what the norms measure, and so the whole painting."""
    film, style = make_film(tmp_path / "clip.mkv", lamp(), codec="ffv1", pixels="bgr0"), load(LIVE)
    measured = {}
    for how in ("off", "statistics"):
        paint(film, tmp_path / f"{how}.mkv", style.paint, style.paint_along, calm=how, crf=5)
        (shot,) = flicker.measure(film, tmp_path / f"{how}.mkv")
        measured[how] = shot.flicker
    assert measured["statistics"] < 0.8 * measured["off"], measured


def test_statistics_begin_anew_with_each_shot(tmp_path: Path) -> None:
    frames, style = [*moving(6, 96, 80, seed=1), *moving(6, 96, 80, seed=2)], load(LIVE)
    film = make_film(tmp_path / "clip.mkv", frames, codec="ffv1", pixels="bgr0")
    for how in ("off", "statistics"):
        paint(film, tmp_path / f"{how}.frames", style.paint, style.paint_along, calm=how)
    apart = []
    for number in range(1, 13):
        with (
            Image.open(tmp_path / f"off.frames/{number:06}.png") as one,
            Image.open(tmp_path / f"statistics.frames/{number:06}.png") as other,
        ):
            apart.append(int(np.abs(np.asarray(one).astype(int) - np.asarray(other)).max()))
    assert max(apart[0], apart[6]) <= 1, apart
    assert min(apart[1:6] + apart[7:]) > 1, apart


def test_statistics_of_which_nothing_is_kept_change_nothing() -> None:
    style, frames = load(NORM), [Picture(make_photo(96, 80, seed)) for seed in (1, 2)]
    _, before = style.paint_along(frames[0], None, 0.9)
    painted, after = style.paint_along(frames[1], before, 0.0)
    assert np.abs(painted.pixels.astype(int) - style.paint(frames[1]).pixels).max() <= 1
    assert after.shape == before.shape
    assert after.dtype == np.float32
    _, half = style.paint_along(frames[1], before, 0.5)
    assert half[:, :16] == pytest.approx((before[:, :16] + after[:, :16]) / 2, rel=1e-3, abs=1e-5)  # of the first norm


def test_statistics_last_by_time(tmp_path: Path) -> None:
    film, kept = make_film(tmp_path / "clip.mkv", moving(4), times=[0, 10, 15, 60]), []

    def along(picture: Picture, before: Any, keep: float) -> tuple[Picture, Any]:
        kept.append((None if before is None else int(before[0]), keep))
        return picture, np.array([len(kept)], np.float32)

    paint(film, tmp_path / "out.mkv", paint_along=along, calm="statistics")
    assert [before for before, _ in kept] == [None, 1, 2, 3]
    expected = np.exp(-np.array([10, 5, 45]) / 120 / calm.LASTS)
    assert [keep for _, keep in kept] == [0, *(pytest.approx(each, rel=0.01) for each in expected)]


@pytest.mark.usefixtures("short_segments")
@pytest.mark.parametrize("at", [5, 11])
def test_statistics_outlive_a_stop(tmp_path: Path, film: Path, at: int) -> None:
    style, count = load(LIVE), 0
    paint(film, tmp_path / "whole.mp4", style.paint, style.paint_along, calm="statistics")

    def until(*words: Any) -> Any:
        nonlocal count
        count += 1
        if count == at:
            raise KeyboardInterrupt
        return style.paint_along(*words)

    with pytest.raises(KeyboardInterrupt):
        paint(film, tmp_path / "out.mp4", style.paint, until, calm="statistics")
    assert (tmp_path / ".out.mp4.limner-film" / "segments.json").is_file()
    paint(film, tmp_path / "out.mp4", style.paint, load(LIVE).paint_along, calm="statistics")
    assert (tmp_path / "out.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()
    assert names(tmp_path) == {"clip.mp4", "whole.mp4", "out.mp4"}


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("-s", "storybook", "--tier", "live"), "without instance norms"),
        (("-s", NORM, "--runtime", "onnxruntime"), "OpenVINO on the CPU alone"),
        (("-s", NORM, "--device", "gpu"), "OpenVINO on the CPU alone"),
        (("-s", NORM, "--tier", "int8"), "in int8"),
        (("-s", NORM, "--tier", "live"), "in bands"),
    ],
)
def test_where_there_are_no_statistics_to_smooth(
    limner: Call, tmp_path: Path, film: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[Any, ...], why: str
) -> None:
    monkeypatch.setattr("limner.style.style.WHOLE", 1000)
    code, told, err = limner("apply", film, *words, "--calm", "statistics")
    assert (code, told, len(err.splitlines())) == (2, "", 1), err
    assert why in err
    assert "--calm to flow" in err
    assert names(tmp_path) == {film.name}


def test_evaluate_video(limner: Call, tmp_path: Path, film: Path) -> None:
    paint(film, tmp_path / "out.mp4")
    code, told, err = limner("evaluate", "video", film, tmp_path / "out.mp4")
    assert (code, err) == (0, "")
    assert len(told.splitlines()) == 2
    assert "all shots" in told
    paint(film, tmp_path / "short.mp4", end=0.5)
    code, told, err = limner("evaluate", "video", film, tmp_path / "short.mp4")
    assert (code, told, len(err.splitlines())) == (2, "", 1)
    assert "short.mp4 has fewer frames" in err


# ---------------------------------------------------------------------------------------------------------------- one frame


@pytest.mark.parametrize(("second", "number"), [(0, 0), (0.5, 6), (0.49, 5), (0.99, 11)])
def test_one_frame_as_a_picture(limner: Call, tmp_path: Path, film: Path, style_file: Path, second: float, number: int) -> None:
    """It is the frame that the film's own painting has at that second."""
    code, told, err = limner("apply", film, "-s", style_file, "--frame", second)
    assert (code, told, err) == (0, f"{tmp_path / 'clip.tiny.png'}\n", "")
    assert names(tmp_path) == {"clip.mp4", "clip.tiny.png"}
    limner("apply", film, "-s", style_file, "--calm", "off", "-o", tmp_path / "out.frames")
    with Image.open(tmp_path / "clip.tiny.png") as look, Image.open(tmp_path / "out.frames" / f"{number + 1:06}.png") as painted:
        assert np.array_equal(np.asarray(look), np.asarray(painted))


def test_another_look_takes_the_place_of_the_first(limner: Call, tmp_path: Path, film: Path, style_file: Path) -> None:
    looks = []
    for words in ((0.25,), (0.75,), (0.75, "--strength", 0.5)):
        assert limner("apply", film, "-s", style_file, "--frame", *words)[0] == 0
        looks.append((tmp_path / "clip.tiny.png").read_bytes())
    assert len(set(looks)) == 3
    code, told, _ = limner("apply", film, "-s", style_file, "--frame", 0.25, "-o", tmp_path / "look.webp", "--max-size", 32)
    assert (code, told) == (0, f"{tmp_path / 'look.webp'}\n")
    with Image.open(tmp_path / "look.webp") as look:
        assert (look.format, look.size) == ("WEBP", (32, 24))


def test_a_frame_of_each_film_of_a_folder(limner: Call, tmp_path: Path, film: Path, style_file: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    (folder / "deep").mkdir(parents=True)
    film.rename(folder / "deep" / "clip.mp4")
    Image.fromarray(make_photo(40, 30)).save(folder / "photo.jpg")
    animated(folder / "some.gif")
    words = ("apply", folder, "-s", style_file, "-o", out, "--calm", "off")
    code, _, err = limner(*words, "--frame", 0.4, "--format", "jpg")
    assert code == 0, err
    assert names(out) == {"deep/clip.tiny.jpg", "some.tiny.jpg", "limner-manifest.jsonl"}
    assert limner(*words)[0] == 0  # the films themselves are painted still
    assert {"deep/clip.tiny.mp4", "some.tiny.gif", "photo.tiny.jpg"} < names(out)
    assert limner(*words) == (0, limner(*words)[1], "limner: 0 painted, 3 skipped, 0 failed.\n")


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("clip.mp4", "--frame", 1), "clip.mp4 lasts 1.00 s"),
        (("some.gif", "--frame", 7), "some.gif lasts 0.50 s"),
        (("clip.mp4", "--frame", 1e9), "lasts 1.00 s"),
        (("clip.mp4", "--frame", -1), "--frame"),
        (("clip.mp4", "--frame", "nan"), "--frame"),
        (("photo.jpg", "--frame", 0), "There is no film in photo.jpg"),
        (("clip.mp4", "--frame", 0, "-o", "out.mp4"), "out.mp4"),
        (("clip.mp4", "--frame", 0, "-o", "-"), "--frame"),
        (("clip.mp4", "--frame", 0, "--executor", "ray", "-o", "out"), "--frame"),
    ],
)
def test_a_frame_that_cannot_be_gets_one_sentence(
    limner: Call, tmp_path: Path, film: Path, style_file: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[Any, ...], what: str
) -> None:
    monkeypatch.chdir(tmp_path)
    animated(tmp_path / "some.gif")
    Image.fromarray(make_photo(40, 30)).save(tmp_path / "photo.jpg")
    code, told, err = limner("apply", *words, "-s", style_file)
    assert (code, told, len(err.splitlines())) == (2, "", 1), err
    assert what in err
    assert names(tmp_path) == {film.name, "some.gif", "photo.jpg"}


def test_a_frame_is_the_one_that_is_shown_then(tmp_path: Path) -> None:
    film = make_film(tmp_path / "clip.mkv", moving(6), times=[0, 10, 15, 60, 62, 90])
    frames = shown(film)
    for second, number in ((0, 0), (0.12, 1), (0.13, 2), (0.49, 2), (0.51, 3), (0.7, 4), (0.76, 5)):
        assert np.array_equal(reading.still(film, second).pixels, frames[number]), second
    whole = make_film(tmp_path / "whole.mp4", moving(30), g="30")
    assert np.array_equal(reading.still(whole, 2).pixels, shown(whole)[24])
