"""Each bundled style has the recipe that it came from, to the last option."""

import importlib
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import get_type_hints

import pytest

from limner.gallery import bundled, card
from limner.gallery.bundled import Tier
from limner.training import trainer

RECIPES = Path(__file__).parent.parent / "recipes"


@pytest.mark.parametrize(("name", "tier"), [(name, tier) for name in bundled.names() for tier in bundled.tiers(name) if tier != "int8"])
def test_a_bundled_style_was_trained_by_its_recipe(name: str, tier: Tier) -> None:
    path = bundled.find(name, tier)
    table = tomllib.loads((RECIPES / f"{path.stem}.toml").read_text(encoding="utf-8"))
    found, config_of = card.read(path), importlib.import_module(f"limner.methods.{table['method'].replace('-', '_')}").Config
    hints = get_type_hints(config_of)
    options = [f.name for f in fields(config_of) if hints[f.name] not in (Path, Path | None) and f.name != "start"]
    # A later default must not change an old recipe; None, which a recipe cannot say, follows from its other options.
    assert [f.name for f in fields(config_of) if f.name in options and f.name not in table and f.default is not None] == []
    given = {f.name: table[f.name] for f in fields(config_of) if f.name in table}
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    config = config_of(**{name: values[name] if name in options else Path(values[name]) for name in values})
    assert found.recipe_sha256 == trainer.recipe_sha256(found.method, config, table["seed"])
    assert found.steps <= table["steps"]
    for key in ("name", "title", "description", "licence", "authors", "recipe", "trained_on"):
        assert getattr(found, key) == table[key], key
