"""What the tests share: small pictures, a small style file, small VGG-19 weights. All seeded, nothing downloaded."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file

from limner.blocks import features
from limner.methods import fast_style
from limner.training import export

torch.set_num_threads(2)

NORM = Path(__file__).parent / "styles" / "norm.onnx"
"""A style of fast neural style's own network, which has instance norm, in three tiers; no bundled style has any more."""


def make_photo(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    """A smooth, colourful picture with a few hard edges; uint8 HWC."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (5, 7, 3), np.uint8))
    photo = np.array(coarse.resize((width, height), Image.Resampling.BICUBIC))
    photo[height // 3 : height // 2, width // 4 : width // 2] = random.integers(0, 256, 3)
    return photo


class Full:
    """A file on a disk that is full after seven bytes."""

    def __init__(self, file: Any) -> None:
        self.file = file

    def write(self, data: bytes) -> int:
        return int(self.file.write(data[:7]))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of eight photographs of different sizes."""
    folder = tmp_path_factory.mktemp("photos")
    for i in range(8):
        Image.fromarray(make_photo(60 + 7 * i, 90 - 5 * i, seed=i)).save(folder / f"photo-{i}.jpg")
    return folder


@pytest.fixture(scope="session")
def many_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of forty small photographs: enough that four are held out."""
    folder = tmp_path_factory.mktemp("many")
    for i in range(40):
        Image.fromarray(make_photo(48, 40, seed=100 + i)).save(folder / f"photo-{i:02}.jpg")
    return folder


@pytest.fixture
def painting(tmp_path: Path) -> Path:
    path = tmp_path / "painting.png"
    Image.fromarray(make_photo(90, 70, seed=99)).save(path)
    return path


@pytest.fixture(scope="session")
def style_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The style file of a small random network, with its weights beside it."""
    torch.manual_seed(3)
    network = fast_style.Generator(width=8, blocks=1)
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    path = tmp_path_factory.mktemp("style") / "tiny.onnx"
    about = {
        "name": "tiny",
        "title": "Tiny",
        "method": "fast_style",
        "best_short_side": 256,
        "licence": "Apache-2.0",
        "trained_on": ["nothing"],
    }
    export.write(network, about, path)
    return path


@pytest.fixture(scope="session")
def vgg_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seeded random VGG-19 weights of conv1_1 to conv2_2, under torchvision's key names."""
    torch.manual_seed(5)
    path = tmp_path_factory.mktemp("vgg") / "vgg19_conv1_1-conv2_2.safetensors"
    state, inputs = {}, 3
    for name in ("conv1_1", "conv1_2", "conv2_1", "conv2_2"):
        outputs = features.BLOCKS[int(name[4]) - 1][0]
        index = features.CONVOLUTIONS[name]
        state[f"features.{index}.weight"] = torch.randn(outputs, inputs, 3, 3) * (2 / (9 * inputs)) ** 0.5
        state[f"features.{index}.bias"] = torch.zeros(outputs)
        inputs = outputs
    save_file(state, path)
    return path
