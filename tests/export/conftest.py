"""The fixture of runs to export."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import geopandas as gpd
import numpy as np
import pytest
from helpers.small_run import predicted, squares

from urbankit.api import Run
from urbankit.recipe import Recipe
from urbankit.runs.writers import write_embeddings, write_metrics
from urbankit.utils.files import write_json, write_text


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Run]:
    """`make_run(regions, dim, tasks, status)`: the folder of a run, written by the run folder's own writers."""

    def make(
        regions: gpd.GeoDataFrame | None = None,
        dim: int = 5,
        tasks: Sequence[str] = ("density", "use"),
        status: str = "done",
        name: str = "run",
    ) -> Run:
        regions = squares() if regions is None else regions
        folder = tmp_path / name
        recipe = Recipe.load(
            {
                "name": "small",
                "city": {"demo": {"regions": 64}},
                "modalities": {"location": {"name": "geoclip"}},
                "views": {"distance": {"name": "distance"}},
                "method": {"name": "urbanmmcl", "alignments": []},
                "tasks": {task: {} for task in tasks},
            }
        )
        write_text(folder / "recipe.yaml", recipe.to_yaml())
        manifest = {"status": status, "recipe": "small", "city": "small & odd", "versions": {"urbankit": "0.1.0"}}
        write_json(folder / "manifest.json", manifest)
        vectors = np.random.default_rng(0).normal(size=(len(regions), dim)).astype(np.float32)
        write_embeddings(folder, SimpleNamespace(regions=regions), vectors)
        if tasks:
            predicted(regions["region_id"].tolist(), tasks=tasks).to_parquet(folder / "predictions.parquet")
        write_metrics(folder, [])
        return Run.open(folder)

    return make
