"""A photograph in a painter's hand, without any network: colours of one painting, and strokes along the photograph's own forms.

Of the family of ``limner.blocks.abstraction``, for what a network may learn before it meets a painting's statistics: deterministic and
local, sizes in pixels (times a ``stroke_size``), continued over the border. Nothing depends on the whole photograph, not even on its
histogram, since a network that sees a part of it could not learn that. Photographs and pictures are float32 HWC RGB in [0, 1].

Strokes need something to lie in where a photograph is smooth: ``limner.blocks.canvas``.
"""

from collections.abc import Callable
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from limner.blocks import canvas
from limner.blocks.abstraction import (
    MARGIN,
    FloatPixels,
    Plane,
    along,
    blurred,
    continued,
    drawn,
    faces,
    inked,
    lightness,
    structure_tensor,
    tangents,
    without_texture,
)
from limner.blocks.canvas import repeated
from limner.blocks.palette import CHROMA, INKS, LIGHT, PRINT, UNITS, Palette

GRAIN = 15.0
"""Most that neighbouring strokes differ by, in Lab: what is more is the scan's grain. Thirteen paintings have 4 to 12."""


BRIGHT = 96.0
"""Percentile of a painting's areas that is as light as the lightest of photographs: what is lighter is lamps, moons and foam."""

WINDOW = 10.0
"""Within how many units of L colours are about as light as one another."""

LENGTH = 14
"""Pixels by which bristles are drawn out, both ways."""

STEEP = 12.0
"""How fast the borders of strokes grow sharp, against what is drawn out, whose deviation is about 0.4."""

FRESH = 1.4
"""How much more neighbouring strokes differ than in the painting: with 1 they hardly showed."""


def to_lab(picture: FloatPixels) -> FloatPixels:
    """CIE Lab, L in [0, 100], of RGB."""
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2LAB), np.float32)


def to_rgb(lab: FloatPixels) -> FloatPixels:
    """RGB in [0, 1] of CIE Lab."""
    return np.asarray(cv2.cvtColor(lab.astype(np.float32), cv2.COLOR_LAB2RGB).clip(0, 1), np.float32)


def palette(painting: FloatPixels, count: int = 16, *, lean: float = 1.5, areas: float = 0.0) -> Palette:
    """What a painting has on its palette: ``count`` colours by k-means (Lloyd 1982; seeded by Arthur and Vassilvitskii 2007), and more.

    Grey leans ``lean`` times as far as what is about as light in the painting does in the mean: black becomes a print's navy, white its
    paper. Bristles are the principal components of what differs within some 5 pixels, the short side being 320.

    With ``areas``, pixels of the same scale, the lights of a photograph, mostly large, become as light, and lean towards the same, as the
    painting does in means over about so many pixels: a day's sky takes the blue of van Gogh's night, not the yellow of its stars.
    """
    pixels = to_lab(_of_size(painting, (128_000 / (painting.shape[0] * painting.shape[1])) ** 0.5)).reshape(-1, 3)
    cv2.setRNGSeed(0)
    until = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 40, 0.1)
    _, _, colours = cv2.kmeans(pixels[::7].copy(), count, None, until, 3, cv2.KMEANS_PP_CENTERS)
    small = to_lab(_of_size(painting, 320 / min(painting.shape[:2])))
    light, chroma = (np.percentile(each, np.linspace(0.5, 99.5, len(LIGHT))) for each in (pixels[:, 0], np.hypot(*pixels.T[1:])))
    if areas:
        pixels = blurred(small, areas).reshape(-1, 3)
        light += np.linspace(0, 1, len(LIGHT)) * (np.percentile(pixels[:, 0], np.linspace(0.5, BRIGHT, len(LIGHT))) - light)
    near = [np.exp(-(((pixels[:, 0] - each) / WINDOW) ** 2)) + 1e-6 for each in light]
    cast = np.stack([lean * each @ pixels[:, 1:] / each.sum() for each in near])
    light[0] = max(light[0] - 4, 0)
    strokes = (blurred(small, 1.0) - blurred(small, 5.0)).reshape(-1, 3)
    size, axes = np.linalg.eigh(strokes.T @ strokes / len(strokes))
    axes = axes * np.where(axes.sum(0) < 0, -1, 1)  # their sign is arbitrary: towards what is lighter, redder, yellower
    bristles = (axes * np.sqrt(size.clip(0, GRAIN**2))).T[:0:-1]
    found = (colours[colours[:, 0].argsort()], light, chroma, cast, bristles)
    return Palette(*(np.ascontiguousarray(each, np.float32) for each in found))


