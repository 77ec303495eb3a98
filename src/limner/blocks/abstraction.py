"""Abstractions of a photograph, drawn without any network: what an initialisation may aim at in the place of the photograph itself.

Flat areas, lines of ink and colours are a function each, from the paper that is named there; at the end of the file stand whole pictures
made of them (``ABSTRACTIONS``), which a network learns to draw. All are deterministic and local, take sizes in pixels, and go on over the
border of the picture by reflection. Photographs and pictures are float32 HWC RGB in [0, 1], planes float32 HW.

After Holger Winnemöller, Sven Olsen, Bruce Gooch, "Real-Time Video Abstraction", SIGGRAPH 2006: smooth what is nearly flat, quantise its
lightness, draw what is left of edges.
"""

import math
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from cv2 import data
from numpy.typing import NDArray

FloatPixels: TypeAlias = NDArray[np.float32]
Plane: TypeAlias = NDArray[np.float32]

SHADOWS = 0.85
"""How shadows are lifted where there is skin to see: with less, rooms are lighter, but so is dark skin, which must stay dark."""

_of_thread = threading.local()

MARGIN = 16
"""Pixels by which a photograph is continued before it is abstracted: without them, lines appear along its border."""


def smoothed(photo: FloatPixels, *, passes: int = 2, diameter: int = 7, colours: float = 0.09, radius: float = 4.0) -> FloatPixels:
    """Grain and fine texture gone, edges kept: a bilateral filter, several times (Tomasi and Manduchi, ICCV 1998)."""
    for _ in range(passes):
        photo = cv2.bilateralFilter(photo, diameter, colours, radius).astype(np.float32)
    return np.asarray(photo, np.float32)


def flats(photo: FloatPixels, smoothing: float = 0.02, growth: float = 1.8) -> FloatPixels:
    """Few flat areas with sharp borders: L0 gradient minimisation (Xu, Lu, Xu, Jia, SIGGRAPH Asia 2011).

    ``smoothing`` is the paper's lambda: more leaves fewer areas; ``growth`` its kappa: less is slower and finer.
    """
    return np.asarray(cv2.ximgproc.l0Smooth(photo, None, smoothing, growth).clip(0, 1), np.float32)


def without_texture(photo: FloatPixels, *, scale: float = 1.6, contrast: float = 0.1, passes: int = 3) -> FloatPixels:
    """What is smaller than ``scale`` pixels gone, borders of the rest sharp: rolling guidance (Zhang, Shen, Xu, Jia, ECCV 2014)."""
    return np.asarray(cv2.ximgproc.rollingGuidanceFilter(photo, None, -1, contrast, scale, passes).clip(0, 1), np.float32)


def brightened(picture: FloatPixels, *, saturation: float = 1.4, gamma: float = 0.8) -> FloatPixels:
    """Lighter and more colourful: saturation s of HSV becomes 1 - (1 - s)^``saturation``, values of RGB their power ``gamma``."""
    hsv = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV)
    hsv[..., 1] = 1 - (1 - hsv[..., 1]) ** saturation
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB).clip(0, 1) ** gamma, np.float32)


def lifted(picture: FloatPixels, gamma: float = SHADOWS, *, radius: int = 16, most: float = 2.2) -> FloatPixels:
    """Light in the shadows: lightness times the power ``gamma`` - 1 of its surroundings' own, at most ``most`` times, chroma with its root.

    Surroundings end at edges: a guided filter of ``radius`` pixels (He, Sun, Tang, ECCV 2010). Whites are rounded off, not cut.
    """
    lab, light = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB), lightness(picture)
    gain = np.minimum(cv2.ximgproc.guidedFilter(light, light, radius, 0.01).clip(0.02, 1) ** (gamma - 1), most)
    bright = light * gain
    lab[..., 0] = 100 * np.where(bright > 0.8, 0.8 + 0.2 * np.tanh((bright - 0.8) / 0.2), bright)
    lab[..., 1:] *= np.sqrt(gain)[..., None]
    return np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB).clip(0, 1), np.float32)


def stepped(picture: FloatPixels, *, steps: int = 8, share: float = 0.45, sharpness: float = 5.0) -> FloatPixels:
    """Lightness in soft steps (Winnemöller et al. 2006, equation 6), ``share`` of the way from the picture's own to theirs."""
    lab = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB)
    light, step = lab[..., 0], 100 / steps
    nearest = np.round(light / step) * step
    lab[..., 0] = (1 - share) * light + share * (nearest + step / 2 * np.tanh(sharpness * (light - nearest) / step))
    return np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB).clip(0, 1), np.float32)


