"""Each bundled style has the recipe that it came from, to the last option."""

import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from limner import card, gallery, training
from limner.gallery import Tier
from limner.methods import fast_style, live

RECIPES = Path(__file__).parent.parent / "recipes"


@pytest.mark.parametrize("name", gallery.names())
@pytest.mark.parametrize(("tier", "config_of"), [("standard", fast_style.Config), ("live", live.Config)])
def test_a_bundled_style_was_trained_by_its_recipe(name: str, tier: Tier, config_of: Any) -> None:
    path = gallery.find(name, tier)
    table = tomllib.loads((RECIPES / f"{path.stem}.toml").read_text(encoding="utf-8"))
    found = card.read(path)
    values = {f.name: table[f.name] for f in fields(config_of)}  # every option is named: a later default must not change an old recipe
    paths = {key: Path(values[key]) for key in ("style_image", "photos", "vgg") if key in values}
    config = config_of(**{**values, **paths, "style_layers": tuple(values["style_layers"])})
    assert found.recipe_sha256 == training.recipe_sha256(table["method"], config, table["seed"])
    assert found.steps == table["steps"]
    for key in ("name", "title", "description", "licence", "authors", "recipe", "trained_on"):
        assert getattr(found, key) == table[key], key