def _of_size(picture: FloatPixels, scale: float) -> FloatPixels:
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(np.ascontiguousarray(picture), None, fx=scale, fy=scale, interpolation=how).clip(0, 1), np.float32)


def graded(painting: FloatPixels, target: str = "flow") -> FloatPixels:
    """A dull scan as lively as a good reproduction: from black to white (L of 5 to 96), a tenth of it above a chroma of 48.

    No more than 1.6 times the contrast and 1.8 times the chroma (1.3 times for a ``woodblock``: flat inks shout sooner than strokes); what
    is lively stays as it is.
    """
    most = 1.3 if target == "woodblock" else 1.8
    lab = to_lab(painting)
    low, high = np.percentile(lab[..., 0], (1, 99))
    lab[..., 0] = 5 + (lab[..., 0] - low) * min(91 / max(high - low, 1), 1.6)
    chroma = float(np.percentile(np.hypot(lab[..., 1], lab[..., 2]), 90))
    lab[..., 1:] *= min(max(48 / max(chroma, 1), 1), most)
    return to_rgb(lab)


def recoloured(
    photo: FloatPixels, of: Palette, *, share: float = 0.7, softness: float = 0.55, gamma: float = 0.85, inks: float = 0.3
) -> FloatPixels:
    """The photograph in the colours of a palette: each a soft mean of those that are near it; what is warm keeps much of its own hue.

    Lightness, its power ``gamma`` taken first, goes ``share`` of the way along a fixed curve, on which photographs in general are as light
    as the painting; chroma goes along one on which they are as colourful. A ``softness`` near 0 leaves the nearest colour alone. ``inks``
    of the lightness is that of the palette's colours, the rest the photograph's on its curve.
    """
    lab = to_lab(photo)
    own, chroma = 100 * (lab[..., 0] / 100) ** gamma, lab[..., 1:]
    light = (1 - share) * own + share * np.interp(own, LIGHT, of.light).astype(np.float32)
    cast = np.dstack([np.interp(own, LIGHT, each) for each in of.cast.T]).astype(np.float32)
    cast *= np.exp((chroma**2).sum(2, keepdims=True) / np.float32(-(14**2)))  # of what is grey
    units = np.array(UNITS, np.float32)
    asked, there = np.dstack([light, chroma + cast]) / units, of.colours / units
    closeness = 2 * asked @ there.T - (there**2).sum(1)  # a square of the distance, but for what all colours have in common
    weight = np.exp((closeness - closeness.max(-1, keepdims=True)) / np.float32(2 * softness**2))
    mixed = weight @ of.colours / weight.sum(-1, keepdims=True)
    warm = 1 / (1 + np.exp(3.2 - 0.18 * chroma[..., :1] - 0.12 * chroma[..., 1:]))
    hue = mixed[..., 1:] * (1 - 0.55 * warm) + (0.18 + 0.5 * warm) * chroma
    # Mixed colours are greyer than those they are mixed of. 2: what is nearly grey has no hue to make more of.
    wanted, found = (np.hypot(each[..., 0], each[..., 1]) for each in (chroma, hue))
    wanted = np.interp(wanted, CHROMA, of.chroma).astype(np.float32)
    hue = hue * ((wanted + 2) / (found + 2)).clip(0.7, 2.2)[..., None]
    return to_rgb(np.dstack([(1 - inks) * light + inks * mixed[..., 0], hue]))


def directions(plane: Plane, ground: NDArray[np.float32], *, size: float = 1.0, ground_weight: float = 0.06) -> tuple[Plane, Plane]:
    """Unit vectors along which strokes lie, x and y: along the edges of ``plane`` (HW), near ones first, then those further away; where
    nothing speaks, as the canvas says (``ground``, HW2).

    Structure tensors of several sizes, each by its coherence, in double angles, so that opposite directions are one (Bigün and Granlund
    1987). ``size`` is a factor for all pixels, ``ground_weight`` what the canvas says against 1, the nearest edge.
    """
    double = ground_weight * ground
    smooth = blurred(plane, 1.3 * size)
    for k, sigma in enumerate((3.0, 8.0, 20.0)):
        right, down, both = structure_tensor(smooth, sigma * size)
        speaks = 0.35**k / (right + down + 2e-5 / size**2)
        double = double + np.dstack([(right - down) * speaks, 2 * both * speaks])
    double = blurred(double, 3 * size)
    angle = 0.5 * np.arctan2(double[..., 1], double[..., 0]) + np.float32(np.pi / 2)
    return np.cos(angle), np.sin(angle)


