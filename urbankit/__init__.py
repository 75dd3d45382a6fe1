"""urbankit: region embeddings from imagery, text, points of interest and region graphs.

>>> import urbankit
>>> city = urbankit.City.prepare("city.yaml")
>>> recipe = urbankit.Recipe.load("urbanmmcl", sets=[f"city.prepared={city.path}"])
>>> run = urbankit.run(recipe, out="runs/mine")
>>> run.embeddings.plot()

The names below are imported when they are first used, so that `import urbankit` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from urbankit.city.city import City
    from urbankit.component import Component, Params, Use, uses
    from urbankit.errors import RunError, UserError
    from urbankit.hookspecs import hookimpl
    from urbankit.pipeline import run
    from urbankit.recipe import Recipe
    from urbankit.runfolder import Run
    from urbankit.urban_embedding import UrbanEmbedding

__version__ = "0.1.0"

_WHERE = {
    "City": "urbankit.city.city",
    "Component": "urbankit.component",
    "Params": "urbankit.component",
    "Recipe": "urbankit.recipe",
    "Run": "urbankit.runfolder",
    "RunError": "urbankit.errors",
    "UrbanEmbedding": "urbankit.urban_embedding",
    "Use": "urbankit.component",
    "UserError": "urbankit.errors",
    "hookimpl": "urbankit.hookspecs",
    "run": "urbankit.pipeline",
    "uses": "urbankit.component",
}

__all__ = [
    "City",
    "Component",
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
