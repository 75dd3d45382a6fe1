"""A recipe small enough to run end to end in seconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def tiny_recipe(tiny_city, recipe_on) -> dict[str, Any]:
    """The keys of a recipe on the tiny city: every modality and view, a few epochs, two folds."""
    return recipe_on(tiny_city)


@pytest.fixture(scope="session")
def recipe_on() -> Callable[..., dict[str, Any]]:
    """The keys of such a recipe on any city."""
    return _recipe_on


def _recipe_on(city) -> dict[str, Any]:
    vit = {"name": "vit", "patch_size": 16, "hidden_size": 16, "layers": 1, "heads": 2}
    return {
        "name": "tiny",
        "city": {"prepared": str(city.path)},
        "modalities": {
            "rsi": {**vit, "augment": "overhead"},
            "svi": {**vit, "augment": "street"},
            "text": {"name": "text", "hidden_size": 16, "layers": 1, "heads": 2, "vocabulary": 300},
            "location": {"name": "geoclip", "features": 8, "hidden": 16, "layers": 1, "width": 16},
        },
        "views": {"poi": {"name": "poi"}, "mobility": {"name": "mobility"}, "distance": {"name": "distance"}},
        "method": {
            "name": "urbanmmcl",
            "dim": 16,
            "graph_encoder": {"name": "vgae", "latent": 8},
            "subgraph_encoder": {"name": "gcn", "hidden": [16], "out": 8},
        },
        "tasks": {"co": {}, "pm25": {}, "population_density": {"transform": "log"}, "land_use": {}},
        "pretrain": {"epochs": 3, "batch_size": 32, "patience": 2},
        "finetune": {"epochs": 3, "patience": 2, "update": ["projections", "graph_encoder"]},
        "evaluation": {"seeds": [0], "min_class_size": 1},
        "report": {"figures": False},
    }
