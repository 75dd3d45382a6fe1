"""The tables of `urbankit neighbours` and `urbankit clusters`: similar regions and clusters with their targets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyproj import Geod

from urbankit.analysis.clusters import Hierarchy, centroids
from urbankit.analysis.neighbours import nearest
from urbankit.city.ids import RegionIds
from urbankit.evaluation.parts import part_tasks
from urbankit.export.tables import predictions
from urbankit.runs.context import RunContext
from urbankit.runs.folder import Run
from urbankit.utils.errors import Problem, UserError, suggest
from urbankit.utils.geometry import lonlat

EXAMPLES = 3


def neighbours(context: RunContext, region_id: str, k: int = 5, view: str | None = None) -> pd.DataFrame:
    """The region and the `k` most like it: `region_id, similarity, distance_km`, and a column for each target.

    The region itself is the first row. `similarity` is the cosine of embeddings about their mean, or of the part of
    them that is of the modality or view `view`; `distance_km` is from centroid to centroid on the ellipsoid, NaN
    without a CRS. Raises `UserError` for an unknown region or view.
    """
    run = context.run
    ids = run.embeddings["region_id"].astype(str).to_numpy(dtype=object)
    region_ids = RegionIds(ids.tolist())
    [row] = region_ids.find([region_id])
    if row < 0:
        raise UserError(Problem(region_ids.unknown([region_id]), run.path))
    vectors = run.vectors if view is None else _part(run, view)
    [nearest_rows], [similarity] = nearest(vectors, k, np.array([row]))
    rows = np.concatenate([[row], nearest_rows])
    table = pd.DataFrame({"region_id": ids[rows], "similarity": np.concatenate([[1.0], similarity.astype(np.float64)])})
    table["distance_km"] = _kilometres(context, rows)
    return pd.concat([table, truths(context).iloc[rows].reset_index(drop=True)], axis=1)


@dataclass(frozen=True)
class Clusters:
    """`summary` has a row a cluster, the largest first: `cluster` (from 1), `size`, for each regression target its mean
    over the regions that have it, for each classification the commonest class and `TARGET share`, and `examples`, the
    ids nearest the cluster's centroid. `regions` has `region_id, cluster` of every region.
    """

    summary: pd.DataFrame
    regions: pd.DataFrame


def clusters(context: RunContext, k: int) -> Clusters:
    """The regions in `k` clusters of Ward's hierarchy; fewer where embeddings are equal.

    Raises `UserError` for more clusters than regions.
    """
    run = context.run
    ids = run.embeddings["region_id"].astype(str)
    if not 1 <= k <= len(ids):
        raise UserError(Problem(f"{k} clusters of {len(ids):,} regions; choose -k from 1 to {len(ids):,}", run.path))
    labels = Hierarchy.of(run.vectors).labels(k)
    targets = truths(context)
    summary = pd.DataFrame({"cluster": np.arange(labels.max() + 1) + 1, "size": np.bincount(labels)})
    for name in targets:
        grouped = targets[name].groupby(labels)
        if pd.api.types.is_numeric_dtype(targets[name]):
            summary[name] = grouped.mean().reindex(summary.index)
        else:
            counts = grouped.value_counts()
            commonest = {label: of.droplevel(0).idxmax() for label, of in counts.groupby(level=0)}
            summary[name] = pd.Series(commonest, dtype="object")
            summary[f"{name} share"] = counts.groupby(level=0).max() / counts.groupby(level=0).sum()
    summary["examples"] = [ids.iloc[rows].tolist() for rows in _central(run.vectors, labels)]
    return Clusters(summary, pd.DataFrame({"region_id": ids.to_numpy(), "cluster": labels + 1}))


def truths(context: RunContext) -> pd.DataFrame:
    """The labels of the run's tasks, a row per region and a column per task: numbers or class names, missing values.

    A distribution has a column for each part.

    Without the city, only regions with a prediction have a label.
    """
    run = context.run
    if context.tasks:
        tasks = part_tasks(context.tasks)
        return pd.DataFrame({task.name: _values(task.y, task.labelled, task.classes) for task in tasks})
    if not run.has("predictions.parquet") or not len(run.predictions):
        return pd.DataFrame(index=pd.RangeIndex(len(run.embeddings)))

    suffix = "_truth"
    frame = predictions(run).frame
    return pd.DataFrame({name.removesuffix(suffix): frame[name] for name in frame if str(name).endswith(suffix)})


def _values(y: NDArray, labelled: NDArray[np.bool_], classes: tuple[str, ...]) -> NDArray:
    if not classes:
        return np.where(labelled, y, np.nan)
    return np.array([*classes, None], dtype=object)[np.where(labelled, y, -1)]


def _part(run: Run, view: str) -> NDArray[np.float32]:
    """The part of the embedding that is of one modality or view."""
    blocks = run.blocks()
    if not blocks:
        message = (
            "the run does not record which part of its embedding belongs to which modality or view: its fusion mixes "
            "them, or it is a run of an earlier version. Leave --view out"
        )
        raise UserError(Problem(message, run.path, key="--view"))
    if view not in blocks:
        raise UserError(Problem(f"the embedding has no part '{view}'.{suggest(view, blocks)}", run.path, key="--view"))
    return blocks[view]


def _kilometres(context: RunContext, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """From the centroid of the first of `rows` to each, on the WGS 84 ellipsoid."""
    points = lonlat(context.run.embeddings.geometry.iloc[rows])
    start = np.repeat(points[:1], len(points), axis=0)
    return np.asarray(Geod(ellps="WGS84").inv(*start.T, *points.T)[2]) / 1000


def _central(vectors: NDArray[np.float32], labels: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """For each cluster the rows nearest its centroid, at most `EXAMPLES`."""
    far = np.linalg.norm(vectors - centroids(vectors, labels)[labels], axis=1)
    order = np.lexsort((far, labels))
    groups = np.split(order, np.cumsum(np.bincount(labels))[:-1])
    return [rows[:EXAMPLES] for rows in groups]
