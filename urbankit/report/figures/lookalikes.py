"""Pairs of regions for the case study that look similar and differ in a target (paper, 4.4.3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.stats import rankdata

from urbankit.evaluation.tasks import TaskData
from urbankit.modalities.image_stats import all_image_stats
from urbankit.report.figures.context import FigureContext
from urbankit.report.figures.errors import NotPossible
from urbankit.utils.standardise import standardised

PAIRS = 2
MOST_CANDIDATES = 3000
NEIGHBOURS = 6


def find_cases(context: FigureContext, tasks: Sequence[TaskData]) -> tuple[list[int], list[str], str]:
    """Return the rows of regions (pair after pair), the task in which each pair differs, and a text for the caption.

    There is one pair for each of `tasks`, repeated if needed. Candidates are regions predicted without their label; of
    neighbours by appearance, the pair with the largest difference in the rank of the label is selected. Raises
    `NotPossible` if there is no pair.
    """
    appearance, how = _appearance(context)
    if not np.isfinite(appearance).all(axis=1).any():
        raise NotPossible("no region has a usable image")
    features = standardised(appearance, least=1e-9)
    used: list[int] = []
    differing: list[str] = []
    for index in range(PAIRS):
        task = tasks[index % len(tasks)]
        pair = _pair(context, task, features, used)
        used += pair
        differing += [task.label] if pair else []
    if not used:
        raise NotPossible("no two regions that look similar were predicted without their label")
    return used, differing, how


def _appearance(context: FigureContext) -> tuple[NDArray, str]:
    """Return features of the appearance of regions [N, F], NaN if unknown, and a text for the caption."""
    city = context.run_context.city
    if city is not None and city.overhead_sources:
        images = city.images(city.overhead_sources[0])
        regions, first = np.unique(images.region, return_index=True)
        of_images = np.asarray(all_image_stats(images), np.float64)[first]
        features = np.full((city.n_regions, of_images.shape[1]), np.nan)
        features[regions] = of_images
        return features, "their satellite images have similar colours and textures"
    return context.vectors, "their embeddings are similar"


def _pair(context: FigureContext, task: TaskData, features: NDArray[np.float64], used: Sequence[int]) -> list[int]:
    """Return the pair of one task, without the regions `used`; empty if no pair differs."""
    candidates = task.labelled & np.isfinite(features).all(axis=1)
    candidates &= np.isfinite(context.out_of_sample(task, context.strictest(task)))
    candidates[list(used)] = False
    rows = _with_every_image(context, candidates).nonzero()[0]
    if len(rows) > MOST_CANDIDATES:
        rows = np.sort(np.random.default_rng(0).choice(rows, MOST_CANDIDATES, replace=False))
    if len(rows) < 2:
        return []
    distances, neighbours = cKDTree(features[rows]).query(features[rows], min(NEIGHBOURS + 1, len(rows)))
    first = np.repeat(np.arange(len(rows)), neighbours.shape[1])
    second, distance = neighbours.ravel(), distances.ravel()
    similar = (first != second) & (distance <= np.median(distance[first != second]))
    y = task.y[rows]
    rank = np.zeros(len(rows)) if task.classes else rankdata(y) / len(rows)
    difference = (y[first] != y[second]) * (1.0 if task.classes else np.abs(rank[first] - rank[second]))
    difference = np.where(similar, difference, 0.0)
    if not difference.any():
        return []
    best = np.lexsort((first, distance, -difference))[0]
    return [int(rows[index]) for index in sorted((first[best], second[best]), key=lambda index: y[index])]


def _with_every_image(context: FigureContext, candidates: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the `candidates` [N] with an image of every source, or all if these are too few."""
    complete = candidates.copy()
    for regions in _regions_with_images(context):
        present = np.zeros(len(candidates), bool)
        present[regions] = True
        complete &= present
    return complete if complete.sum() >= min(20, candidates.sum()) else candidates


def _regions_with_images(context: FigureContext) -> Iterator[NDArray[np.int64]]:
    city = context.run_context.city
    if city is not None:
        for name in city.image_sources:
            yield city.images(name).region
