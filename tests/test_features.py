"""VGG-19: layer names, shapes, and files that hold only a part of it."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from limner.blocks import features
from limner.errors import LimnerError

# Indices in torchvision's vgg19().features, read off its layer list.
TORCHVISION = {
    "conv1_1": 0,
    "conv1_2": 2,
    "conv2_1": 5,
    "conv2_2": 7,
    "conv3_1": 10,
    "conv3_4": 16,
    "conv4_1": 19,
    "conv4_4": 25,
    "conv5_1": 28,
    "conv5_4": 34,
}


def test_layers_have_torchvisions_indices() -> None:
    assert {name: features.CONVOLUTIONS[name] for name in TORCHVISION} == TORCHVISION
    assert len(features.CONVOLUTIONS) == 16
    assert len(features.LAYERS) == 32


def test_whole_network_has_the_papers_parameters() -> None:
    network = features.VGG19(["relu5_4"])
    assert sum(p.numel() for p in network.parameters()) == 20_024_384  # configuration E without its fully connected layers
    assert not any(p.requires_grad for p in network.parameters())


def test_shapes_and_relu() -> None:
    torch.manual_seed(0)
    found = features.VGG19(["conv1_2", "relu1_2", "relu2_1", "conv3_4"])(torch.rand(2, 3, 40, 24))
    assert {name: tuple(f.shape) for name, f in found.items()} == {
        "conv1_2": (2, 64, 40, 24),
        "relu1_2": (2, 64, 40, 24),
        "relu2_1": (2, 128, 20, 12),
        "conv3_4": (2, 256, 10, 6),
    }
    assert torch.equal(found["relu1_2"], found["conv1_2"].relu())
    assert (found["conv1_2"] < 0).any()


def test_input_is_normalised_as_torchvision_does(vgg_file: Path) -> None:
    network = features.load(["conv1_1"], vgg_file)
    mean = torch.tensor(features.MEAN).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    assert network(mean)["conv1_1"].abs().max() < 1e-5  # the mean colour becomes zero, and the test file's biases are zero


def test_partial_file_says_what_it_lacks(vgg_file: Path) -> None:
    features.load(["relu1_2", "relu2_1"], vgg_file)
    with pytest.raises(LimnerError) as caught:
        features.load(["relu1_1", "relu3_1", "conv4_4"], vgg_file)
    sentence = str(caught.value)
    assert str(vgg_file) in sentence
    assert "conv4_4, relu3_1" in sentence
    assert "relu1_1" not in sentence
    assert "reaches as far as relu2_2" in sentence


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "cannot be read"), (b"no weights at all", "cannot be read"), (None, "There are no VGG-19 weights")],
)
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_bad_files(tmp_path: Path, content: bytes | None, words: str, suffix: str) -> None:
    path = tmp_path / f"vgg{suffix}"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LimnerError, match=words):
        features.load(["relu1_1"], path)


def test_other_tensors_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"x": torch.zeros(2)}, path)
    with pytest.raises(LimnerError, match="none of VGG-19's layers"):
        features.load(["relu1_1"], path)


def test_unknown_layer_is_refused() -> None:
    with pytest.raises(LimnerError, match="no layer 'relu6_1'"):
        features.VGG19(["relu6_1"])
