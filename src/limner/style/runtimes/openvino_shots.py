"""Frames of a film, painted with statistics of instance norms that change slowly along a shot.

An instance norm takes mean and variance of each channel over a whole frame. Whatever comes into the frame, leaves it or changes its light
shifts them, and so tones and strokes everywhere. Here each norm goes by a mixture of the frame's own statistics and those of the frames
before. What a norm measures is already painted with the mixtures of the norms before it.
"""

from pathlib import Path
from typing import Any

import numpy as np
import openvino
from openvino import opset13 as op

from limner.errors import require
from limner.style.runtimes.contract import Image, Precision, Statistics, check_range
from limner.style.runtimes.openvino_engine import of_any_size, on_pixels, read


class Shots:
    """An engine, on the CPU, for pictures uint8 NHWC. Set ``before`` and ``keep``, let it paint a frame, and take ``after``.

    Raises ``LimnerError`` where the style file holds no network, or one without instance norms.
    """

    before: Statistics | None = None
    """``after`` of the frame before; None begins a shot."""
    keep: float = 0.0
    """Share of them, from 0 to 1, in the statistics by which the frame is painted."""

    def __init__(self, path: Path, precision: Precision) -> None:
        self._path = path
        network, channels = _with_statistics(on_pixels(read(path)))
        require(
            channels > 0,
            f"{path.stem} has a network without instance norms, and so no statistics that change from frame to frame: set `calm` to flow.",
        )
        self._none: Statistics = np.zeros((2, channels, 1, 1), np.float32)
        self.after = self._none
        self._infer = of_any_size(lambda _: network, "CPU", precision)

    def __call__(self, image: Image) -> Image:
        before, keep = (self._none, 0.0) if self.before is None else (self.before, self.keep)
        found = self._infer(image, before, np.array([keep], np.float32))
        check_range(self._path, float(found[1]))
        # Mixed anew here: in bf16, as the network may be computed, changes would be rounded away that are small beside what is kept.
        self.after = found[2] + np.float32(keep) * (before - found[2])
        stylized: Image = found[0]
        return stylized


def _with_statistics(network: Any) -> tuple[Any, int]:
    """A network made by ``on_pixels`` that also takes statistics, float32 2 x C x 1 x 1, and the share of them to keep, float32 1, and also
    gives its own, of the same shape: means and variances of all channels of its norms. And C; 0 leaves the network as it is."""
    norms = [node for node in network.get_ordered_ops() if _is_instance_norm(node)]
    channels = [node.get_input_partial_shape(0)[1].get_length() for node in norms]
    if not norms:
        return network, 0
    before, keep = op.parameter([2, sum(channels), 1, 1], np.float32), op.parameter([1], np.float32)
    parts = op.variadic_split(before, 1, channels).outputs()
    own = [_mix(node, part, keep) for node, part in zip(norms, parts, strict=True)]
    results = [*network.get_results(), op.result(op.concat(own, 1))]
    return openvino.Model(results, [*network.get_parameters(), before, keep], "shots"), sum(channels)


def _mix(norm: Any, before: Any, keep: Any) -> Any:
    """Let a norm go by its own statistics and a share of those ``before``; its own, 2 x C x 1 x 1.

    What it normalised by its own is scaled and shifted, so that a share of 0 changes nothing, however exactly they are measured.
    """
    users, places = list(norm.output(0).get_target_inputs()), op.constant(np.array([2, 3], np.int64))
    mean = op.reduce_mean(norm.input_value(0), places, keep_dims=True)
    variance = op.reduce_mean(op.power(op.subtract(norm.input_value(0), mean), np.float32(2)), places, keep_dims=True)
    own = op.concat([mean, variance], 0)
    change = op.split(op.multiply(keep, op.subtract(before, own)), 0, 2).outputs()
    eps = np.float32(norm.get_attributes()["eps"])
    deviation = op.sqrt(op.add(op.add(variance, change[1]), eps))
    scaled = op.multiply(norm, op.divide(op.sqrt(op.add(variance, eps)), deviation))
    mixed = op.subtract(scaled, op.divide(change[0], deviation))
    for user in users:
        user.replace_source_output(mixed.output(0))
    return own


def _is_instance_norm(node: Any) -> bool:
    """Over height and width of each channel."""
    return (
        node.get_type_name() == "MVN"
        and len(node.get_input_partial_shape(0)) == 4
        and sorted(np.ravel(node.input_value(1).get_node().get_data()) % 4) == [2, 3]
    )
