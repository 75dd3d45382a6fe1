"""urbankit: region embeddings from imagery, text, points of interest and region graphs.

>>> import urbankit
>>> city = urbankit.City.prepare("my-city.yaml")
>>> recipe = urbankit.Recipe.load("my-recipe.yaml", sets=[f"city.prepared={city.path}"])
>>> run = urbankit.run(recipe, out="runs/mine")
>>> run.embeddings.plot()

The names below are imported when they are first used, so that `import urbankit` is fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from urbankit.utils.version import __version__

if TYPE_CHECKING:
    from urbankit.api import City, Run, run
    from urbankit.pipeline.model import Model
    from urbankit.pipeline.sklearn_transformer import UrbanEmbedding
    from urbankit.recipe import Recipe
    from urbankit.registry.component import Component, Params, Use, uses
    from urbankit.registry.hookspecs import hookimpl
    from urbankit.utils.errors import RunError, UserError


_WHERE = {
    "City": "urbankit.api",
    "Component": "urbankit.registry.component",
    "Model": "urbankit.pipeline.model",
    "Params": "urbankit.registry.component",
    "Recipe": "urbankit.recipe",
    "Run": "urbankit.api",
    "RunError": "urbankit.utils.errors",
    "UrbanEmbedding": "urbankit.pipeline.sklearn_transformer",
    "Use": "urbankit.registry.component",
    "UserError": "urbankit.utils.errors",
    "hookimpl": "urbankit.registry.hookspecs",
    "run": "urbankit.api",
    "uses": "urbankit.registry.component",
}

__all__ = [
    "City",
    "Component",
    "Model",
    "Params",
    "Recipe",
    "Run",
    "RunError",
    "UrbanEmbedding",
    "Use",
    "UserError",
    "__version__",
    "hookimpl",
    "run",
    "uses",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'urbankit' has no attribute '{name}'")
    value = getattr(importlib.import_module(_WHERE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
