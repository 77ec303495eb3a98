"""A style's weights, by their names in its network: from the .safetensors beside the style file, or from the style file itself."""

from pathlib import Path

import torch
from torch import Tensor

from limner import limits
from limner.errors import LimnerError


def load(path: Path) -> dict[str, Tensor]:
    """The weights in ``path``, a .safetensors, or of a style file (.onnx): from what lies beside it, else from its graph, where other
    constants bear other names, and equal weights of an untrained network may be one. In half precision.

    Raises ``LimnerError`` where there are none.
    """
    if (beside := path.with_suffix(".safetensors")).is_file():
        path = beside
    try:
        limits.open_file(path, limits.STYLE).close()
        return _from_graph(path) if path.suffix == ".onnx" else _from_safetensors(path)
    except LimnerError:
        raise
    except ModuleNotFoundError as error:
        raise LimnerError(f"{path} cannot be read without the package {error.name}: pip install 'limner[train]'.") from error
    except Exception as error:  # safetensors, protobuf and NumPy each raise their own
        raise LimnerError(f"{path} is damaged, or holds no weights: make it anew with `limner export`.") from error


def _from_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(path)


def _from_graph(path: Path) -> dict[str, Tensor]:
    from onnx import load_model, numpy_helper

    found = {}
    constants = {each.name: each for each in load_model(path, load_external_data=False).graph.initializer}
    for constant in constants.values():
        name, values = constant.name.removesuffix(".half"), torch.from_numpy(numpy_helper.to_array(constant).copy())
        if name.endswith(".scales"):
            continue
        if name.endswith(".int8"):  # of a compact file
            name = name.removesuffix(".int8")
            values = (values * torch.from_numpy(numpy_helper.to_array(constants[f"{name}.scales"]).copy())).half()
        if name.endswith(".squares"):
            # `limner.training.graph_optimization` made a convolution paint squares of 2 x 2: the first pixel's is the old one.
            name, values = name.removesuffix(".squares"), values[::4]
            values = values[..., :-1, :-1] if values.ndim == 4 else values
        # A canvas's 8 bits fit into half precision.
        found[name] = values.half() if values.dtype == torch.uint8 else values.contiguous()
    return found