def lightness(picture: FloatPixels) -> Plane:
    """L of CIE Lab, in [0, 1]."""
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2LAB)[..., 0] / 100, np.float32)


def contrast(plane: Plane) -> Plane:
    """Lightness on a scale on which equal ratios are equal steps, all but in the darkest: so the dark has outlines, too. In [0, 1]."""
    return np.asarray(np.log1p(plane / 0.15) / np.log1p(1 / 0.15), np.float32)


def warmth(picture: FloatPixels) -> Plane:
    """From warm, 0, to cold, 1: what tells a blue sky from sand that is as light. Lines of ink are drawn on the warm side."""
    return np.asarray(0.5 - cv2.cvtColor(picture, cv2.COLOR_RGB2LAB)[..., 1:].sum(2) / 220, np.float32)


def structure_tensor(plane: Plane, sigma: float) -> tuple[Plane, Plane, Plane]:
    """Squared slopes to the right and downwards, and their product, each a Gaussian mean of ``sigma`` pixels (Förstner and Gülch 1987)."""
    right, down = (cv2.Sobel(plane, cv2.CV_32F, dx, 1 - dx) / 8 for dx in (1, 0))
    return tuple(blurred(each, sigma) for each in (right * right, down * down, right * down))  # type: ignore[return-value]


def coherence(plane: Plane, sigma: float) -> Plane:
    """How much slopes within about ``sigma`` pixels agree on a direction: 1 along an edge, 0 in foliage or gravel."""
    right, down, both = structure_tensor(plane, sigma)
    return np.asarray(np.sqrt((right - down) ** 2 + 4 * both**2) / (right + down + 1e-5), np.float32)


def tangents(plane: Plane, sigma: float) -> tuple[Plane, Plane]:
    """Unit vectors along edges, x and y: the edge tangent flow (Kang, Lee, Chui, NPAR 2007), here of the structure tensor."""
    right, down, both = structure_tensor(plane, sigma)
    angle = 0.5 * np.arctan2(2 * both, right - down) + np.float32(np.pi / 2)
    return np.cos(angle), np.sin(angle)


def ink(
    plane: Plane,
    *,
    width: float = 1.1,
    length: float = 4.0,
    flow: float = 2.5,
    background: float = 0.99,
    threshold: float = 0.012,
    sharpness: float = 60.0,
) -> Plane:
    """Lines of ink along the dark side of edges, 0 (paper) to 1 (ink): a flow-based difference of Gaussians of lightness.

    ``width`` and ``length`` are the sigmas, in pixels, across and along an edge; ``flow`` that of the tangents; ``background`` the weight
    of the wider Gaussian (tau); a difference beyond ``threshold`` turns to ink, the faster the greater ``sharpness`` (phi). Kang, Lee,
    Chui, "Coherent Line Drawing", NPAR 2007; Winnemöller, Kyprianidis, Olsen, "XDoG", 2012.
    """
    x, y = tangents(plane, flow)
    difference = _across(plane, x, y, width, background)
    response = _along(difference, x, y, length)
    return np.asarray(np.where(response < -threshold, -np.tanh(sharpness * (response + threshold)), 0), np.float32)


def outlines(plane: Plane, *, width: float = 1.1, threshold: float = 0.012, clutter: float = 0.35) -> Plane:
    """Ink of two widths, ``width`` and 1.8 times that; where edges run in all directions, as in foliage, ``clutter`` of it is left."""
    fine = ink(plane, width=width, threshold=threshold)
    wide = ink(plane, width=1.8 * width, length=5.0, flow=3.5, threshold=1.2 * threshold)
    clear = ((coherence(plane, 4.0) - 0.25) / 0.3).clip(0, 1)
    return np.asarray(np.maximum(fine, wide) * (clutter + (1 - clutter) * clear), np.float32)


def without_specks(lines: Plane, area: float = 40.0) -> Plane:
    """Only lines that hang together: those of fewer than 0.6 ``area`` pixels are gone, those of 1.4 ``area`` are whole."""
    _, number, about, _ = cv2.connectedComponentsWithStats((lines > 0.25).astype(np.uint8), connectivity=8)
    sizes = about[:, cv2.CC_STAT_AREA].astype(np.float32)
    sizes[0] = 0  # the paper
    kept = ((sizes - 0.6 * area) / (0.8 * area)).clip(0, 1)[number]
    return np.asarray(lines * cv2.dilate(kept, np.ones((3, 3), np.uint8)), np.float32)


