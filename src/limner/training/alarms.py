"""Alarms: what tells a person early that a training has gone wrong.

Thresholds lie between what was measured on good and on bad pictures, in sixty random draws of 16 from sixty photographs, 256 x 256.
Good were three fast styles (strong strokes, flat colours, one a quarter trained), two of them also weaker and in the photograph's own
colours, and 25 filters: posterised, grey, sepia, saturated, smoothed, brightened, cartoon, pencil, canvas and more. Only a stencil of black
and white alarmed, once. In draws of 4, it did so in 15 of 200, a faint smoothing in 9, nothing else; and fewer of the bad were found.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from limner.blocks import drawing

GRID = 16
"""Cells on each side of the coarse pictures in which photograph and output are compared: large patches, no strokes."""

# Of pictures: each measure, below, says what good and bad ones reach.
LEAST_CHANGE = 0.010
LEAST_RESPONSE = 0.15
LEAST_CORRELATION = -0.5
MOST_FLAT_DETAIL = 0.065
MOST_FLAT_SHARE = 0.45
MOST_DROPLETS = 1.9
MOST_WEAVE = 0.15
MOST_WEAVE_PEAK = 11.0

WINDOW = 10
"""Logged losses, a hundred steps, that are judged together: one bad batch, or one very easy one, says nothing."""
EXPLOSION = 8.0
"""Times its usual level. Three normal runs of fast style rise 1.4 times at most, made-up losses that wander between 1 and 9 less than 8."""
LEAST_LOSS = 1e-3
"""Losses below count as this much: a small multiple of next to nothing is no explosion."""
SATURATED = 0.02
"""Loss of a discriminator that is hardly ever wrong. At chance it is 0.25 (LSGAN, halved), 0.5 or, with the logarithm, 1.39."""


@dataclass(frozen=True)
class Alarm:
    """Something that has probably gone wrong, in words for a person."""

    kind: str
    """What it is, in short."""
    saw: str
    """One sentence with the numbers seen."""
    advice: str
    """One sentence: what to try."""


def of_pictures(photos: Tensor, outputs: Tensor) -> list[Alarm]:
    """Alarms about what a network makes of two or more different photographs; both float32 NCHW RGB in [0, 1], of the same shape."""
    response = response_to_photos(photos, outputs)
    if response < LEAST_RESPONSE:  # nothing of the photographs is left: there is no more to say about colours or flat areas
        return [_collapse(response)]
    change = mean_change(photos, outputs)
    luma, chroma = luma_correlation(photos, outputs), chroma_correlation(photos, outputs)
    detail, share = flat_detail(photos, outputs)
    alarms = []
    if change < LEAST_CHANGE:
        alarms.append(_output_equals_input(change))
    if min(luma, chroma) < LEAST_CORRELATION:
        alarms.append(_colours_inverted(luma, chroma))
    if detail > MOST_FLAT_DETAIL and share > MOST_FLAT_SHARE:
        alarms.append(_flat_areas_gone(detail, share))
    elif (woven := weave(photos, outputs))[0] > MOST_WEAVE and woven[1] > MOST_WEAVE_PEAK:
        alarms.append(_weave(*woven))
    if (count := droplets(photos, outputs)) > MOST_DROPLETS:
        alarms.append(_droplets(count))
    return alarms


class Losses:
    """Watches the losses of a run as they are logged. What goes wrong with a loss is told once."""

    def __init__(self) -> None:
        self._recent: dict[str, list[float]] = {}
        self._usual: dict[str, list[float]] = {}  # of the running medians: number, sum of logarithms, highest
        self._told: list[str] = []

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists; with them a resumed run alarms as one that was never stopped."""
        return {"recent": dict(self._recent), "usual": dict(self._usual), "told": list(self._told)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._recent, self._usual, self._told = dict(state["recent"]), dict(state["usual"]), list(state["told"])

    def look(self, step: int, losses: dict[str, float]) -> list[Alarm]:
        """Alarms at ``step``, with the ``losses`` just logged, by name."""
        if lost := [name for name, value in losses.items() if not math.isfinite(value)]:
            return [_not_a_number(step, lost)]
        if losses.keys() != self._recent.keys():  # a new phase of the method: what was normal before says nothing
            self._recent = {name: [] for name in losses}
            self._usual = {name: [0, 0.0, 0.0] for name in losses}
        alarms = []
        for name, value in losses.items():
            self._recent[name] = [*self._recent[name], value][-WINDOW:]
            # No look for explosions of a discriminator: from near zero back to chance is a long way, and good news.
            look = self._saturated if name.startswith("discriminator") else self._explodes
            alarm = look(step, name)
            if alarm and f"{name}: {alarm.kind}" not in self._told:
                self._told.append(f"{name}: {alarm.kind}")
                alarms.append(alarm)
        return alarms

    def _saturated(self, step: int, name: str) -> Alarm | None:
        """A discriminator that knows every generated picture: there is nothing left that the generator could learn from it."""
        highest = max(self._recent[name])
        if len(self._recent[name]) < WINDOW or highest > SATURATED:
            return None
        return Alarm(
            "discriminator saturated",
            f"The loss {name!r} was never above {highest:.2g} in the {WINDOW} logs up to step {step} (alarm at {SATURATED:g}).",
            "Let the discriminator learn more slowly than the generator, or give it more and more varied pictures.",
        )

    def _explodes(self, step: int, name: str) -> Alarm | None:
        """A running median far above the geometric mean of those before, and above each of them: a loss may wander, and may start high."""
        if len(self._recent[name]) < WINDOW // 2:
            return None
        now = median(self._recent[name])
        number, logarithms, highest = self._usual[name]
        self._usual[name] = [number + 1, logarithms + math.log(max(now, LEAST_LOSS)), max(highest, now)]
        usual = math.exp(logarithms / number) if number else math.inf
        if now <= highest or now <= EXPLOSION * usual:
            return None
        return Alarm(
            "loss explodes",
            f"The loss {name!r} has come to {now:.3g} at step {step}; {usual:.3g} was usual (alarm above {EXPLOSION:g} times as much).",
            "Start again with a lower --learning-rate, or with a larger --batch-size if single pictures throw it.",
        )


# The measures.


def mean_change(photos: Tensor, outputs: Tensor) -> float:
    """Mean absolute difference of outputs from photographs: 0 for the photographs themselves, at most 1.

    Good: 0.020 (saturated a little) and more, 0.011 where a smoothing can just be seen. Bad: at most 0.009 (saved as JPEG, quality 85).
    """
    return (photos - outputs).abs().mean().item()


def response_to_photos(photos: Tensor, outputs: Tensor) -> float:
    """How much of what tells photographs apart is left in their outputs: 1 for the photographs themselves, 0 for the same output always.

    It is the slope of outputs over photographs, each less the mean of all, in coarse luma or local contrast, whichever answers more (a
    pencil drawing keeps only the contrast). A ratio of distances would take a texture that merely lies differently each time for an answer.
    Good: 0.30 (a pale print) to 1.82. Bad: at most 0.11 (a constant, a painting over 90 or 95 % of the photograph, a texture anywhere).
    """

    def slope(measure: Callable[[Tensor], Tensor], *, floor: float, unknown: float) -> float:
        """``unknown`` where the photographs' own differences are below ``floor``."""
        before, after = (measure(pictures) for pictures in (photos, outputs))
        before, after = before - before.mean(0), after - after.mean(0)
        return (((before * after).mean().abs() + unknown * floor**2) / (before.square().mean() + floor**2)).item()

    # Photographs that are all alike ask for nothing.
    return max(slope(_coarse_luma, floor=0.01, unknown=1), slope(_local_contrast, floor=0.005, unknown=0))


def luma_correlation(photos: Tensor, outputs: Tensor) -> float:
    """Correlation of coarse luma within photographs and their outputs: 1 for the photographs themselves, -1 for negatives.

    Good: -0.11 (a pencil drawing; others 0.46 and more). Bad: at most -0.93 (the negative of a painted picture).
    """
    return _correlation(*(_centred(_coarse_luma(pictures)) for pictures in (photos, outputs)), floor=0.01)


def chroma_correlation(photos: Tensor, outputs: Tensor) -> float:
    """Correlation of coarse chroma within photographs and their outputs: 1 for the photographs themselves, -1 for complementary hues.

    What chroma shares with the photograph's luma is taken out first: a style may well paint all shade blue and all light cream.
    Good: -0.18 (Starry Night) and more, -0.37 after the first hundred steps. Bad: at most -0.52 (hues turned by 120 degrees); red and blue
    exchanged gives -0.84 to -0.36, and is found in four draws of five; green exchanged with either is not found.
    """
    luma = _centred(_coarse_luma(photos))

    def beyond_luma(pictures: Tensor) -> Tensor:
        chroma = _centred(_coarse(pictures[:, [0, 2]] - drawing.luma(pictures)))
        slope = (chroma * luma).mean((2, 3), keepdim=True) / (luma.square().mean((2, 3), keepdim=True) + 0.01**2)
        return chroma - slope * luma

    return _correlation(beyond_luma(photos), beyond_luma(outputs), floor=0.005)


def flat_detail(photos: Tensor, outputs: Tensor) -> tuple[float, float]:
    """(detail, share): fine contrast of the outputs where photographs are flat, and its ratio to that where they are most detailed.

    (0, 0) where the photographs have too few flat or detailed areas to tell.
    Good: detail up to 0.055 and share up to 0.50, both Starry Night's, whose skies are full of strokes (a stencil: 0.16, 0.47). Bad: from
    0.068 and 0.42 on (noise of 0.12: most draws found), from 0.087 and 0.57 on (noise of 0.2, texture or noise on a painted picture: all).
    """
    before, after = (_fine_contrast(pictures).flatten() for pictures in (photos, outputs))
    flat = before < 0.01  # 2.5 / 255: grain and the traces of JPEG
    detailed = before >= max(before.quantile(0.75).item(), 0.02)
    if flat.float().mean() < 0.02 or not detailed.any():
        return 0.0, 0.0
    detail = after[flat].mean().item()
    return detail, detail / max(after[detailed].mean().item(), 1e-6)


def droplets(photos: Tensor, outputs: Tensor) -> float:
    """How many round spots a picture, black or white, some ten pixels wide, the outputs have in the mean where photographs have none.

    They come from norms over a whole picture, past which a generator can bring a strong signal only as a small spike (Tero Karras et al.,
    "Analyzing and Improving the Image Quality of StyleGAN", 2020, https://arxiv.org/abs/1912.04958, section 2).
    Good: at most 0.4 (the bundled styles, fourteen photographs), 1.1 for Ink, which draws dots; 1.75 for posterised pictures. Bad: 2.0 and
    7.0 (a CycleGAN with instance norm, there and back).
    """

    def beyond(pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Means over 5 x 5 pixels, and how far they lie below and above all around, nine pixels away."""
        luma, reach = drawing.luma(pictures), 10
        middle = F.avg_pool2d(luma, 5, 1, 2, count_include_pad=False)
        soft = F.avg_pool2d(F.pad(luma, (reach,) * 4, mode="replicate"), 3, 1)
        height, width = luma.shape[2:]
        angles = [2 * math.pi * k / 12 for k in range(12)]
        corners = [(9 + round(9 * math.sin(angle)), 9 + round(9 * math.cos(angle))) for angle in angles]
        around = torch.cat([soft[..., top : top + height, left : left + width] for top, left in corners], 1)
        return middle, around.amin(1, keepdim=True) - middle, middle - around.amax(1, keepdim=True)

    (middle, *spots), (_, *before) = beyond(outputs), beyond(photos)
    extreme = (middle < 0.06, middle > 0.94)
    found = [there & (spot > 0.15) & (old < 0.4 * spot) for there, spot, old in zip(extreme, spots, before, strict=True)]
    strength = torch.maximum(*spots)
    summits = strength == F.max_pool2d(strength, 15, 1, 7)
    return ((found[0] | found[1]) & summits).float().sum().item() / len(outputs)


def weave(photos: Tensor, outputs: Tensor) -> tuple[float, float]:
    """(share, peak) of what outputs have where photographs are flat: how much of it is finer than five pixels, and how far one frequency of
    that stands out from others as high.

    (0, 1) where photographs have no flat squares of 64 x 64 pixels, or outputs next to nothing there. A single row of strokes has a peak,
    and grain is fine: together they are a weave.
    Good: share up to 0.08 with any peak (the bundled styles), up to 0.52 with peaks up to 8 (grain; a pencil drawing). Bad: 0.24 and 15 (a
    CycleGAN's first texture).
    """
    side = 64

    def squares(pictures: Tensor) -> Tensor:
        if min(pictures.shape[2:]) < side:
            return pictures.new_zeros(0, side, side)
        return F.unfold(drawing.luma(pictures), side, stride=side // 2).transpose(1, 2).reshape(-1, side, side)

    before, after = squares(photos), squares(outputs)
    fine = before - F.avg_pool2d(before[:, None], 9, 1, 4, count_include_pad=False)[:, 0]
    flat = fine.abs().mean((1, 2)) < 0.012
    if not flat.any():
        return 0.0, 1.0
    window = torch.hann_window(side, periodic=False, device=photos.device)
    own, spectrum = (
        torch.fft.rfft2((each[flat] - each[flat].mean((1, 2), keepdim=True)) * window * window[:, None]).abs().square().mean(0)
        for each in (before, after)
    )
    frequency = torch.hypot(torch.fft.fftfreq(side)[:, None], torch.fft.rfftfreq(side)[None]).to(photos.device)
    whole = spectrum[frequency >= 0.03].sum()
    if whole / side**4 < 1e-6:
        return 0.0, 1.0
    new = spectrum / (own + own.median())  # what is in the photographs already, such as traces of JPEG, is no weave
    rings = [new[(frequency >= low) & (frequency < low + 0.05)] for low in (0.2, 0.25, 0.3, 0.35, 0.4, 0.45)]
    peak = max((ring.max() / ring.median()).item() for ring in rings)
    return (spectrum[frequency >= 0.2].sum() / whole).item(), peak


def _coarse(pictures: Tensor) -> Tensor:
    return F.adaptive_avg_pool2d(pictures, GRID)


def _coarse_luma(pictures: Tensor) -> Tensor:
    return _coarse(drawing.luma(pictures))


def _local_contrast(pictures: Tensor) -> Tensor:
    """Standard deviation of luma in each cell of the grid."""
    luma = drawing.luma(pictures)
    return (_coarse(luma.square()) - _coarse(luma).square()).clamp_min(0).sqrt()


def _fine_contrast(pictures: Tensor) -> Tensor:
    """Root mean square of luma less its mean over 9 x 9 pixels, in cells half as wide as the grid's; slow gradients do not count."""
    luma = drawing.luma(pictures)
    fine = luma - F.avg_pool2d(luma, 9, 1, 4, count_include_pad=False)
    return F.adaptive_avg_pool2d(fine.square(), 2 * GRID).sqrt()


def _centred(coarse: Tensor) -> Tensor:
    return coarse - coarse.mean((2, 3), keepdim=True)


def _correlation(a: Tensor, b: Tensor, *, floor: float) -> float:
    """Of centred values. Those of less than ``floor`` on average hardly count: grey has no hue, and the correlation with it is near 0."""
    energies = (a.square().mean() + floor**2) * (b.square().mean() + floor**2)
    return ((a * b).mean() / energies.sqrt()).item()


# What is said.


def _output_equals_input(change: float) -> Alarm:
    return Alarm(
        "output equals input",
        f"Outputs differ from their photographs by {255 * change:.1f} of 255 levels on average (alarm below {255 * LEAST_CHANGE:.1f}).",
        "Give the style more weight (fast style: --style-weight) or the content less, and check that --learning-rate is not far too low.",
    )


def _collapse(response: float) -> Alarm:
    return Alarm(
        "collapse",
        f"Of what tells the photographs apart, {response:.0%} is left in their outputs (alarm below {LEAST_RESPONSE:.0%}).",
        "Give the style less weight (fast style: --style-weight) or the content more, or start again with a lower --learning-rate.",
    )


def _colours_inverted(luma: float, chroma: float) -> Alarm:
    return Alarm(
        "colours inverted",
        f"Large areas correlate with the photographs' by {luma:.2f} in light, {chroma:.2f} in hue (alarm below {LEAST_CORRELATION:g}).",
        "Start again with another --seed, and with more weight on the photograph's light and colours (fast style: --tone-weight).",
    )


def _flat_areas_gone(detail: float, share: float) -> Alarm:
    return Alarm(
        "flat areas gone",
        f"Where photographs are flat, outputs vary by {255 * detail:.0f} of 255 levels, {share:.0%} of what they do in detailed areas "
        f"(alarm above {255 * MOST_FLAT_DETAIL:.0f} levels and {MOST_FLAT_SHARE:.0%}).",
        "Give smoothness more weight (fast style: --tv-weight) or the style less (--style-weight); if it is noise, lower --learning-rate.",
    )


def _weave(share: float, peak: float) -> Alarm:
    return Alarm(
        "weave",
        f"Where photographs are flat, {share:.0%} of what outputs have is finer than five pixels, and one frequency stands {peak:.0f} "
        f"times above its like (alarm above {MOST_WEAVE:.0%} and {MOST_WEAVE_PEAK:.0f}).",
        "Let networks and discriminators blur before they halve, as CycleGAN's do by default; if they do, look whether it shows.",
    )


def _droplets(count: float) -> Alarm:
    return Alarm(
        "droplets",
        f"Outputs have {count:.1f} round black or white spots a picture, where photographs have none (alarm above {MOST_DROPLETS:g}).",
        "Use a generator without norm (CycleGAN and CartoonGAN: --generator unet), and start again: droplets do not go away by themselves.",
    )


def _not_a_number(step: int, names: list[str]) -> Alarm:
    return Alarm(
        "loss is not a number",
        f"At step {step} these losses are no longer finite: {', '.join(names)}.",
        "Go back to the last checkpoint with --resume, or start again with a lower --learning-rate or with --precision float32.",
    )
