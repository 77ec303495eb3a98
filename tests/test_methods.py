"""What every method promises: found by its file alone, so that a new one is tested as soon as it is there."""

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import nn

from limner.blocks.network import StyleNetwork
from limner.gallery import bundled
from limner.methods import contract

MODULES = [contract.find(name) for name in contract.names()]


@pytest.fixture(params=MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def method(request: pytest.FixtureRequest) -> contract.Method:
    return request.param  # type: ignore[no-any-return]


def build(method: contract.Method) -> StyleNetwork:
    required = {
        f.name: Path() if f.type is Path else bundled.default()  # a teacher
        for f in dataclasses.fields(method.Config)
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    }
    return method.build(method.Config(**required))


def test_names_its_paper(method: contract.Method) -> None:
    assert "arxiv.org/abs/" in (method.__doc__ or "")


def test_every_option_is_documented_and_frozen(method: contract.Method) -> None:
    import ast
    import inspect

    tree = ast.parse(inspect.getsource(method.Config)).body[0]
    assert isinstance(tree, ast.ClassDef)
    for statement, following in zip(tree.body, [*tree.body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.target.id != "PRESETS":
            assert isinstance(following, ast.Expr), f"{statement.target.id} has no docstring"
    with pytest.raises(dataclasses.FrozenInstanceError):
        method.Config.__setattr__(object.__new__(method.Config), "steps", 1)  # type: ignore[call-arg]


def test_presets_are_options(method: contract.Method) -> None:
    names = {f.name for f in dataclasses.fields(method.Config)}
    for preset in method.Config.PRESETS.values():  # type: ignore[attr-defined]
        assert set(preset) <= names


def test_network_maps_pictures_to_pictures(method: contract.Method) -> None:
    torch.manual_seed(0)
    network = build(method).eval()
    side = network.multiple_of * 8
    with torch.no_grad():
        painted = network(torch.rand(2, 3, side, side + network.multiple_of))
    assert painted.shape == (2, 3, side, side + network.multiple_of)
    assert painted.min() >= 0
    assert painted.max() <= 1
    assert painted.std() > 0


def test_network_is_rebuilt_from_its_arguments(method: contract.Method) -> None:
    network = build(method)
    again = type(network)(**network.arguments)
    again.load_state_dict(network.state_dict())


def test_receptive_field_is_as_the_card_says(method: contract.Method) -> None:
    """Measured: how far from an output pixel an input pixel can be and still count, normalisation aside."""
    network = _without_norm_and_relu(build(method).double())
    field, middle = 0, network.receptive_field
    side = -(-(2 * middle + network.multiple_of) // network.multiple_of) * network.multiple_of  # the whole field, around every phase
    for phase in range(network.multiple_of):
        picture = torch.rand(1, 3, side, side, dtype=torch.double, requires_grad=True)
        network(picture)[0, :, middle, middle + phase].sum().backward()
        assert picture.grad is not None
        columns = picture.grad[0].abs().sum((0, 1)).nonzero()
        field = max(field, int(columns.max() - columns.min()) + 1)
    assert field == network.receptive_field


def test_smallest_side_works_and_nothing_smaller(method: contract.Method) -> None:
    network = build(method).eval()
    smaller = network.min_side - network.multiple_of
    with torch.no_grad():
        assert network(torch.rand(1, 3, network.min_side, network.min_side)).isfinite().all()
        with pytest.raises((RuntimeError, ValueError)):
            network(torch.rand(1, 3, smaller, smaller))


def _without_norm_and_relu(network: StyleNetwork) -> StyleNetwork:
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.GroupNorm | nn.InstanceNorm2d | nn.ReLU):
                setattr(module, name, nn.Identity())
    return network