def faces(photo: FloatPixels, *, smallest: int = 20) -> Plane:
    """Where faces are, 0 to 1 with soft borders: OpenCV's cascade (Viola and Jones, CVPR 2001; Lienhart and Maydt 2002)."""
    height, width = photo.shape[:2]
    found = np.zeros((height, width), np.float32)
    grey = cv2.equalizeHist((lightness(photo) * 255).round().astype(np.uint8))
    enlarged = cv2.resize(grey, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    for left, top, across, down in _cascade().detectMultiScale(enlarged, 1.15, 5, minSize=(2 * smallest,) * 2):
        centre = (int(left + across / 2) // 2, int(top + 0.54 * down) // 2)
        cv2.ellipse(found, centre, (max(int(across * 0.27), 1), max(int(down * 0.33), 1)), 0, 0, 360, 1.0, -1)
    return blurred(found, 3.0) if found.any() else found


def _cascade() -> cv2.CascadeClassifier:
    """One for each thread: two that search with the same one at once crash."""
    if not hasattr(_of_thread, "cascade"):
        _of_thread.cascade = cv2.CascadeClassifier(str(Path(data.haarcascades) / "haarcascade_frontalface_alt2.xml"))
    found: cv2.CascadeClassifier = _of_thread.cascade
    return found


def _across(plane: Plane, x: Plane, y: Plane, width: float, background: float) -> Plane:
    """Difference of Gaussians of ``width`` and 1.6 x that, along the line through each pixel that crosses the flow."""
    right, down = places(plane)
    sums, weights = [np.zeros_like(plane), np.zeros_like(plane)], [0.0, 0.0]
    for k in range(-int(np.ceil(4 * width)), int(np.ceil(4 * width)) + 1):
        seen = sampled(plane, right - k * y, down + k * x)
        for n, sigma in enumerate((width, 1.6 * width)):
            weight = float(np.exp(-0.5 * (k / sigma) ** 2))
            sums[n] += weight * seen
            weights[n] += weight
    return sums[0] / weights[0] - background * sums[1] / weights[1]


def _along(plane: Plane, x: Plane, y: Plane, length: float) -> Plane:
    """Gaussian mean of ``length`` pixels along the flow."""
    return along(plane, x, y, [math.exp(-0.5 * (k / length) ** 2) for k in range(1, math.ceil(2 * length) + 1)])


def along(planes: NDArray[np.float32], x: Plane, y: Plane, weights: Sequence[float], *, unit: bool = False) -> NDArray[np.float32]:
    """Weighted mean of HW or HWC planes along the flow, both ways from each pixel: line integrals (Cabral and Leedom, SIGGRAPH 1993).

    ``weights`` are those of the pixels one step away, two steps, and so on; the pixel itself has 1. With ``unit`` each step is one pixel
    long, also where the flow between pixels is shorter.
    """
    total = planes.copy()
    for sign in (1, -1):
        (right, down), dx, dy = places(x), sign * x, sign * y
        for weight in weights:
            right, down = right + dx, down + dy
            total += weight * sampled(planes, right, down)
            next_x, next_y = sampled(x, right, down), sampled(y, right, down)
            turn = np.where(next_x * dx + next_y * dy < 0, np.float32(-1), np.float32(1))  # a tangent has no sign of its own
            if unit:
                turn /= np.sqrt(next_x**2 + next_y**2) + np.float32(1e-6)
            dx, dy = turn * next_x, turn * next_y
    return total / np.float32(1 + 2 * sum(weights))


def places(plane: Plane) -> tuple[Plane, Plane]:
    """Where each pixel is: its column and its row."""
    down, right = np.mgrid[: plane.shape[0], : plane.shape[1]].astype(np.float32)
    return right, down


def sampled(plane: Plane, right: Plane, down: Plane) -> Plane:
    """The plane (or planes, HWC) at these columns and rows, between pixels as well, continued by reflection."""
    return np.asarray(cv2.remap(plane, right, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101), np.float32)


def blurred(plane: Plane, sigma: float) -> Plane:
    """Gaussian mean of a plane, or of planes (HWC), continued by reflection."""
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101), np.float32)


def inked(picture: FloatPixels, lines: Plane, strength: float = 0.9, ink: FloatPixels | float = 0.0) -> FloatPixels:
    """The picture under lines of ``ink`` (a colour; black), ``strength`` of the way to it."""
    paper = 1 - strength * lines.clip(0, 1)[..., None]
    return np.asarray(picture * paper + ink * (1 - paper), np.float32)


