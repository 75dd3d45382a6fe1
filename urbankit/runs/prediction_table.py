"""The predictions of a run for every region: the file that keeps them, and the table that users read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from urbankit.evaluation.carried_head import Carried
from urbankit.evaluation.cross_fit import CrossFit
from urbankit.evaluation.intervals import highest_level
from urbankit.evaluation.tasks import TaskData, largest
from urbankit.utils.files import atomic_path
from urbankit.utils.json_text import parse_json

FILE = "cross_fit.parquet"
OUT_OF_FOLD, ALL_LABELS = "out-of-fold", "all labels"
"""Where a prediction is from: heads that did not see the label of the region, or heads fitted to all labels."""

_TASK = ("name", "kind", "classes", "unit", "transform")


def write_cross_fits(path: Path, fits: Mapping[str, CrossFit], split: str) -> None:
    """Write the cross-fitted predictions, from which intervals are computed, as Parquet: a row for each region."""
    columns: dict[str, NDArray[Any]] = {}
    facts = []
    for index, fit in enumerate(fits.values()):
        if fit.parts:
            columns |= {f"{index} y {part}": of_part for part, of_part in enumerate(fit.task.y.T)}
        else:
            columns[f"{index} y"] = fit.task.y
        columns[f"{index} fold"] = fit.fold
        for k, values in enumerate([*fit.by_fold, fit.full]):
            outputs = values.reshape(len(values), -1).T
            columns |= {f"{index} {k} {output}": of_output for output, of_output in enumerate(outputs)}
        parts = {"parts": fit.parts} if fit.parts else {}
        facts.append({name: getattr(fit.task, name) for name in _TASK} | parts | {"folds": len(fit.by_fold)})
    metadata = {"urbankit": json.dumps({"tasks": facts, "split": split})}
    with atomic_path(path) as temporary:
        pq.write_table(pa.table(columns).replace_schema_metadata(metadata), temporary)


def read_cross_fits(file: BinaryIO) -> tuple[dict[str, CrossFit], str]:
    """Read what `write_cross_fits` wrote: the predictions by task, and the split protocol that calibrates them.

    Raises `ValueError` if it is another file.
    """
    table, fits = pq.read_table(file), {}
    try:
        facts = parse_json(table.schema.metadata[b"urbankit"])
        for index, of_task in enumerate(facts["tasks"]):
            n_folds, classes = of_task.pop("folds"), tuple(of_task.pop("classes"))
            parts = tuple(of_task.pop("parts", ()))
            y = _outputs(table, f"{index} y", len(parts)) if parts else table[f"{index} y"].to_numpy()
            fold = table[f"{index} fold"].to_numpy()
            values = [_outputs(table, f"{index} {k}", len(classes or parts)) for k in range(n_folds + 1)]
            labelled = np.asarray(y >= 0 if classes else ~np.isnan(y).reshape(len(y), -1).any(axis=1))
            task = TaskData(y=y, labelled=labelled, classes=classes, parts=parts, **of_task)
            fits[task.name] = CrossFit(task, fold, np.stack(values[:-1]), values[-1])
        return fits, str(facts["split"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"it lacks {error}") from None


def _outputs(table: pa.Table, prefix: str, n_classes: int) -> NDArray[np.float64]:
    """Predictions [N], or outputs [N, classes] or shares [N, parts]."""
    columns = [table[f"{prefix} {output}"].to_numpy() for output in range(n_classes or 1)]
    return np.stack(columns, axis=1) if n_classes else columns[0]


def prediction_table(
    fits: Mapping[str, CrossFit],
    regions: gpd.GeoDataFrame,
    level: float,
    *,
    tasks: Mapping[str, TaskData] | None = None,
) -> tuple[gpd.GeoDataFrame, list[str]]:
    """The predictions of every region, one row for each region.

    Columns of a regression TASK: `TASK`, `TASK_lower`, `TASK_upper` in the units of the target. The bounds are NaN if
    the labels are too few for the level. Columns of a classification: `TASK`, `TASK_probability` of this class, and
    `TASK_probability_CLASS` of each class. Those of a distribution: `TASK`, the largest part, and `TASK_share_PART` of
    each part. All have `TASK_truth`, missing without a label (a distribution also `TASK_truth_share_PART`), and
    `TASK_from`: `out-of-fold` for a region whose label the head did not see, `all labels` for one without a label.

    Args:
        fits: Cross-fitted predictions. The N regions are the last rows; other rows before them are of another city.
        regions: `region_id` and `geometry` of the N regions.
        level: The share of regions that an interval should cover.
        tasks: The labels of the N regions, if those of `fits` are of another city.

    Returns:
        The table, and notes on intervals that the labels are too few for.
    """
    n = len(regions)
    notes: list[str] = []
    columns: dict[str, NDArray[Any]] = {}
    for name, fit in fits.items():
        rows = slice(len(fit.fold) - n, None)
        truth = fit.task if tasks is None else tasks[name]
        columns |= _columns(name, fit, rows, level, notes)
        columns |= _truth(name, truth, truth.y[rows] if tasks is None else truth.y)
        columns[f"{name}_from"] = np.where(fit.labelled[rows], OUT_OF_FOLD, ALL_LABELS).astype(object)
    return _with_regions(columns, regions), notes


def carried_table(
    predicted: Mapping[str, Carried],
    regions: gpd.GeoDataFrame,
    level: float,
    *,
    labels_of: str,
    tasks: Mapping[str, TaskData],
) -> tuple[gpd.GeoDataFrame, list[str]]:
    """The predictions of every region of a city by heads that were fitted in another city, one row for each region.

    The columns are those of `prediction_table`. `TASK_truth` is there if `tasks` has the task.

    Args:
        predicted: Predictions of the N regions by task.
        regions: `region_id` and `geometry` of the N regions.
        level: The share of regions that an interval should cover.
        labels_of: The city that the heads were fitted in, for `TASK_from`.
        tasks: The labels of the N regions, of the tasks that have any.

    Returns:
        The table, and notes on intervals that the labels are too few for.
    """
    notes: list[str] = []
    columns: dict[str, NDArray[Any]] = {}
    for name, carried in predicted.items():
        columns |= _columns(name, carried, slice(None), level, notes)
        if name in tasks:
            columns |= _truth(name, tasks[name], tasks[name].y)
        columns[f"{name}_from"] = np.full(len(regions), f"labels of {labels_of}", dtype=object)
    return _with_regions(columns, regions), notes


def task_columns(task: TaskData) -> list[str]:
    """Return the columns that `prediction_table` has for a task."""
    if task.parts:
        own = [f"{side}_{part}" for side in ("share", "truth_share") for part in task.parts]
    elif task.classes:
        own = ["probability", *(f"probability_{label}" for label in task.classes)]
    else:
        own = ["lower", "upper"]
    return [task.name, *(f"{task.name}_{name}" for name in ("truth", "from", *own))]


def _with_regions(columns: Mapping[str, NDArray[Any]], regions: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    table = pd.DataFrame(columns, index=regions.index)
    joined = pd.concat([regions[["region_id"]], table, regions[["geometry"]]], axis=1)
    return joined.set_geometry("geometry", crs=regions.crs)


def _columns(
    name: str, fit: CrossFit | Carried, rows: slice, level: float, notes: list[str]
) -> dict[str, NDArray[Any]]:
    """The columns of one task without its truth; adds a note if its labels are too few for the level."""
    prediction = fit.prediction[rows]
    if fit.classes:
        probabilities = fit.probabilities()[rows]
        return {
            name: _labels(fit.classes, prediction),
            f"{name}_probability": probabilities[np.arange(len(prediction)), prediction],
            **{f"{name}_probability_{label}": of for label, of in zip(fit.classes, probabilities.T, strict=True)},
        }
    if isinstance(fit, CrossFit) and fit.parts:
        return {name: _labels(fit.parts, largest(prediction)), **_shares(f"{name}_share", fit.parts, prediction)}
    interval = fit.interval(level)
    if interval is None:
        notes.append(
            f"{name}: {fit.calibrating} labelled regions are too few for an interval of level {level:g}; "
            f"the highest level that they can calibrate is {highest_level(fit.calibrating):g}"
        )
        bounds = [np.full(len(prediction), np.nan)] * 2
    else:
        bounds = [bound[rows] for bound in interval]
    return {name: prediction, f"{name}_lower": bounds[0], f"{name}_upper": bounds[1]}


def _truth(name: str, task: TaskData, y: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """The columns of the labels `y` of a task."""
    if task.parts:
        labels = _labels(task.parts, largest(y))
        return {f"{name}_truth": labels, **_shares(f"{name}_truth_share", task.parts, y)}
    return {f"{name}_truth": _labels(task.classes, y)}


def _shares(prefix: str, parts: Sequence[str], shares: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """A column `PREFIX_PART` for each part of shares [n, K]."""
    return {f"{prefix}_{part}": of_part for part, of_part in zip(parts, shares.T, strict=True)}


def _labels(classes: Sequence[str], values: NDArray[Any]) -> NDArray[Any]:
    """Class names of codes [n], None for -1; the numbers of a regression."""
    return np.array([*classes, None], dtype=object)[values] if classes else values
