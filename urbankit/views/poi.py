"""View of regions alike in their points of interest, section 3.4.1 of the UrbanMMCL paper."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import scipy.sparse
from pydantic import Field

from urbankit.views.base import DEFAULT_TOP_K, PairParams, View, ViewGraph, symmetric_union

if TYPE_CHECKING:
    from urbankit.city.city import City

# Similarities worked on at a time, in numbers: 32 MB.
BLOCK = 1 << 23


class PoiView(View):
    """Cosine similarity of the counts of points of interest by category, `a_ij = sim(p_i, p_j)`.

    The diagonal, always 1, is left out: graph encoders add self-loops. Regions without a point of interest have no
    direction to compare; they are absent.
    """

    class Params(PairParams):
        counts: Literal["raw", "log", "tf_idf"] = Field(
            "raw",
            description="What is compared: the counts, log(1 + counts), or counts weighted by the rarity of their"
            " category among the regions, log(N / regions that have it).",
            json_schema_extra={"source": "raw in 3.4.1"},
        )

    def requires(self, city: City) -> str | None:
        return None if city.poi_counts() is not None else "the city has no points of interest"

    def build(self, city: City) -> ViewGraph:
        counts = city.poi_counts()
        if counts is None:
            raise ValueError(self.requires(city))
        directions, present = _directions(counts[0], self.params.counts)
        n = len(present)
        k = n if self.params.keeps_every_pair(n) else self.params.top_k or DEFAULT_TOP_K
        return ViewGraph(_strongest(directions, k), present)


def _directions(counts: scipy.sparse.csr_array, how: str) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors float32 [N, C], zero where a region has nothing to compare, and who has something (bool [N])."""
    counts = np.asarray(counts.todense(), dtype=np.float64)
    present = counts.any(axis=1)
    if how == "log":
        counts = np.log1p(counts)
    elif how == "tf_idf":
        having = (counts > 0).sum(axis=0)
        counts = counts * np.log(len(counts) / np.maximum(having, 1))
    length = np.linalg.norm(counts, axis=1, keepdims=True)
    return np.divide(counts, length, out=np.zeros_like(counts), where=length > 0).astype(np.float32), present


def _strongest(directions: np.ndarray, k: int) -> scipy.sparse.csr_array:
    """Similarities of the pairs that are among the k strongest of either region; of equals the first k."""
    n = len(directions)
    step = max(1, BLOCK // max(n, 1))
    blocks = []
    for start in range(0, n, step):
        similar = np.minimum(directions[start : start + step] @ directions.T, 1)
        rows = np.arange(len(similar))
        similar[rows, start + rows] = 0
        if k < n - 1:
            similar *= _top(similar, k)
        blocks.append(scipy.sparse.csr_array(similar))
    kept = scipy.sparse.vstack(blocks, format="csr") if blocks else scipy.sparse.csr_array((n, n), dtype=np.float32)
    return symmetric_union(kept)


def _top(values: np.ndarray, k: int) -> np.ndarray:
    """Which k values of each row are its largest (bool, like `values`); of equal ones the first."""
    threshold = -np.partition(-values, k - 1, axis=1)[:, k - 1 : k]
    above, equal = values > threshold, values == threshold
    room = k - above.sum(axis=1, keepdims=True)
    return above | (equal & (np.cumsum(equal, axis=1, dtype=np.int32) <= room))