def drawn_out(planes: NDArray[np.float32], x: Plane, y: Plane, length: int) -> NDArray[np.float32]:
    """Mean of HW or HWC planes over ``length`` pixels along the flow, both ways."""
    return along(planes, x, y, [1.0] * length, unit=True)


def shocked(picture: FloatPixels, *, rounds: int = 3, sigma: float = 3.0, size: float = 1.0, share: float = 0.6) -> FloatPixels:
    """Areas that flow along the forms, with sharp borders: coherence-enhancing shock filter (Weickert, DAGM 2003; Kang and Lee 2008).

    Each round, what is dark across the flow grows darker, what is light lighter, ``share`` of the way; then a mean along the flow, which
    is that of the structure tensor of ``sigma`` pixels. All pixels are times ``size``.
    """
    for _ in range(rounds):
        plane = lightness(picture)
        x, y = tangents(blurred(plane, 1.0), sigma * size)
        picture = _parted(picture, blurred(plane, 2 * size)[..., None], x, y, 60 * size**2, share)
        picture = drawn_out(picture, *tangents(blurred(lightness(picture), 1.0), sigma * size), max(round(2 * size), 1))
    return picture


def _parted(
    planes: NDArray[np.float32], smooth: NDArray[np.float32], x: Plane, y: Plane, steep: float, share: float
) -> NDArray[np.float32]:
    """Planes (HWC), darker where ``smooth`` (HWC, or HW1 for all of them) is hollow across the flow, lighter where it is a ridge."""
    right, down, both = (np.atleast_3d(cv2.Sobel(smooth, cv2.CV_32F, *order)) for order in ((2, 0), (0, 2), (1, 1)))
    x, y = x[..., None], y[..., None]
    hollow = np.tanh(steep * (y * y * right - 2 * x * y * both + x * x * down))
    kernel = np.ones((3, 3), np.uint8)
    nearest = np.where(hollow > 0, cv2.erode(planes, kernel), cv2.dilate(planes, kernel))
    return np.asarray(planes + share * np.abs(hollow) * (nearest - planes), np.float32)


def flow(photo: FloatPixels, colours: Palette, *, stroke_size: float = 1.0, margin: int = 0) -> FloatPixels:
    """Paint that flows along the forms, after Vincent van Gogh: shocks, then bristles, which are the canvas drawn out along the flow, and
    gathered to strokes by shocks of their own.

    ``margin`` pixels at the top and left are beyond the photograph's border: the canvas begins after them. In faces all this is done by
    half: eyes and mouths are small.
    """
    face, smooth = faces(photo)[..., None], without_texture(photo, scale=1.6 * stroke_size)
    own = recoloured(smooth + face * (photo - smooth), colours)
    picture = shocked(own, size=stroke_size)
    if face.any():
        picture = picture + 0.8 * face * (shocked(own, rounds=1, sigma=2.0, size=stroke_size) - picture)
    ground = repeated(canvas.bristles(stroke_size), photo.shape[0], photo.shape[1], margin)
    x, y = directions(lightness(picture), ground[..., 2:], size=stroke_size)
    bristles = (
        FRESH * gathered(drawn_out(ground[..., :2].copy(), x, y, round(LENGTH * stroke_size)), x, y, stroke_size) / _deviation(stroke_size)
    )
    return to_rgb(np.asarray(to_lab(picture.clip(0, 1)) + (1 - 0.5 * face) * (bristles @ colours.bristles), np.float32))


def gathered(bristles: NDArray[np.float32], x: Plane, y: Plane, size: float = 1.0) -> NDArray[np.float32]:
    """Bristles (HWC) as strokes of one colour each, with borders: shocks across the flow, as in ``shocked``, for each plane."""
    planes = blurred(bristles, 0.6 * size)
    for _ in range(2):
        planes = _parted(planes, blurred(planes, 1.3 * size), x, y, STEEP * size**2, 0.8)
    return drawn_out(planes, x, y, max(round(2 * size), 1))


