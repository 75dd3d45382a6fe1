"""Pairs of regions for the case study, which look alike and differ in a target (paper, 4.4.3)."""

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
from urbankit.report.figures.mosaic import SATELLITE
from urbankit.utils.standardise import standardised

PAIRS = 2
MOST_CANDIDATES = 3000
NEIGHBOURS = 6


def find_cases(context: FigureContext, tasks: Sequence[TaskData]) -> tuple[list[int], list[str], str]:
    """Rows of the regions of a case study, pair by pair, the task each pair differs in, and how the two are alike.

    Each pair is of one of `tasks`, in turn: of the regions that were predicted without their label, the two nearest
    neighbours in looks whose labels are furthest apart by rank. Raises `NotPossible` where there is no pair.
    """
    looks, how = _looks(context)
    if not np.isfinite(looks).all(axis=1).any():
        raise NotPossible("no region has a usable image")
    features = standardised(looks, least=1e-9)
    used: list[int] = []
    differing: list[str] = []
    for turn in range(PAIRS):
        task = tasks[turn % len(tasks)]
        pair = _pair(context, task, features, used)
        used += pair
        differing += [task.name] if pair else []
    if not used:
        raise NotPossible("no two regions that look alike were predicted without their label")
    return used, differing, how


def _looks(context: FigureContext) -> tuple[NDArray, str]:
    """Features of the looks of regions [N, F], NaN where unknown, and a description for the caption."""
    city = context.run_context.city
    if city is not None and SATELLITE in city.image_sources:
        images = city.images(SATELLITE)
        regions, first = np.unique(images.region, return_index=True)
        of_images = np.asarray(all_image_stats(images), np.float64)[first]
        features = np.full((city.n_regions, of_images.shape[1]), np.nan)
        features[regions] = of_images
        return features, "their satellite images have like colours and textures"
    blocks = context.run.blocks()
    imaged = [name for name in blocks if name.split("/")[0] in (SATELLITE, "svi")]
    if imaged:
        return blocks[imaged[0]], f"their embeddings of {imaged[0]} are alike"
    return context.vectors, "their embeddings are alike"


def _pair(context: FigureContext, task: TaskData, features: NDArray[np.float64], used: Sequence[int]) -> list[int]:
    """The pair of one task without the regions `used`; empty if no pair differs."""
    able = task.labelled & np.isfinite(features).all(axis=1)
    able &= np.isfinite(context.out_of_sample(task, context.strictest(task)))
    able[list(used)] = False
    rows = _with_every_image(context, able).nonzero()[0]
    if len(rows) > MOST_CANDIDATES:
        rows = np.sort(np.random.default_rng(0).choice(rows, MOST_CANDIDATES, replace=False))
    if len(rows) < 2:
        return []
    far, near = cKDTree(features[rows]).query(features[rows], min(NEIGHBOURS + 1, len(rows)))
    first = np.repeat(np.arange(len(rows)), near.shape[1])
    second, distance = near.ravel(), far.ravel()
    alike = (first != second) & (distance <= np.median(distance[first != second]))
    y = task.y[rows]
    rank = np.zeros(len(rows)) if task.classes else rankdata(y) / len(rows)
    differ = (y[first] != y[second]) * (1.0 if task.classes else np.abs(rank[first] - rank[second]))
    differ = np.where(alike, differ, 0.0)
    if not differ.any():
        return []
    best = np.lexsort((first, distance, -differ))[0]
    return [int(rows[index]) for index in sorted((first[best], second[best]), key=lambda index: y[index])]


def _with_every_image(context: FigureContext, able: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Restrict the regions `able` [N] to those with an image of every source, if enough have one."""
    full = able.copy()
    for regions in _imaged(context):
        present = np.zeros(len(able), bool)
        present[regions] = True
        full &= present
    return full if full.sum() >= min(20, able.sum()) else able


def _imaged(context: FigureContext) -> Iterator[NDArray[np.int64]]:
    city = context.run_context.city
    if city is not None:
        for name in city.image_sources:
            yield city.images(name).region
