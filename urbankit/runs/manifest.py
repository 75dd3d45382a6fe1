"""What a run writes down about itself: versions, seeds, hashes, where it ran and how long each stage took."""

from __future__ import annotations

import os
import platform
from datetime import datetime, timezone
from importlib import metadata
from typing import Any

from urbankit import registry
from urbankit.recipe.recipe import Recipe
from urbankit.utils.files import hash_json

LIBRARIES = (
    "torch", "dgl", "transformers", "numpy", "scipy", "scikit-learn", "pandas", "polars", "pyarrow", "geopandas",
    "rasterio", "exactextract",
)  # fmt: skip


def new_manifest(recipe: Recipe) -> dict[str, Any]:
    """The manifest of a run of `recipe` that begins now."""
    return {
        "status": "running",
        "recipe": recipe.name,
        "recipe_hash": recipe_hash(recipe),
        "seed": recipe.seed,
        "seeds": recipe.evaluation.seeds,
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": versions(),
        "plugins": {entry.distribution: entry.version for entry in registry.entries()},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "seconds": {},
        "training": {},
        "notes": [],
    }


def recipe_hash(recipe: Recipe) -> str:
    """The hash by which a run knows the recipe it began with."""
    return hash_json(recipe.model_dump(mode="json"))


def versions() -> dict[str, str | None]:
    """Versions of urbankit and of the libraries that bear on its numbers; None for one that is not installed."""
    return {name: _version(name) for name in ("urbankit", *LIBRARIES)}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