@cache
def _deviation(stroke_size: float) -> NDArray[np.float32]:
    """Of gathered bristles, where the flow is level: drawn out, noise grows weaker."""
    plane = canvas.bristles(stroke_size)[..., :2].copy()
    level = np.ones(plane.shape[:2], np.float32)
    found = drawn_out(plane, level, 0 * level, round(LENGTH * stroke_size))
    return np.asarray(gathered(found, level, 0 * level, stroke_size).std((0, 1)), np.float32)


def woodblock(photo: FloatPixels, colours: Palette, *, stroke_size: float = 1.0, margin: int = 0) -> FloatPixels:
    """A woodblock print, after Katsushika Hokusai: flat areas in few inks, and outlines in the darkest of them.

    ``stroke_size`` is a factor for the outlines' width.
    """
    flat, lines = drawn(photo, stroke_size)
    picture = recoloured(flat, colours, **PRINT)
    ink = to_rgb(colours.colours[None, :1])[0, 0]
    return inked(picture, lines, 0.92, ink)


def planes(photo: FloatPixels, colours: Palette, *, stroke_size: float = 1.0, margin: int = 0) -> FloatPixels:
    """Planes that break the light, after Francis Picabia and the cubists of 1913: flat areas with outlines, and over them a canvas of
    facets, each lighter or darker from one side to the other, some of them in the painting's strongest colours.

    ``stroke_size`` is a factor for the facets and the outlines' width. In faces the facets are fainter.
    """
    face = faces(photo)[..., None]
    flat, lines = drawn(photo, stroke_size)
    lab = to_lab(recoloured(flat, colours, softness=0.25, inks=0.4))
    ground = repeated(canvas.facets(stroke_size), photo.shape[0], photo.shape[1], margin)
    light, value, there = ground[..., :1], ground[..., 1], 1 - 0.6 * face
    accent = np.dstack([np.interp(value, ACCENTS, each) for each in _accents(colours).T]).astype(np.float32)
    strength = np.interp(np.abs(value), (0.6, 1.0), (0, 0.45)).astype(np.float32)[..., None]
    hue = lab[..., 1:] + there * strength * (accent - lab[..., 1:])
    ink = to_rgb(colours.colours[None, :1])[0, 0]
    return inked(to_rgb(np.dstack([lab[..., :1] + 12 * there * light, hue])), lines, 0.85, ink)


ACCENTS = (-1.2, -0.8, 0.6, 1.0, 1.3, 1.7)
"""Values of facets at which they are warm, grey, grey, cold, cold, and green."""


def _accents(colours: Palette) -> NDArray[np.float32]:
    """a and b for ``ACCENTS``, of the six most colourful of a palette."""
    strongest = colours.colours[np.hypot(*colours.colours.T[1:]).argsort()[-6:], 1:]
    warm, green, cold = strongest[strongest[:, 0].argmax()], strongest[strongest[:, 0].argmin()], strongest[strongest[:, 1].argmin()]
    return np.stack([warm, 0 * warm, 0 * cold, cold, cold, green])


PAINTERLY: dict[str, Callable[..., FloatPixels]] = {"flow": flow, "woodblock": woodblock, "planes": planes}
"""Whole pictures by name."""


def palette_for(name: str, painting: FloatPixels) -> Palette:
    """The palette with which the picture ``name`` of ``PAINTERLY`` is painted: a print has few inks."""
    return palette(painting, INKS, lean=1.2) if name == "woodblock" else palette(painting, areas=16.0 if name == "flow" else 0.0)


def painted(photo: FloatPixels, name: str, colours: Palette, stroke_size: float = 1.0) -> FloatPixels:
    """The photograph as the picture ``name``, one of ``PAINTERLY``, continued over its border, and cropped again."""
    margin = round(MARGIN * max(stroke_size, 1))
    return continued(photo, lambda wide: PAINTERLY[name](wide, colours, stroke_size=stroke_size, margin=margin), margin)


def of_pixels(pixels: NDArray[np.uint8], name: str, colours: Palette, stroke_size: float = 1.0) -> NDArray[np.uint8]:
    """``painted`` of a uint8 HWC RGB photograph, as uint8."""
    return (painted(pixels.astype(np.float32) / np.float32(255), name, colours, stroke_size) * 255 + 0.5).astype(np.uint8)
