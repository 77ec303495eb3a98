"""Parity: whether a style file paints what the trained network paints, looked at before the file is kept.

On four kinds of pictures: noise, a natural one, smooth ramps without any grain, and one flat colour. Grain drowns what rounding does.
Where there is none, instance norm divides by next to nothing and makes strokes of the rounding itself: small in float32, a sixteenth of
the range and more in bf16, and of a flat colour whatever it likes. So a difference in float32 beyond the network's own wavering is an
error, since the export is broken; one of the engine's own precision is told, and written down.
"""

import logging
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from limner.blocks.network import StyleNetwork
from limner.errors import LimnerError
from limner.style.runtimes import contract, opening, openvino_engine

logger = logging.getLogger("limner")

SIZE = (67, 101)
GRAINY = ("noise", "natural")
TOLERANCE, TOLERANCE_IN_THE_MEAN = 1.0, 0.25
"""Levels of 255: on grainy pictures of any pixel, on smooth ones in the mean (0.005 was seen)."""
WAVERING = 100.0
"""How much more than by float32's rounding of its input a smooth picture may change (15 times was seen, of a network that is sound)."""
ROUNDING = 2.4e-7
TOLD = {"natural": 2.0, "bright ramp": 4.0, "dark ramp": 4.0}
"""Mean levels from which the engine's own precision is worth a warning; 2 is what saving as JPEG of quality 95 changes in a painting."""

Differences = dict[str, dict[str, float]]


def check(network: StyleNetwork, path: Path) -> Differences:
    """Mean absolute differences, in levels of 255, of what OpenVINO makes of the style file ``path`` from what torch makes of ``network``,
    in float32: of each picture "float32", OpenVINO's; "default", that of the precision in which it is applied here (bf16, where the
    hardware has it); "rounding", how far torch's own goes when its input is rounded otherwise. Raises ``LimnerError`` where float32's
    is more than rounding explains.
    """
    height, width = (-(-side // network.multiple_of) * network.multiple_of for side in SIZE)
    shown = pictures(height, width)
    batch = torch.cat(list(shown.values()))
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        expected = network(batch)
        rounding = network(batch + ROUNDING * (2 * torch.rand(batch.shape, generator=random) - 1)) - expected
    away = {"rounding": rounding.numpy(), "float32": _painted(path, batch, "float32") - expected.numpy()}
    away["default"] = _painted(path, batch, "auto") - expected.numpy() if openvino_engine.has_bf16() else away["float32"]
    found: Differences = {}
    for n, name in enumerate(shown):
        levels = {of: np.abs(difference[n]) * 255 for of, difference in away.items()}
        found[name] = {of: round(float(each.mean()), 3) for of, each in levels.items()}
        if name in GRAINY:
            worst, limit = levels["float32"].max(), TOLERANCE
        else:
            worst, limit = levels["float32"].mean(), TOLERANCE_IN_THE_MEAN + WAVERING * levels["rounding"].mean()
        if not worst <= limit:  # NaN is no agreement either
            differs = f"differs from the trained one by {worst:.1f}/255 ({name})"
            raise LimnerError(f"The exported style {differs}: please report it, with the run's config.toml.")
    _tell(found)
    return found


def _painted(path: Path, batch: Tensor, precision: contract.Precision) -> NDArray[np.float32]:
    return opening.open_style(path, runtime="openvino", precision=precision)(batch.numpy())


def _tell(found: Differences) -> None:
    if any(not found[name]["default"] <= most for name, most in TOLD.items()):
        smooth = max(found[name]["default"] for name in ("bright ramp", "dark ramp"))
        logger.warning(
            "in this machine's own precision the style paints smooth areas without any grain, such as drawn skies, otherwise than in "
            "float32: a ramp differs by %.1f/255 in the mean, a natural picture by %.1f/255",
            smooth,
            found["natural"]["default"],
        )


def pictures(height: int, width: int) -> dict[str, Tensor]:
    """The pictures, seeded: float32 1 x 3 x height x width RGB in [0, 1]."""
    down, across = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    ramp = torch.stack([0.2 * across, 0.15 * down, -0.1 * down * across])
    return {
        "noise": torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0)),
        "natural": _natural(height, width),
        "bright ramp": (torch.tensor([0.75, 0.8, 0.9]).view(3, 1, 1) + ramp)[None],
        "dark ramp": (torch.tensor([0.05, 0.05, 0.2]).view(3, 1, 1) + ramp)[None],
        "flat colour": torch.tensor([0.8, 0.6, 0.3]).view(1, 3, 1, 1).expand(1, 3, height, width),
    }


def _natural(height: int, width: int) -> Tensor:
    """Noise whose spectrum falls as 1/f, as that of photographs does, mostly grey."""
    frequency = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.fftfreq(width)[None])
    frequency[0, 0] = torch.inf
    white = torch.randn(3, height, width, generator=torch.Generator().manual_seed(2))
    planes: Tensor = torch.fft.ifft2(torch.fft.fft2(white) / frequency).real
    planes = planes.mean(0) + 0.4 * (planes - planes.mean(0))
    return (0.5 + 0.2 * planes / planes.std()).clamp(0, 1)[None]
