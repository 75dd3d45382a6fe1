"""The baselines pass the checks of `urbankit.testing`."""

from __future__ import annotations

from typing import Any

import pytest

from urbankit import Recipe, Use, testing
from urbankit.testing.methods import MODALITIES

# Small versions of the encoders in the recipes.
SMALL = {use["name"]: use for use in MODALITIES.values()}


@pytest.mark.parametrize("name", ["vit", "pg-simclr", "urbanvlp", "mvure", "hrep", "remvc"])
def test_method_conforms_with_the_modalities_and_views_of_its_recipe(name: str) -> None:
    recipe = Recipe.load(f"baselines/{name}")
    modalities = {key: SMALL.get(use.name, use_to_dict(use)) for key, use in recipe.modalities.items()}
    views = {key: use_to_dict(use) for key, use in recipe.views.items()}
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
def test_view_conforms(name: str, params: dict[str, Any]) -> None:
    testing.check_view(name, **params)


def test_head_conforms() -> None:
    testing.check_head("hrep_prompt")


def use_to_dict(use: Use) -> dict[str, Any]:
    return {"name": use.name, **use.params}
