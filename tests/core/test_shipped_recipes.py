"""Every recipe that urbankit ships is valid, on the components that it has."""

from __future__ import annotations

import pytest

from urbankit import Recipe
from urbankit.recipe.find import shipped


@pytest.mark.parametrize("name", shipped())
def test_is_valid(name: str) -> None:
    recipe = Recipe.load(name)
    assert recipe.name == name.split("/")[-1]
    assert recipe.description, "says what it is for"
