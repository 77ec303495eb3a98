"""Films of high dynamic range: how bright what was so many nits is, and in which colour."""

import colorsys
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from limner.film import reading
from limner.pictures import sources, tones
from tests.test_films import make_film, moving, paint, shown

av = pytest.importorskip("av")

Floats = NDArray[np.float64]
Nits = Sequence[float]
LUMA = np.array([0.2627, 0.6780, 0.0593])


def pq(nits: Floats) -> Floats:
    """The signal of so much light: the inverse EOTF of SMPTE ST 2084."""
    power = np.power(nits / 10_000, 2610 / 16384)
    return np.asarray(((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32), np.float64)


def hlg(nits: Floats) -> Floats:
    """The signal that a display of 1,000 nits shows as so much light: the inverse OOTF and the OETF of BT.2100."""
    luminance = nits @ LUMA / 1000
    scene = nits / 1000 * np.maximum(luminance, 1e-9)[..., None] ** (1 / 1.2 - 1)
    bright = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return np.asarray(np.where(scene <= 1 / 12, np.sqrt(3 * scene), bright), np.float64)


SIGNALS: dict[str, tuple[int, Callable[[Floats], Floats]]] = {"PQ": (16, pq), "HLG": (18, hlg)}


def make_hdr(path: Path, transfer: str, colours: Sequence[Nits], *, full: bool = False) -> Path:
    """A frame for each colour, R, G and B of BT.2020 in nits, and 10 bits a sample."""
    number, signal = SIGNALS[transfer]
    r, g, b = np.moveaxis(signal(np.array(colours, np.float64)), -1, 0)
    y = np.stack((r, g, b), -1) @ LUMA
    planes = np.stack((y, (b - y) / (2 * (1 - LUMA[2])), (r - y) / (2 * (1 - LUMA[0]))), -1)
    black, luma, chroma = (0, 1023, 1023) if full else (64, 876, 896)
    samples = np.rint(planes * [luma, chroma, chroma] + [black, 512, 512]).clip(0, 1023).astype(np.uint16)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=12)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p10le"
        context = stream.codec_context
        context.color_trc, context.color_primaries, context.colorspace, context.color_range = number, 9, 9, 2 if full else 1
        for n, values in enumerate(samples):
            frame = av.VideoFrame(64, 48, "yuv420p10le")
            for plane, value in zip(frame.planes, values, strict=True):
                plane.update(np.full(plane.buffer_size // 2, value, np.uint16).tobytes())
            frame.pts, frame.time_base = n, Fraction(1, 12)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def seen(film: Path) -> NDArray[np.uint8]:
    """The colour of each frame."""
    frames = shown(film)
    assert all(np.ptp(frame, axis=(0, 1)).max() == 0 for frame in frames)
    return np.stack([frame[0, 0] for frame in frames])


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("transfer", SIGNALS)
def test_light_becomes_the_light_of_an_ordinary_film(tmp_path: Path, transfer: str, full: bool) -> None:
    nits = [0, 1, 10, 40, 65, 203, 400, 600, 800, 1000]
    found = seen(make_hdr(tmp_path / "clip.mkv", transfer, [(light,) * 3 for light in nits], full=full))
    assert np.ptp(found.astype(int), axis=1).max() <= 1  # grey stays grey
    grey = dict(zip(nits, found[:, 1].astype(int).tolist(), strict=True))
    assert grey[0] <= 1
    assert 0.75 * 255 < grey[203] < 0.95 * 255
    # Up to the knee, light stays what it is beside reference white; faces have 40 to 65 nits.
    for light in (1, 10, 40):
        expected = 255 * (1.055 * (light / 203) ** (1 / 2.4) - 0.055)
        assert grey[light] == pytest.approx(expected, abs=2), light
    assert grey[203] + 12 < grey[400]
    assert grey[400] < grey[600] < grey[800] < grey[1000] <= 255
    assert grey[1000] - grey[600] >= 5


def test_what_is_brighter_than_white_keeps_its_steps(tmp_path: Path) -> None:
    found = seen(make_hdr(tmp_path / "clip.mkv", "PQ", [(light,) * 3 for light in (1000, 2000, 4000, 10_000)]))[:, 0]
    assert (np.diff(found.astype(int)) > 0).all()
    assert found[-1] == 255


@pytest.mark.parametrize("transfer", SIGNALS)
@pytest.mark.parametrize("light", [20, 200, 900])
def test_saturated_colours_keep_their_hue(tmp_path: Path, transfer: str, light: float) -> None:
    """The primaries of BT.2020 and their mixtures, of which BT.709 has none."""
    pure = np.array([(1, 0, 0), (1, 1, 0), (0, 1, 0), (0, 1, 1), (0, 0, 1), (1, 0, 1)], np.float64)
    found = seen(make_hdr(tmp_path / "clip.mkv", transfer, light * pure))
    linear = light * pure @ np.array(tones._TO_BT709).T
    for colour, wanted in zip(found / 255, linear, strict=True):
        straight = wanted - min(wanted.min(), 0)  # towards grey, to the border of BT.709
        hue, saturation, _ = colorsys.rgb_to_hsv(*_linear(colour))
        assert abs((hue - colorsys.rgb_to_hsv(*straight)[0] + 0.5) % 1 - 0.5) < 0.015
        assert saturation > 0.8
    assert (found.max(1) > 0.75 * found.max(1).max()).all()  # none turns black


def test_colours_of_bt709_stay_what_they_are(tmp_path: Path) -> None:
    wanted = np.array([(180, 60, 40), (200, 150, 120), (40, 120, 60), (30, 50, 160)])
    inverse = np.linalg.inv(np.array(tones._TO_BT709))
    light = np.stack([_linear(colour / 255) for colour in wanted])
    scale = 0.25 / light.max()  # below the knee
    found = seen(make_hdr(tmp_path / "clip.mkv", "PQ", scale * 203 * light @ inverse.T))
    for colour, original in zip(found / 255, light, strict=True):
        assert _linear(colour) == pytest.approx(scale * original, abs=0.006)


def _linear(coded: Floats) -> Floats:
    return np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)


def test_the_mapping_is_told(tmp_path: Path) -> None:
    film = make_hdr(tmp_path / "clip.mkv", "HLG", [(203, 203, 203)] * 3)
    made = paint(film, tmp_path / "out.mp4", lambda picture: picture)
    assert made.lost == ["high dynamic range (HLG), which is tone-mapped to that of an ordinary film (BT.709)"]
    assert np.abs(shown(tmp_path / "out.mp4")[0].astype(int) - shown(film)[0]).max() <= 3
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].codec_context.color_trc == 1


def test_a_training_sees_the_same_frames(tmp_path: Path) -> None:
    film = make_hdr(tmp_path / "clip.mkv", "PQ", [(203, 100, 50), (10, 600, 40)])
    source = sources.open_source(film, every=1 / 12)
    assert [source[n].tolist() for n in range(2)] == [frame.tolist() for frame in shown(film)]


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv420p10le", "yuvj420p"])
def test_ordinary_films_are_read_as_ever(tmp_path: Path, pixels: str) -> None:
    film = make_film(tmp_path / "clip.mp4", moving(3), pixels=pixels)
    with av.open(str(film)) as container:
        expected = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert [frame.tolist() for frame in shown(film)] == [frame.tolist() for frame in expected]
    assert reading.opened(film).lost == []
