"""Every recipe that urbankit ships is valid, on the components that it has."""

from __future__ import annotations

import pytest

from urbankit import Recipe
from urbankit.recipe.find import shipped

pytestmark = pytest.mark.usefixtures("fresh_registry")

# Those of baselines/ and plugins/ name components of packages of their own, and are tested with these; those of
# transfer/ may need a run.
OWN = [name for name in shipped() if not name.startswith(("baselines/", "plugins/", "transfer/"))]


@pytest.mark.parametrize("name", OWN)
def test_is_valid(name: str) -> None:
    recipe = Recipe.load(name)
    assert recipe.name == name.split("/")[-1]
    assert recipe.description, "says what it is for"
