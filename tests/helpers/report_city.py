"""A small city with awkward names, and the folder of a run on it, written by the run folder's own writers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from shapely.geometry import box

from urbankit.city.city import Target
from urbankit.city.report import PrepareReport, SourceReport
from urbankit.evaluation.splits import make_split
from urbankit.evaluation.tasks import load_task
from urbankit.recipe import Recipe
from urbankit.runs.folder import Run
from urbankit.runs.writers import write_embeddings, write_history, write_metrics, write_predictions
from urbankit.utils.files import write_json, write_text

EVIL = "<script>alert(1)</script>"


def make_city(side: int = 8) -> SimpleNamespace:
    """side² square kilometres with a density that is missing in places, and a land use with markup in a name."""
    n = side * side
    column, row = np.divmod(np.arange(n), side)
    cells = [box(x, y, x + 1000, y + 1000) for x, y in zip(column * 1000.0, row * 1000.0, strict=True)]
    regions = gpd.GeoDataFrame({"region_id": [f"r{i}" for i in range(n)]}, geometry=cells, crs="EPSG:32618")
    density = 100.0 * column + 10
    density[0] = np.nan
    use = np.where(row % 2 == 0, EVIL, "park").astype(object)
    targets = {
        "density": Target("density", "regression", density, "people/km²"),
        "use": Target("use", "classification", use, ""),
    }
    report = PrepareReport("small & odd", n, [SourceReport("flows", 10, 8, {f"unknown ids {EVIL}": 2})])
    report.sources[0].covers = ("view", "flows", n // 2)
    report.sources[0].note(f"constant run {EVIL}")
    return SimpleNamespace(
        name=f"small & odd {EVIL}",
        crs="EPSG:32618",
        n_regions=n,
        regions=regions,
        region_ids=regions["region_id"].tolist(),
        area_km2=np.ones(n),
        xy=np.column_stack([regions.centroid.x, regions.centroid.y]),
        target=targets.__getitem__,
        report=report,
    )


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., tuple[Run, SimpleNamespace]]:
    """`make_run(side, tasks)`: a run of the method `urbanmmcl` and the floor `mean`, and its city."""

    def make(side: int = 8, tasks: tuple[str, ...] = ("density", "use")) -> tuple[Run, SimpleNamespace]:
        city = make_city(side)
        recipe = Recipe.load(
            {
                "name": "small",
                "description": f"what for {EVIL}",
                "city": {"demo": {"regions": 64}},
                "modalities": {"location": {"name": "geoclip"}},
                "views": {"distance": {"name": "distance"}},
                "method": {"name": "urbanmmcl", "alignments": []},
                "tasks": {name: {"transform": "log"} for name in tasks},
            }
        )
        folder = tmp_path / "run"
        write_text(folder / "recipe.yaml", recipe.to_yaml())
        write_json(folder / "manifest.json", {"status": "done", "seconds": {"city": 1.5}, "notes": [EVIL]})
        rng = np.random.default_rng(0)
        write_embeddings(folder, city, rng.normal(size=(city.n_regions, 5)))
        losses = [("pretrain", "total"), ("pretrain", "rsi-text")] if side > 2 else []
        if tasks:
            losses += [(f"finetune {protocol} 0", "total") for protocol in ("random", "spatial")]
        history = [
            {"stage": stage, "epoch": epoch, "part": part, "name": name, "value": 1 / (1 + epoch)}
            for stage, name in losses
            for part in ("train", "validation")
            for epoch in range(5)
        ]
        write_history(folder, history)
        records, tables = [], [pd.DataFrame()]
        for name in tasks:
            task = load_task(city, name, name, transform="log")
            for protocol in ("random", "spatial"):
                for seed in range(3):
                    test = make_split(protocol, city.xy, seed).of(task.labelled).test
                    for model in ("urbanmmcl", "floor:mean"):
                        records += task.records(model, protocol, seed, test, task.y[test])
                    tables.append(task.predictions("urbanmmcl", protocol, seed, {"test": test}, task.y[test]))
        write_metrics(folder, records)
        write_predictions(folder, city, pd.concat(tables, ignore_index=True), pd.DataFrame())
        return Run.open(folder), city

    return make
