"""Runs between two small cities."""

from pathlib import Path
from typing import Any

from urbankit.city.city import City
from urbankit.pipeline.run import run
from urbankit.recipe.recipe import Recipe
from urbankit.runs.folder import Run
from urbankit.utils.progress import Progress

Keys = dict[str, Any]


def completed(keys: Keys, out: Path, **arguments) -> Run:
    return run(Recipe.load(keys), out, progress=Progress(quiet=True), **arguments)


def keys_on(city: City, recipe_on, **more) -> Keys:
    """A recipe with every kind of head and features with names, of which only heads are trained on labels."""
    keys = recipe_on(city)
    keys["modalities"] |= {"poi_counts": {"name": "poi_counts"}, "rsi_stats": {"name": "image_stats", "source": "rsi"}}
    keys["tasks"] = {
        "co": {"head": {"name": "gp"}},
        "population_density": {"transform": "log"},
        "land_use": {"head": {"name": "forest"}},
    }
    keys["finetune"]["update"] = []
    keys["evaluation"] |= {"floors": ["mean"]}
    return keys | more
