"""A tone reference: what lets a plain white or black background stay light or dark.

Instance norm takes each layer's mean off and divides by its deviation, both of the whole picture. Where most of a picture is one plain
white or black (products, night skies), that is the mean, and comes out as the same middle tone whichever it was. So such a picture is
painted with rows below it that hold all tones, and that are cut off again; the mean is then that of an ordinary picture. Ordinary pictures
are painted as they are.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8] | NDArray[np.uint16]

WHITE, BLACK = 235, 20
"""A background is as bright as the first in all channels, or as dark as the second, of 255."""

FEW, MANY = 0.45, 0.7
"""Parts of a picture that may be such a background without a reference, and from which on the reference is as high as the picture."""

GAP = 96
"""Rows between picture and reference, by reflection: strokes reach across edges."""

CELL = 24
"""Pixels of a patch of the reference, about as large as a stroke."""


def rows_wanted(sample: Pixels, height: int) -> int:
    """Rows of reference that a picture of so many rows needs, by a sample of its pixels, HWC RGB; 0 for ordinary pictures."""
    if min(height, sample.shape[1]) < GAP:  # too small, or too thin, to have a background
        return 0
    full = np.iinfo(sample.dtype).max / 255
    red, green, blue = np.moveaxis(sample, 2, 0)  # NumPy's own minimum over so short an axis takes ten times as long
    white = float((np.minimum(np.minimum(red, green), blue) >= WHITE * full).mean())
    black = float((np.maximum(np.maximum(red, green), blue) <= BLACK * full).mean())
    return round(height * min((max(white, black) - FEW) / (MANY - FEW), 1)) if max(white, black) > FEW else 0


def below(pixels: Pixels, wanted: int) -> Pixels:
    """What goes below the last rows of a picture (at least GAP of them, or all), HWC RGB, same dtype: the gap, then ``wanted`` rows of
    grey patches of all tones, always the same ones."""
    width = pixels.shape[1]
    gap = np.pad(pixels, ((0, GAP), (0, 0), (0, 0)), mode="reflect" if len(pixels) > 1 else "edge")[len(pixels) :]
    patches = np.random.default_rng(0).integers(0, 256, (max(wanted // CELL, 2), max(width // CELL, 2)), np.uint8)
    grey = np.asarray(Image.fromarray(patches).resize((width, wanted), Image.Resampling.BICUBIC))
    scaled = (grey.astype(np.uint32) * (np.iinfo(pixels.dtype).max // 255)).astype(pixels.dtype)
    return np.concatenate([gap, np.repeat(scaled[..., None], 3, 2)])
