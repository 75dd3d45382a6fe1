"""Every recipe that urbankit ships is valid, on the components that it has."""

from __future__ import annotations

import pytest

from urbankit import Recipe
from urbankit.recipe.find import shipped

# Those of baselines/ name methods of a package of its own, and are tested with it; those of transfer/ may need a run.
OWN = [name for name in shipped() if not name.startswith(("baselines/", "transfer/"))]


@pytest.mark.parametrize("name", OWN)
def test_is_valid(name: str) -> None:
    recipe = Recipe.load(name)
    assert recipe.name == name.split("/")[-1]
    assert recipe.description, "says what it is for"
