"""The data of a page's interactive map, which its script reads."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd

from urbankit.analysis.neighbours import CANDIDATES, MOST_COMPARED, nearest_in_groups
from urbankit.analysis.traits import Feature, city_features
from urbankit.city.city import City
from urbankit.evaluation.parts import part_predictions, part_tasks
from urbankit.report.page.base_map import base_map_data
from urbankit.report.page.geometry import outlines
from urbankit.report.page.layers import (
    NO_CLASS,
    Layer,
    MapTask,
    all_prediction_layers,
    cluster_layers,
    coverage_layers,
    divergence_layers,
    map_tasks,
    task_layers,
)
from urbankit.report.page.missing import Missing
from urbankit.report.page.packing import pack_counts, pack_floats
from urbankit.runs.context import RunContext

NEAREST = 8


def map_data(
    regions: gpd.GeoDataFrame, runs: list[dict[str, Any]], base: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The data that the script reads: ids, areas and outlines of the regions, the layers of each run, the base map."""
    ids = [str(name) for name in regions["region_id"]]
    names = [_text(name) for name in regions["name"]] if "name" in regions else None
    area = regions["area_km2"] if "area_km2" in regions else regions.geometry.area / 1e6
    return {
        "none": NO_CLASS,
        "regions": {"ids": ids, "names": names, "area": pack_floats(area)},
        "outlines": outlines(regions),
        "runs": runs,
        **({"base": base} if base else {}),
    }


def base_of(contexts: Iterable[RunContext], regions: gpd.GeoDataFrame, missing: Missing) -> dict[str, Any] | None:
    """The first base map that the city of a run has, for a map of `regions`; None without one."""
    failed = Missing()
    for city in (context.city for context in contexts):
        if city is None:
            continue
        base = failed.attempt("No base map", partial(_base, city, regions), None)
        if base is not None:
            return base
    missing.add(*failed.sentences)
    return None


def _base(city: City, regions: gpd.GeoDataFrame) -> dict[str, Any] | None:
    return base_map_data(city.base_map(), regions)


def run_data(context: RunContext, name: str, missing: Missing) -> dict[str, Any]:
    """The layers of a run, and the nearest regions of every region in embedding space."""
    assert context.regions is not None  # without regions there is no map
    ids = context.regions["region_id"].to_numpy()
    layers = _task_layers(context, ids, missing)
    vectors = missing.attempt("No embeddings", lambda: _vectors(context, ids), None)
    near = None
    if vectors is not None:
        features: list[Feature] = missing.attempt("No descriptions of clusters", lambda: _features(context), [])
        layers += missing.attempt("No clusters", lambda: list(cluster_layers(vectors, features)), [])
        near = missing.attempt("No nearest regions", lambda: _nearest(vectors), None)
        if len(vectors) > MOST_COMPARED:
            missing.add(
                f"The nearest regions are approximate: of {len(vectors):,} regions each was compared with the "
                f"{CANDIDATES:,} in the groups most similar to its own."
            )
    city = context.city
    if city is not None:
        layers += missing.attempt("No coverage", lambda: list(coverage_layers(city)), [])
    return {"name": name, "layers": layers, "nearest": near}


def _task_layers(context: RunContext, ids: np.ndarray, missing: Missing) -> list[Layer]:
    run = context.run
    predictions, parts = None, part_tasks(context.tasks)
    if run.has("predictions.parquet"):
        predictions = missing.attempt("No predictions", lambda: part_predictions(run.predictions), None)
    tasks: list[MapTask] = missing.attempt("No targets", lambda: map_tasks(parts, predictions, ids), [])
    layers: list[Layer] = []
    everywhere = None
    if run.has("predictions_all.parquet"):
        everywhere = missing.attempt("No predictions of every region", lambda: run.predictions_all, None)
    for task in tasks:
        layers += missing.attempt(f"No map of {task.name}", partial(_layers_of, task, predictions, everywhere, ids), [])
    if predictions is not None:
        for of_parts in (task for task in context.tasks if task.parts):
            divergences = partial(divergence_layers, of_parts, run.predictions, ids)
            layers += missing.attempt(f"No map of {of_parts.name}", divergences, [])
    if not tasks:
        missing.add("There are no targets to show: the run has no tasks, or ended before it predicted them.")
    return layers


def _layers_of(
    task: MapTask, predictions: pd.DataFrame | None, everywhere: pd.DataFrame | None, ids: np.ndarray
) -> list[Layer]:
    layers = list(task_layers(task, predictions, ids))
    return layers if everywhere is None else [*layers, *all_prediction_layers(task, everywhere, ids)]


def _vectors(context: RunContext, ids: np.ndarray) -> np.ndarray:
    """The embeddings in the order of the map's regions."""
    vectors, ids_of_run = context.run.vectors, context.run.embeddings["region_id"].to_numpy()
    if len(ids_of_run) == len(ids) and (ids_of_run == ids).all():
        return vectors
    row_of = {region: row for row, region in enumerate(ids_of_run)}
    return vectors[[row_of[region] for region in ids]]


def _features(context: RunContext) -> list[Feature]:
    return [] if context.city is None else city_features(context.city)


def _nearest(vectors: np.ndarray) -> dict[str, Any]:
    regions, similarity = nearest_in_groups(vectors, min(NEAREST, len(vectors) - 1))
    return {
        "number": regions.shape[1],
        "region": pack_counts(regions.ravel()),
        "similarity": pack_floats(similarity.ravel()),
    }


def _text(name: Any) -> str:
    return "" if pd.isna(name) else str(name)
