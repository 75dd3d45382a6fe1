"""Which regions are alike: the nearest ones in embedding space."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from urbankit.utils.standardise import centred_unit

_PAIRS = 4_000_000
"""Similarities held at once: 16 MB."""


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
