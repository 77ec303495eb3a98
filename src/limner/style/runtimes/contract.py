"""What an engine is: anything that runs the network of a style file."""

from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from limner import privacy
from limner.errors import LimnerError

privacy.mute_openvino()

Array = NDArray[np.float32]
Image = TypeVar("Image", bound=NDArray[Any])
Statistics = NDArray[np.float32]
"""Means, and then variances, of a network's norms for a frame of a film: 2 x C x 1 x 1, the channels of all norms one after the other."""


class Engine(Protocol):
    """What runs a network."""

    def __call__(self, image: Image, /) -> Image:
        """float32 NCHW RGB in [0, 1] to the same, or uint8 NHWC RGB to the same, rounded half up; height and width as the card asks."""


Runtime = Literal["auto", "openvino", "onnxruntime", "torch"]
Device = Literal["auto", "cpu", "gpu"]
Precision = Literal["auto", "float32"]

OUTSIDE = 0.05
"""How far, in the mean over a picture, a network's output may lie outside of [0, 1], where it is cut off."""


def check_range(path: Path, outside: float) -> None:
    """Raise ``LimnerError`` where a network's output lies this far outside of [0, 1], in the mean; NaN where it holds no numbers."""
    if not outside <= OUTSIDE:
        what = "numbers far outside of 0 to 1" if outside > OUTSIDE else "values that are no numbers"
        raise LimnerError(f"{path} does not paint: its network makes {what} of this picture. Export it anew, or train it again.")
