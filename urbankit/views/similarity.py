"""Cosine similarity of the regions' rows of counts: of all pairs, or of the strongest."""

from __future__ import annotations

import numpy as np
import scipy.sparse

from urbankit.views.base import symmetric_union

# Similarities worked on at a time, in numbers, whole rows of N: 32 MB a copy, and a few copies.
BLOCK = 1 << 23


def cosine_similarity(rows: np.ndarray | scipy.sparse.csr_array, k: int | None = None) -> scipy.sparse.csr_array:
    """Similarities float32 [N, N] of `rows` [N, C], none of whose numbers is negative; the diagonal is left out.

    With `k` only pairs among the k strongest of either region are kept; of equals the first k. A row of zeros has no
    direction, it is like no other.

    Every pair is looked at, a block of rows at a time. The time goes with N² whatever is kept; the memory with `rows`
    and what is kept: at most 2 k N pairs, or without `k` all that are not zero, up to N². Callers limit N then.
    """
    unit = _unit(rows)
    others = unit.T.tocsr() if scipy.sparse.issparse(unit) else unit.T
    n = unit.shape[0]
    step = max(1, BLOCK // max(n, 1))
    blocks = []
    for start in range(0, n, step):
        similar = unit[start : start + step] @ others
        similar = np.minimum(similar.toarray() if scipy.sparse.issparse(similar) else similar, 1)
        own = np.arange(len(similar))
        similar[own, start + own] = 0
        if k is not None and k < n - 1:
            similar *= _top(similar, k)
        blocks.append(scipy.sparse.csr_array(similar))
    kept = scipy.sparse.vstack(blocks, format="csr") if blocks else scipy.sparse.csr_array((n, n), dtype=np.float32)
    return symmetric_union(kept)


def _unit(rows: np.ndarray | scipy.sparse.csr_array) -> np.ndarray | scipy.sparse.csr_array:
    """The rows at length 1, float32."""
    if scipy.sparse.issparse(rows):
        rows = scipy.sparse.csr_array(rows, dtype=np.float64)
        length = np.sqrt(rows.multiply(rows).sum(axis=1))
        scale = np.divide(1, length, out=np.zeros_like(length), where=length > 0)
        return (scipy.sparse.diags_array(scale) @ rows).astype(np.float32).tocsr()
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, length, out=np.zeros_like(rows, dtype=np.float64), where=length > 0).astype(np.float32)


def _top(values: np.ndarray, k: int) -> np.ndarray:
    """Which k values of each row are its largest (bool, like `values`); of equal ones the first."""
    threshold = -np.partition(-values, k - 1, axis=1)[:, k - 1 : k]
    above, equal = values > threshold, values == threshold
    room = k - above.sum(axis=1, keepdims=True)
    return above | (equal & (np.cumsum(equal, axis=1, dtype=np.int32) <= room))
