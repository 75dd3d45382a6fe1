"""The regions that are most similar to a region, by their embeddings."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from urbankit.utils.standardise import centred_unit

_PAIRS = 4_000_000
"""Similarities held at once: 16 MB."""

MOST_COMPARED = 20_000
"""Regions that are all compared with each other. Of more, each is compared with those in similar groups."""

CANDIDATES = 10_000
"""Regions in the groups that are most similar to that of a region, with which it is compared."""


def nearest(
    vectors: NDArray[np.float32], k: int, rows: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The `k` regions most like each of `rows` (default all), the likest first, without themselves.

    Returns region indices [R, k] and their cosine similarities [R, k] to the row, of `vectors` [N, dim] about their
    mean, without which all regions of a city point the same way. Of equal similarities the lower index comes first; a
    city of N regions has no more than N - 1 neighbours. Exact, R N dim in time; memory is bounded by blocks of rows.
    """
    z = centred_unit(vectors)
    rows = np.arange(len(z)) if rows is None else np.asarray(rows, np.int64)
    k = max(0, min(k, len(z) - 1))
    regions, similar = np.empty((len(rows), k), np.int64), np.empty((len(rows), k), np.float32)
    step = max(1, _PAIRS // max(1, len(z)))
    for begin in range(0, len(rows) if k else 0, step):
        block = rows[begin : begin + step]
        similarity = z[block] @ z.T
        similarity[np.arange(len(block)), block] = -np.inf
        best = _top(similarity, k)
        regions[begin : begin + step] = best
        similar[begin : begin + step] = np.take_along_axis(similarity, best, axis=1)
    return regions, similar.clip(-1, 1)


def nearest_in_groups(vectors: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The regions most like each region as `nearest` gives them, but of many regions approximately.

    More than `MOST_COMPARED` regions are divided into √N groups by k-means on a sample. Each region is compared with at
    least `CANDIDATES` regions, those in the groups nearest to its own.
    """
    if len(vectors) <= MOST_COMPARED:
        return nearest(vectors, k)
    z = centred_unit(vectors)
    group, order = _groups(z, round(len(z) ** 0.5))
    members = np.split(np.argsort(group, kind="stable"), np.cumsum(np.bincount(group, minlength=len(order)))[:-1])
    sizes = np.array([len(rows) for rows in members])
    regions, similar = np.empty((len(z), k), np.int64), np.empty((len(z), k), np.float32)
    for rows, others in zip(members, order, strict=True):
        enough = int(np.searchsorted(np.cumsum(sizes[others]), max(CANDIDATES, k + 1))) + 1
        candidates = np.sort(np.concatenate([members[other] for other in others[:enough]]))
        step = max(1, _PAIRS // len(candidates))
        for begin in range(0, len(rows), step):
            block = rows[begin : begin + step]
            similarity = z[block] @ z[candidates].T
            similarity[np.arange(len(block)), np.searchsorted(candidates, block)] = -np.inf
            best = _top(similarity, k)
            regions[block] = candidates[best]
            similar[block] = np.take_along_axis(similarity, best, axis=1)
    return regions, similar.clip(-1, 1)


def _groups(z: NDArray[np.float32], number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The group of each region [N], and for each group all groups by the distance of their centres, itself first."""
    sample = np.random.default_rng(0).permutation(len(z))[: 30 * number]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of fewer different regions than groups
        means = KMeans(number, init="random", n_init=1, max_iter=20, random_state=0).fit(z[sample])
    centres = means.cluster_centers_
    apart = np.square(centres[:, None] - centres[None]).sum(axis=2)
    np.fill_diagonal(apart, -1)
    return means.predict(z).astype(np.int64), np.argsort(apart, axis=1, kind="stable")


def _top(similarity: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Columns [R, k] of the largest values of each row, in falling order, and in rising order of column where equal."""
    candidates = np.argpartition(-similarity, k - 1, axis=1)[:, :k]
    least = np.take_along_axis(similarity, candidates, axis=1).min(axis=1, keepdims=True)
    # Of values equal to the k-th the partition keeps any; the lower columns are the ones to keep.
    tied = (similarity >= least).sum(axis=1) > k
    candidates[tied] = np.argsort(-similarity[tied], axis=1, kind="stable")[:, :k]
    candidates.sort(axis=1)
    order = np.argsort(-np.take_along_axis(similarity, candidates, axis=1), axis=1, kind="stable")
    return np.take_along_axis(candidates, order, axis=1)
