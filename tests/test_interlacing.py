"""Interlaced films: frames of one moment, as many as there were, wherever reading begins."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from limner import LimnerError
from limner.film import interlacing, painting, reading
from limner.pictures.image import Picture
from tests.test_films import Pixels, inverted, make_film, moving, paint, shown, times

av = pytest.importorskip("av")

INTERLACED = {"x264-params": "bff=1:interlaced=1"}


def woven(count: int = 12, width: int = 96, height: int = 64) -> list[Pixels]:
    """A bright bar that moves by three pixels from field to field, on a dim slope; odd rows are the earlier ones."""
    frames = []
    for n in range(count):
        frame = np.repeat(np.linspace(20, 60, height).astype(np.uint8)[:, None, None], width, 1).repeat(3, 2)
        for field in range(2):
            left = 3 * (2 * n + field)
            frame[1 - field :: 2, left : left + 16] = 230
        frames.append(frame)
    return frames


def combing(frame: Pixels) -> float:
    """By how much rows differ from the mean of their neighbours, which are of the other field."""
    rows = frame[8:-8].astype(float)
    return float(np.abs(rows[1:-1] - (rows[:-2] + rows[2:]) / 2).mean())


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return make_film(tmp_path / "clip.mp4", woven(), **INTERLACED)


def raw(path: Path) -> list[Pixels]:
    """Frames as they are stored."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_combs_are_gone_and_times_stay(film: Path) -> None:
    stored, frames = raw(film), shown(film)
    assert len(frames) == len(stored) == 12
    assert times(film) == [round(n / 12, 3) for n in range(12)]
    assert min(combing(frame) for frame in stored) > 5
    assert max(combing(frame) for frame in frames[1:-1]) < 1
    for n, frame in enumerate(frames):  # the bar is where its first field has it
        bright = np.flatnonzero(frame[32, :, 1] > 140)
        assert abs(bright[0] - 6 * n) <= 1
        assert abs(bright[-1] - (6 * n + 15)) <= 1


@pytest.mark.parametrize("after", range(12))
def test_reading_that_begins_later_gives_the_same(film: Path, after: int) -> None:
    whole = list(reading.opened(film).frames())
    later = list(reading.opened(film).frames(whole[after].time))
    assert [frame.time for frame in later] == [frame.time for frame in whole[after + 1 :]]
    assert all(np.array_equal(a.picture.pixels, b.picture.pixels) for a, b in zip(later, whole[after + 1 :], strict=True))


def test_a_painting_that_was_ended_goes_on(tmp_path: Path, film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(painting, "SECONDS", 0.25)
    paint(film, tmp_path / "whole.mp4")
    left = [7]

    def until(picture: Picture) -> Picture:
        left[0] -= 1
        if not left[0]:
            raise LimnerError("ended")
        return inverted(picture)

    with pytest.raises(LimnerError, match="ended"):
        paint(film, tmp_path / "out.mp4", until)
    assert paint(film, tmp_path / "out.mp4").frames == 12
    assert (tmp_path / "out.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()


def mixed(path: Path, pieces: str) -> Path:
    """Three frames for each letter: interlaced for an i, progressive for a p. Each piece begins with a key frame."""
    frames = iter(woven(3 * len(pieces)))
    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream("mpeg2video", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for n, piece in enumerate(pieces):
            context = av.CodecContext.create("mpeg2video", "w")
            context.width, context.height, context.pix_fmt, context.framerate = 96, 64, "yuv420p", Fraction(25)
            context.time_base, context.options = Fraction(1, 25), {"qscale": "2", **({"flags": "+ildct+ilme"} if piece == "i" else {})}
            for at, pixels in enumerate([next(frames), next(frames), next(frames), None]):
                frame: Any = None if pixels is None else av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
                if frame is not None:
                    frame.pts = at
                for packet in context.encode(frame):
                    packet.pts, packet.dts, packet.stream = packet.pts + 3 * n, packet.dts + 3 * n, stream
                    container.mux(packet)
    return path


@pytest.mark.parametrize("pieces", ["pip", "ipi", "pppii"])
def test_films_that_change(tmp_path: Path, pieces: str) -> None:
    film = mixed(tmp_path / "clip.mkv", pieces)
    stored, whole = raw(film), list(reading.opened(film).frames())
    assert len(whole) == len(stored) == 3 * len(pieces)
    for n, (frame, before) in enumerate(zip(whole, stored, strict=True)):
        assert np.array_equal(frame.picture.pixels, before) == (pieces[n // 3] == "p"), n
    for n, frame in enumerate(whole):
        later = list(reading.opened(film).frames(frame.time))
        assert all(np.array_equal(a.picture.pixels, b.picture.pixels) for a, b in zip(later, whole[n + 1 :], strict=True))


def test_progressive_films_do_not_meet_the_filter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(interlacing, "_Bwdif", fail)
    film = make_film(tmp_path / "clip.mp4", moving(5))
    assert [frame.tolist() for frame in shown(film)] == [frame.tolist() for frame in raw(film)]


def test_rotation_and_shape_outlast_the_filter(tmp_path: Path) -> None:
    film = make_film(tmp_path / "clip.mov", woven(4), rotation=90, **INTERLACED)
    assert {frame.shape for frame in shown(film)} == {(96, 64, 3)}
    assert max(combing(np.rot90(frame, -1)) for frame in shown(film)[1:-1]) < 1
