"""Each bundled style has the recipe that it came from, to the last option."""

import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from limner import card, gallery, training
from limner.methods.fast_style import Config

RECIPES = Path(__file__).parent.parent / "recipes"


@pytest.mark.parametrize("name", gallery.names())
def test_a_bundled_style_was_trained_by_its_recipe(name: str) -> None:
    table = tomllib.loads((RECIPES / f"{name}.toml").read_text(encoding="utf-8"))
    found = card.read(gallery.find(name))
    values = {f.name: table[f.name] for f in fields(Config)}  # every option is named: a later default must not change an old recipe
    paths = {key: Path(values[key]) for key in ("style_image", "photos", "vgg")}
    config = Config(**{**values, **paths, "style_layers": tuple(values["style_layers"])})
    assert found.recipe_sha256 == training.recipe_sha256(table["method"], config, table["seed"])
    assert found.steps == table["steps"]
    for key in ("name", "title", "description", "licence", "authors", "recipe", "trained_on"):
        assert getattr(found, key) == table[key], key
