"""The baselines are held to the checks that urbankit has for every component."""

from __future__ import annotations

from typing import Any

import pytest

from urbankit import Recipe, Use, testing
from urbankit.testing.methods import MODALITIES

# The encoders that a baseline's recipe names, in the sizes of a test.
SMALL = {use["name"]: use for use in MODALITIES.values()}


@pytest.mark.parametrize("name", ["vit", "pg-simclr", "urbanvlp", "mvure", "hrep", "remvc"])
def test_a_method_conforms_on_the_modalities_and_views_of_its_recipe(name: str) -> None:
    recipe = Recipe.load(f"baselines/{name}")
    modalities = {key: SMALL.get(use.name, written(use)) for key, use in recipe.modalities.items()}
    views = {key: written(use) for key, use in recipe.views.items()}
    testing.check_method(name, modalities=modalities, views=views, **recipe.method.params)


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("flows", {}),
        ("flow_similarity", {"direction": "in"}),
        ("flow_similarity", {"direction": "out", "top_k": 3}),
        ("neighbours", {}),
        ("neighbours", {"gap_m": 50}),
    ],
)
def test_a_view_conforms(name: str, params: dict[str, Any]) -> None:
    testing.check_view(name, **params)


def test_the_head_conforms() -> None:
    testing.check_head("hrep_prompt")


def written(use: Use) -> dict[str, Any]:
    return {"name": use.name, **use.params}
