"""Films of high dynamic range as ordinary ones: PQ or HLG with the colours of BT.2020 becomes sRGB.

ITU-R BT.2100 has the curves and the matrix, BT.2408 the reference white of 203 nits: what white paper is in such a film. Light up to KNEE,
where faces are, stays as bright beside it as it was; above, it is compressed, so that lamps and skies keep their gradations. Compressed is
the brightest of R, G and B, and the others go along, so no hue turns.
"""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

HDR = {16: "PQ", 18: "HLG"}
"""ffmpeg's numbers of the transfer functions of high dynamic range."""

WHITE = 203.0
"""Nits of reference white (BT.2408)."""

KNEE = 0.3
"""Light, of WHITE, up to which nothing is compressed."""

PEAK = {"PQ": 10_000.0, "HLG": 1_000.0}
"""Nits that become white."""

_FULL, _BT2020 = 2, 9  # ffmpeg's numbers
_RED, _GREEN, _BLUE = 0.2627, 0.6780, 0.0593  # of BT.2020 in its luminance
# Of linear light, from the primaries of BT.2020 to those of BT.709 (BT.2087); each row sums to 1, so grey stays grey.
_TO_BT709 = ((1.6605, -0.5876, -0.0729), (-0.1246, 1.1329, -0.0083), (-0.0182, -0.1006, 1.1188))
_ROWS = 32  # at a time: what is between the steps stays in the processor's cache

Floats = NDArray[np.float32]


def mapped(frame: Any, width: int, transfer: str) -> NDArray[np.uint8]:
    """PyAV's ``frame`` of a film in ``transfer``, "PQ" or "HLG", uint8 HWC RGB in sRGB, ``width`` pixels wide."""
    # The samples as they are, in 16 bits and with chroma at full size: ffmpeg's own way to RGB makes white half a per cent darker.
    whole = frame.reformat(width=width, format="yuv444p16le", src_colorspace=_BT2020, dst_colorspace=_BT2020)
    samples: NDArray[np.uint16] = whole.to_ndarray()
    out = np.empty(samples.shape, np.uint8)
    for top in range(0, len(samples), _ROWS):
        rows = slice(top, top + _ROWS)
        light = _light(_coded(samples[rows], full=frame.color_range == _FULL), transfer)
        out[rows] = _srgb()[(_fitted(light, PEAK[transfer] / WHITE) * np.float32(65535) + np.float32(0.5)).astype(np.uint16)].transpose(
            1, 2, 0
        )
    return out


def _coded(samples: NDArray[np.uint16], *, full: bool) -> NDArray[np.uint16]:
    """Y'CbCr, uint16 HWC as ffmpeg widens it, as R'G'B', uint16 CHW of full range."""
    black, luma, chroma = (0, 65535, 65535) if full else (16 << 8, 219 << 8, 224 << 8)
    y, blue, red = np.moveaxis(samples.astype(np.float32), -1, 0)
    y = (y - black) * np.float32(65535 / luma)
    r = y + (red - 32768) * np.float32(2 * (1 - _RED) * 65535 / chroma)
    b = y + (blue - 32768) * np.float32(2 * (1 - _BLUE) * 65535 / chroma)
    g = (y - np.float32(_RED) * r - np.float32(_BLUE) * b) * np.float32(1 / _GREEN)
    return (np.stack((r, g, b)) + np.float32(0.5)).clip(0, 65535).astype(np.uint16)


def _light(coded: NDArray[np.uint16], transfer: str) -> Floats:
    """R'G'B' as linear light in the primaries of BT.709, 1 for WHITE: float32 CHW, below 0 where BT.709 has no such colour."""
    r, g, b = _curve(transfer)[coded]
    if transfer == "HLG":  # whose signal is the light of the scene: a display shows more contrast (BT.2100, the OOTF for 1,000 nits)
        scene = np.float32(_RED) * r + np.float32(_GREEN) * g + np.float32(_BLUE) * b
        display = np.power(scene, np.float32(0.2)) * np.float32(PEAK["HLG"] / WHITE)
        r, g, b = r * display, g * display, b * display
    return np.stack([np.float32(row[0]) * r + np.float32(row[1]) * g + np.float32(row[2]) * b for row in _TO_BT709])


def _fitted(light: Floats, peak: float) -> Floats:
    """Linear light in [0, 1], ``peak`` and what is above becoming 1."""
    top, bottom = light.max(0), light.min(0)
    # Colours outside of BT.709 come nearer to grey until they are inside: of one hue, and as bright.
    nearer = top / np.maximum(top - np.minimum(bottom, 0), np.float32(1e-6))
    over = np.maximum(top - np.float32(KNEE), 0) * np.float32(1 / (1 - KNEE))
    most = (peak - KNEE) / (1 - KNEE)
    # Reinhard's curve (Photographic Tone Reproduction, 2002, equation 4) above the knee, which it leaves with a slope of 1.
    pressed = np.minimum(top, np.float32(KNEE)) + np.float32(1 - KNEE) * over * (1 + over * np.float32(1 / most**2)) / (1 + over)
    gain = pressed / np.maximum(top, np.float32(1e-6))
    found: Floats = ((top + nearer * (light - top)) * gain).clip(0, 1)
    return found


@cache
def _curve(transfer: str) -> Floats:
    """Linear light of every value of 16 bits: a display's, 1 for WHITE (PQ's EOTF, SMPTE ST 2084), or a scene's in [0, 1] (HLG's inverse
    OETF)."""
    coded = np.linspace(0, 1, 1 << 16)
    if transfer == "PQ":
        root = coded ** (32 / 2523)
        light = PEAK["PQ"] / WHITE * (np.maximum(root - 107 / 128, 0) / (2413 / 128 - 2392 / 128 * root)) ** (8192 / 1305)
    else:
        light = np.where(coded <= 0.5, coded**2 / 3, (np.exp((coded - 0.55991073) / 0.17883277) + 0.28466892) / 12)
    return np.asarray(light, np.float32)


@cache
def _srgb() -> NDArray[np.uint8]:
    """sRGB, 8 bits, of linear light in 16."""
    light = np.linspace(0, 1, 1 << 16)
    coded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return (255 * coded + 0.5).astype(np.uint8)
