"""A city in memory with awkward names, and the folder of a run on it, written by the run folder's own writers."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from shapely.geometry import box

from urbankit.city.report import PrepareReport, SourceReport
from urbankit.city.target import Target
from urbankit.evaluation.splits import make_split
from urbankit.evaluation.tasks import TaskData, load_task
from urbankit.recipe import Recipe
from urbankit.runs.context import RunContext
from urbankit.runs.folder import Run
from urbankit.runs.writers import write_embeddings, write_history, write_metrics, write_predictions, write_walks
from urbankit.utils.files import write_json, write_text

EVIL = "<script>alert(1)</script>"
AWKWARD = [EVIL, "a $b$ \\frac{1}", "_hidden", "工业区", "سوق", "x" * 90, "two\nlines"]
"""Names that data may bring: markup, mathematics, what matplotlib hides, other scripts, a long one, a line break."""


def make_city(
    n: int, classes: Sequence[str] = ("park", "housing"), points: bool = False, gaps: bool = True
) -> SimpleNamespace:
    """`n` square kilometres in columns (or their centres), with counts, flows and targets that may have gaps."""
    rng = np.random.default_rng(0)
    column, row = np.divmod(np.arange(n), int(np.ceil(np.sqrt(n))))
    shapes = gpd.GeoSeries([box(x, y, x + 1000, y + 1000) for x, y in zip(column * 1e3, row * 1e3, strict=True)])
    centres = shapes.centroid
    ids = [f"r{i}" for i in range(n)]
    density = 100.0 * column + 10
    density[0] = np.nan
    use = np.array([classes[i % len(classes)] for i in range(n)], dtype=object)
    if gaps:
        density += rng.normal(size=n)
        density[:: max(2, n // 10)] = np.nan
        use[1 :: max(3, n // 7)] = None
    targets = {
        "density": Target("density", "regression", density, "people/km²"),
        "use": Target("use", "classification", use, ""),
        "constant": Target("constant", "regression", np.full(n, 3.0), "m"),
    }
    counts = scipy.sparse.csr_array(rng.poisson(2.0, (n, 5)).astype(float))
    flows = scipy.sparse.random_array((n, n), density=min(0.3, 5 / n), rng=rng).tocsr()
    report = PrepareReport("small & odd", n, [SourceReport("flows", 10, 8, {f"unknown ids {EVIL}": 2})])
    report.sources[0].covers = ("view", "flows", n // 2)
    report.sources[0].note(f"constant run {EVIL}")
    city = SimpleNamespace(
        name=f"small & odd {EVIL}", manifest={"spec": {}},
        crs="EPSG:32618", n_regions=n, region_ids=ids, area_km2=np.ones(n),
        regions=gpd.GeoDataFrame({"region_id": ids}, geometry=centres if points else shapes, crs="EPSG:32618"),
        has_geometry=True,
        xy=np.column_stack([centres.x, centres.y]), image_sources=[], overhead_sources=[], caption_sources=[],
        tables=[],
        poi_counts=lambda: (counts, list("abcde")), flows=lambda: flows, base_map=lambda: None,
        target_names=list(targets),
        target=targets.__getitem__, report=report,
    )  # fmt: skip
    city.members = {city.name: city}
    return city


def write_run(
    folder: Path,
    city: Any,
    tasks: Mapping[str, str],
    report: Mapping[str, Any] | None = None,
    blocks: bool = True,
    seeds: int = 2,
    noise: float = 1.0,
) -> tuple[Run, list[TaskData]]:
    """A run and its tasks: `tasks` gives each its transform; predictions are the truth with noise."""
    rng = np.random.default_rng(1)
    recipe = Recipe.load(
        {
            "name": "small",
            "description": f"what for {EVIL}",
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
    manifest = {"status": "done", "seconds": {"city": 1.5}, "notes": [EVIL], "blocks": parts if blocks else []}
    write_json(folder / "manifest.json", manifest)
    x, y = (city.xy / 1000).T
    write_embeddings(folder, city, np.column_stack([x, y, rng.normal(size=(city.n_regions, 10))]))
    _write_walk(folder, city)
    loaded = [load_task(city, name, name, transform=transform, min_class_size=1) for name, transform in tasks.items()]
    records, tables = [], [pd.DataFrame()]
    for task in loaded:
        for protocol in ("random", "spatial"):
            for seed in range(seeds):
                test = make_split(protocol, city.xy, seed).of(task.labelled).test
                predicted = task.y[test] if task.classes else task.y[test] + noise * rng.normal(size=len(test))
                for model in ("urbanmmcl", "floor:mean"):
                    records += task.records(model, protocol, seed, test, predicted)
                tables.append(task.predictions("urbanmmcl", protocol, seed, {"test": test}, predicted))
    predictions = pd.concat(tables, ignore_index=True)
    write_metrics(folder, records)
    write_predictions(folder, city, predictions, predictions.assign(model="floor:mean") if len(predictions) else None)
    losses = [("pretrain", "total"), ("pretrain", "rsi-text")] if city.n_regions > 4 else []
    losses += [(f"finetune {protocol} 0", "total") for protocol in ("random", "spatial") if tasks]
    history = [
        {"stage": stage, "epoch": epoch, "part": part, "name": name, "value": 1 / (1 + epoch)}
        for stage, name in losses
        for part in ("train", "validation")
        for epoch in range(5)
    ]
    write_history(folder, history)
    return Run.open(folder), loaded


def run_context(folder: Path, city: Any, tasks: Mapping[str, str], **settings: Any) -> RunContext:
    """What figures are drawn of."""
    run, loaded = write_run(folder, city, tasks, **settings)
    return RunContext(run, city, city.regions, loaded)


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., tuple[Run, SimpleNamespace]]:
    """`make_run(side, tasks)`: a run whose predictions are exact, and its city of `side`² regions."""

    def make(side: int = 8, tasks: tuple[str, ...] = ("density", "use")) -> tuple[Run, SimpleNamespace]:
        city = make_city(side * side, (EVIL, "park"), gaps=False)
        transforms = dict.fromkeys(tasks, "log")
        return write_run(tmp_path / "run", city, transforms, blocks=False, seeds=3, noise=0)[0], city

    return make


def _write_walk(folder: Path, city: Any) -> None:
    ids = city.region_ids[: min(4, city.n_regions)]
    nodes = pd.DataFrame({"region_id": ids, "visits": range(1, len(ids) + 1)})
    edges = pd.DataFrame({"region_id": ids[:-1], "target": ids[1:], "weight": 0.5})
    table = pd.concat([nodes, edges], ignore_index=True).assign(view="distance", root=ids[0])
    write_walks(folder, table)


def furnished(city: SimpleNamespace) -> SimpleNamespace:
    """The fixture's city with one image a region, two street views in every second, points and flows."""
    n = city.n_regions
    sources = {
        "rsi": image_source("rsi", np.arange(n)),
        "svi": image_source("svi", np.repeat(np.arange(0, n, 2), 2)),
    }
    counts = scipy.sparse.csr_array(np.arange(n, dtype=float)[:, None])
    vars(city).update(
        image_sources=list(sources),
        overhead_sources=[name for name in sources if name == "rsi"],
        images=sources.__getitem__,
        caption_sources=[],
        tables=[],
        poi_counts=lambda: (counts, ["shop"]),
        flows=lambda: scipy.sparse.csr_array((n, n)),
    )
    return city


def image_source(name: str, region: np.ndarray) -> SimpleNamespace:
    """Plain pictures of 16 x 24 pixels, each of the colour of its region's number; equal ones for equal regions."""

    def read(rows: np.ndarray) -> np.ndarray:
        shade = (region[rows] * 3 % 256).astype(np.uint8)
        return np.broadcast_to(shade[:, None, None, None], (len(rows), 3, 16, 24)).copy()

    return Source(
        name=name, region=region, read=read, bands=3, dtype="uint8", size=(16, 24), band_names=["red", "green", "blue"]
    )


class Source(SimpleNamespace):
    def __len__(self) -> int:
        return len(self.region)


def context_of(run: Run, city: SimpleNamespace) -> RunContext:
    return RunContext.of(run, furnished(city))