def drawn(photo: FloatPixels, width: float = 1.0, *, shadows: float = 1.0) -> tuple[FloatPixels, Plane]:
    """What cartoons are made of: flat areas, lighter in the ``shadows`` (the gamma of ``lifted``), and lines of ink.

    Outlines come from lightness as it is and by ratios, so that dark things have them, from the flat areas themselves, so that textures
    have none, and from warmth. In faces areas are finer and lines thinner: eyes and mouths are small.
    ``width`` is a factor for the lines'.
    """
    smooth, fine = smoothed(photo), smoothed(photo, passes=1, diameter=5, colours=0.06, radius=2.0)
    flat, face = flats(without_texture(smooth), 0.02, 2.0), faces(photo)
    found = outlines(lightness(smooth), width=1.1 * width), outlines(contrast(lightness(smooth)), width=1.1 * width, threshold=0.009)
    of_areas = (
        outlines(contrast(lightness(flat)), width=width, threshold=0.007),
        outlines(warmth(flat), width=width, threshold=0.009, clutter=0.2),
    )
    lines = without_specks(np.maximum.reduce([*found, *(0.8 * each for each in of_areas)]))
    if not face.any():
        return lifted(flat, shadows), lines
    thin = ink(lightness(fine), width=0.8, length=3.0, flow=2.0, threshold=0.014)
    lines = lines * (1 - face) + np.maximum(0.75 * thin, 0.35 * lines) * face
    light = lifted(flat, shadows)
    return light + (lifted(fine, shadows) - light) * face[..., None], lines


def storybook(photo: FloatPixels) -> FloatPixels:
    """A picture of a children's book: soft flat areas, lighter and more colourful than the photograph, with inked outlines."""
    flat, lines = drawn(photo, shadows=SHADOWS)
    return inked(stepped(brightened(flat, saturation=1.4, gamma=0.9), steps=8, share=0.5), lines, 0.92)


def ink_wash(photo: FloatPixels) -> FloatPixels:
    """A drawing in ink: black lines over four tones of a blue-grey wash on warm paper."""
    flat, lines = drawn(photo, shadows=0.55)
    tone = lightness(flat) ** 1.25 * 4
    step = np.floor(tone.clip(0, 3.999))
    tone = (step + 0.5 + 0.5 * np.tanh(9 * (tone - step - 0.5))) / 4
    paper, wash = np.array([0.985, 0.965, 0.915], np.float32), np.array([0.19, 0.22, 0.29], np.float32)
    return inked(wash + (paper - wash) * (0.18 + 0.92 * tone).clip(0, 1)[..., None], 1.1 * lines, 0.95).astype(np.float32)


def comic(photo: FloatPixels) -> FloatPixels:
    """A page of a comic: few hard tones of strong colours, heavy ink, and what is darkest filled with black."""
    flat, lines = drawn(photo, shadows=SHADOWS)
    lab = cv2.cvtColor(stepped(brightened(flat, saturation=1.6, gamma=0.9), steps=4, share=0.92, sharpness=9), cv2.COLOR_RGB2LAB)
    lab[..., 1:] *= 1.15
    black = 1 / (1 + np.exp((lab[..., 0] - 18) / 2))
    return inked(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB).clip(0, 1) * (1 - 0.9 * black[..., None]), 1.15 * lines, 0.97)


ABSTRACTIONS: dict[str, Callable[[FloatPixels], FloatPixels]] = {"storybook": storybook, "ink": ink_wash, "comic": comic}
"""Whole pictures by name."""


def abstraction(photo: FloatPixels, name: str = "storybook") -> FloatPixels:
    """The photograph as the picture ``name``, one of ``ABSTRACTIONS``; continued over its border, and cropped again."""
    return continued(photo, ABSTRACTIONS[name])


def continued(photo: FloatPixels, draw: Callable[[FloatPixels], FloatPixels], margin: int = MARGIN) -> FloatPixels:
    """``draw`` of the photograph, continued by ``margin`` pixels over its border before, and cropped after; in [0, 1]."""
    margins = [(margin, margin)] * 2 + [(0, 0)]
    wide = np.pad(photo, margins, mode="reflect" if min(photo.shape[:2]) > margin else "symmetric")
    picture = draw(np.ascontiguousarray(wide, np.float32))
    return np.ascontiguousarray(picture[margin:-margin, margin:-margin].clip(0, 1), np.float32)


def of_pixels(pixels: NDArray[np.uint8], name: str = "storybook") -> NDArray[np.uint8]:
    """``abstraction`` of a uint8 HWC RGB photograph, as uint8."""
    return (abstraction(pixels.astype(np.float32) / np.float32(255), name) * 255 + 0.5).astype(np.uint8)
