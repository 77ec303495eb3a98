"""What a network takes, told from its shapes before it runs: memory and sums for each pixel of a picture.

A few hundred bytes of ONNX can ask for terabytes, by layers joined to themselves again and again, by squares of all pixels with all pixels,
or by strides that blow a picture up. Shapes tell all that: for pictures of two sizes, since what grows faster than the picture does not
show in one.
"""

import math
from pathlib import Path
from typing import Any, NamedTuple

from limner.errors import LimnerError, require
from limner.style.runtimes.openvino_engine import read

SIDES = (256, 512)

VALUES = 1024
"""Numbers for each pixel that a network may hold at a time; Limner's own hold up to some 200."""

SUMS = 5e6
"""Multiplications for each pixel that a network may ask for; Limner's own ask for up to a million."""


class Cost(NamedTuple):
    """For each pixel."""

    values: float
    """Numbers that lie in memory at a time, at most."""
    sums: float
    """Multiplications."""


def check(path: Path, multiple: int) -> Cost:
    """The cost of the network in a style file. Raises ``LimnerError`` where it is too much, or the network paints another size."""
    network = read(path)
    costs = []
    for side in (-(-each // multiple) * multiple for each in SIDES):
        static = network.clone()
        try:
            static.reshape([1, 3, side, side])
            found = tuple(static.outputs[0].get_shape())
            costs.append(_cost(static, side))
        except (RuntimeError, OverflowError) as error:  # shapes that do not fit together, are open still, or too large for a number
            raise LimnerError(f"{path} is not a style file: its network takes no picture of {side} x {side} pixels.") from error
        require(found == (1, 3, side, side), f"{path} is not a style file: of {side} x {side} pixels its network makes {list(found)}.")
    cost = max(costs)
    require(
        all(each.values <= VALUES and each.sums <= SUMS for each in costs) and costs[1].values <= 1.5 * costs[0].values + 1,
        f"{path} has a network that takes more memory or time than a style may: {cost.values:,.0f} numbers and {cost.sums:,.0f} "
        f"multiplications for each pixel; {VALUES:,} and {SUMS:,.0f} are the limits.",
    )
    return cost


def _cost(model: Any, side: int) -> Cost:
    """Values live from the operation that makes them to the last that reads them."""
    order = [node for node in model.get_ordered_ops() if node.get_type_name() not in ("Constant", "Result")]
    last = {key: number for number, node in enumerate(order) for key in map(_key, node.input_values())}
    ends: dict[int, float] = {}
    live = most = sums = 0.0
    for number, node in enumerate(order):
        size = float(sum(math.prod(output.get_shape()) for output in node.outputs()))
        live += size
        most = max(most, live)
        sums += size * _each(node)
        for output in node.outputs():
            end = max(last.get(_key(output), number), number)
            ends[end] = ends.get(end, 0.0) + math.prod(output.get_shape())
        live -= ends.pop(number, 0.0)
    return Cost(most / side**2, sums / side**2)


def _each(node: Any) -> float:
    """Multiplications for each number that a node makes, about."""
    name = node.get_type_name()
    if "Convolution" in name:
        kernel = node.input_value(1).get_shape()
        makes = math.prod(kernel[:2]) if name.startswith("Group") else kernel[1 if "Backprop" in name else 0]
        return float(math.prod(kernel) / max(makes, 1))
    if name in ("MaxPool", "AvgPool"):
        return float(math.prod(node.get_attributes()["kernel"]))
    if name.startswith("Reduce"):
        return float(math.prod(node.get_input_shape(0)) / max(math.prod(node.get_output_shape(0)), 1))
    return 1.0


def _key(output: Any) -> tuple[str, int]:
    return output.get_node().get_friendly_name(), output.get_index()
