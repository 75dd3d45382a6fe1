"""Runs to draw figures of: a city in memory of any size, with awkward names, and the folder of a run on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import scipy.sparse
from shapely.geometry import box

from urbankit.city.city import Target
from urbankit.city.report import PrepareReport
from urbankit.evaluation.splits import make_split
from urbankit.evaluation.tasks import TaskData, load_task
from urbankit.recipe import Recipe
from urbankit.runs.context import RunContext
from urbankit.runs.folder import Run
from urbankit.runs.writers import write_embeddings, write_history, write_metrics, write_predictions, write_walks
from urbankit.utils.files import write_json, write_text

AWKWARD = ["<script>alert(1)</script>", "a $b$ \\frac{1}", "_hidden", "工业区", "سوق", "x" * 90, "two\nlines"]
"""Names that data may bring: markup, mathematics, what matplotlib hides, other scripts, no end, a line break."""


def make_city(n: int, classes: Sequence[str] = ("park", "housing"), points: bool = False) -> SimpleNamespace:
    """`n` square kilometres in rows (or their centres alone), with counts, flows, and two targets with gaps."""
    rng = np.random.default_rng(0)
    side = int(np.ceil(np.sqrt(n)))
    column, row = np.arange(n) % side, np.arange(n) // side
    shapes = gpd.GeoSeries([box(x, y, x + 1000, y + 1000) for x, y in zip(column * 1e3, row * 1e3, strict=True)])
    centres = shapes.centroid
    frame = gpd.GeoDataFrame(
        {"region_id": [f"r{i}" for i in range(n)]}, geometry=centres if points else shapes, crs="EPSG:32618"
    )
    density = 100.0 * column + 10 + rng.normal(size=n)
    density[:: max(2, n // 10)] = np.nan
    use = np.array([classes[i % len(classes)] for i in range(n)], dtype=object)
    use[1 :: max(3, n // 7)] = None
    targets = {
        "density": Target("density", "regression", density, "people/km²"),
        "use": Target("use", "classification", use, ""),
        "constant": Target("constant", "regression", np.full(n, 3.0), "m"),
    }
    counts = scipy.sparse.csr_array(rng.poisson(2.0, (n, 5)).astype(float))
    flows = scipy.sparse.random_array((n, n), density=min(0.3, 5 / n), rng=rng).tocsr()
    return SimpleNamespace(
        name="small", crs="EPSG:32618", n_regions=n, regions=frame, region_ids=frame["region_id"].tolist(),
        xy=np.column_stack([centres.x, centres.y]), image_sources=[], caption_sources=[], tables=[],
        poi_counts=lambda: (counts, list("abcde")), flows=lambda: flows, target_names=list(targets),
        target=targets.__getitem__, report=PrepareReport("small", n, []),
    )  # fmt: skip


def write_run(
    folder: Path, city: Any, tasks: Mapping[str, str], report: Mapping[str, Any] | None = None, blocks: bool = True
) -> tuple[Run, list[TaskData]]:
    """A run on the city: `tasks` by name with their transform; predictions are the truth and noise."""
    rng = np.random.default_rng(1)
    recipe = Recipe.load(
        {
            "name": "small",
            "city": {"demo": {"regions": 64}},
            "modalities": {"location": {"name": "geoclip"}},
            "views": {"distance": {"name": "distance"}, "poi": {"name": "poi"}},
            "method": {"name": "urbanmmcl", "alignments": []},
            "tasks": {name: {"transform": transform} for name, transform in tasks.items()},
            "report": dict(report or {}),
        }
    )
    write_text(folder / "recipe.yaml", recipe.to_yaml())
    parts = [{"name": name, "width": 4} for name in ("location", "distance", "poi")]
    write_json(folder / "manifest.json", {"status": "done", "blocks": parts if blocks else []})
    x, y = (city.xy / 1000).T
    vectors = np.column_stack([x, y, rng.normal(size=(city.n_regions, 10))])
    write_embeddings(folder, city, vectors)
    _write_walk(folder, city)
    found = [load_task(city, name, name, transform=transform, min_class_size=1) for name, transform in tasks.items()]
    records, tables = [], [pd.DataFrame()]
    for task in found:
        for protocol in ("random", "spatial"):
            for seed in range(2):
                test = make_split(protocol, city.xy, seed).of(task.labelled).test
                predicted = task.y[test] if task.classes else task.y[test] + rng.normal(size=len(test))
                for model in ("urbanmmcl", "floor:mean"):
                    records += task.records(model, protocol, seed, test, predicted)
                tables.append(task.predictions("urbanmmcl", protocol, seed, {"test": test}, predicted))
    predictions = pd.concat(tables, ignore_index=True)
    write_metrics(folder, records)
    write_predictions(folder, city, predictions, predictions.assign(model="floor:mean") if len(predictions) else None)
    stages = ["pretrain", *(f"finetune {protocol} 0" for protocol in ("random", "spatial"))]
    write_history(
        folder,
        [
            {"stage": stage, "epoch": epoch, "part": part, "name": "total", "value": 1 / (1 + epoch)}
            for stage in stages
            for part in ("train", "validation")
            for epoch in range(3)
        ],
    )
    return Run.open(folder), found


def run_context(folder: Path, city: Any, tasks: Mapping[str, str], **settings: Any) -> RunContext:
    """What figures are drawn of."""
    run, found = write_run(folder, city, tasks, **settings)
    return RunContext(run, city, city.regions, found)


def _write_walk(folder: Path, city: Any) -> None:
    ids = city.region_ids[: min(4, city.n_regions)]
    nodes = pd.DataFrame({"region_id": ids, "visits": range(1, len(ids) + 1)})
    edges = pd.DataFrame({"region_id": ids[:-1], "target": ids[1:], "weight": 0.5})
    table = pd.concat([nodes, edges], ignore_index=True).assign(view="distance", root=ids[0])
    write_walks(folder, table)
