"""Cosine similarity of rows of counts: of all pairs, or of the strongest pairs."""

from __future__ import annotations

import numpy as np
import scipy.sparse

from urbankit.views.base import symmetric_union
from urbankit.views.strongest import strongest_pairs

# Similarities worked on at a time, in numbers, whole rows of N: 32 MB a copy, and a few copies.
BLOCK = 1 << 23
MANY = 10_000
"""The strongest pairs of more rows are found by `strongest_pairs`, in a fifth of the time."""


def cosine_similarity(rows: np.ndarray | scipy.sparse.csr_array, k: int | None = None) -> scipy.sparse.csr_array:
    """Return the cosine similarities of all pairs of rows, without the diagonal.

    Rows are compared in blocks: the time grows with N², the memory with the number of pairs in the result.

    Args:
        rows: values of at least 0, [N, C]. The similarity of a row of zeros is 0.
        k: keep only pairs among the k strongest of either row (the first k of equal ones); None for all.

    Returns:
        float32 [N, N].
    """
    unit = _unit(rows)
    others = unit.T.tocsr() if isinstance(unit, scipy.sparse.csr_array) else unit.T
    n = unit.shape[0]
    if k is not None and k < n - 1 and n > MANY and not scipy.sparse.issparse(unit):
        return symmetric_union(strongest_pairs(unit, k))
    step = max(1, BLOCK // max(n, 1))
    blocks = []
    for start in range(0, n, step):
        similar = unit[start : start + step] @ others
        similar = np.minimum(similar.toarray() if scipy.sparse.issparse(similar) else similar, 1)
        diagonal = np.arange(len(similar))
        similar[diagonal, start + diagonal] = 0
        if k is not None and k < n - 1:
            similar *= _top(similar, k)
        blocks.append(scipy.sparse.csr_array(similar))
    pairs = scipy.sparse.vstack(blocks, format="csr") if blocks else scipy.sparse.csr_array((n, n), dtype=np.float32)
    return symmetric_union(pairs)


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
    """Which values (bool, like `values`) are the k largest of their row; of equal ones the first."""
    threshold = -np.partition(-values, k - 1, axis=1)[:, k - 1 : k]
    above, equal = values > threshold, values == threshold
    remaining = k - above.sum(axis=1, keepdims=True)
    return above | (equal & (np.cumsum(equal, axis=1, dtype=np.int32) <= remaining))
