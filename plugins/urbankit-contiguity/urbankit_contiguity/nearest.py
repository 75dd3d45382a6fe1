"""View of each region's nearest, by libpysal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import scipy.sparse
from pydantic import Field
from scipy.spatial import cKDTree

import urbankit
from urbankit.city.raw_features import RawFeatures, RawSource
from urbankit.views.base import View, ViewGraph, place_order

if TYPE_CHECKING:
    from urbankit.city.city import City


class Nearest(View):
    """Each region with the k whose centroids are nearest, in the city's projected CRS (libpysal, `Graph.build_knn`).

    Every region is present and, unlike in a view of shared borders, none is without neighbours.
    """

    class Params(urbankit.Params):
        k: int = Field(6, ge=1, description="Nearest regions of each, as many as there are at most.")
        pairs: Literal["either", "mutual", "directed"] = Field(
            "either",
            description="Which pairs are kept, in both directions: those that `either` region has among its nearest, or"
            " that both have (`mutual`); `directed` keeps the edges from each region to its nearest alone.",
        )
        weight: Literal["binary", "inverse"] = Field(
            "binary", description="`binary` weighs every pair 1, `inverse` by 1 / d with d in km."
        )
        nearest_km: float = Field(
            0.01, gt=0, description="Distances below this count as this: centroids may coincide, and 1/0 is no weight."
        )

    params: Params

    def build(self, city: City) -> ViewGraph:
        order = place_order(city)
        adjacency = self._directed(np.asarray(city.xy, dtype=np.float64)[order] / 1000)
        if self.params.pairs == "either":
            adjacency = adjacency.maximum(adjacency.T).tocsr()
        elif self.params.pairs == "mutual":
            adjacency = adjacency.minimum(adjacency.T).tocsr()
        return ViewGraph(adjacency, np.ones(city.n_regions, dtype=bool)).placed(order)

    def raw_features(self, city: City, name: str) -> list[RawSource]:
        """The mean distance in km to the k nearest regions: how densely the city is divided around a region."""

        def read() -> RawFeatures:
            km = np.asarray(city.xy, dtype=np.float64) / 1000
            distance, _ = cKDTree(km).query(km, k=min(self.params.k + 1, len(km)))
            mean = distance.reshape(len(km), -1)[:, 1:].mean(axis=1) if len(km) > 1 else np.full(len(km), np.nan)
            return RawFeatures(mean[:, None], (f"{name} mean km",))

        return [RawSource(f"view {name}", read)]

    def _directed(self, km: np.ndarray) -> scipy.sparse.csr_array:
        """Weights float64 [N, N] from each region to its nearest, of centroids `km` [N, 2]."""
        from libpysal.graph import Graph  # noqa: PLC0415 - slow to import

        n, k = len(km), min(self.params.k, len(km) - 1)
        if k < 1:
            return scipy.sparse.csr_array((n, n))
        found = Graph.build_knn(_told_apart(km), k=k).sparse.tocoo()
        i, j = (end[found.row != found.col] for end in (found.row, found.col))
        weights = np.ones(len(i))
        if self.params.weight == "inverse":
            weights = 1 / np.maximum(np.hypot(*(km[i] - km[j]).T), self.params.nearest_km)
        return scipy.sparse.csr_array((weights, (i, j)), shape=(n, n))


def _told_apart(km: np.ndarray) -> np.ndarray:
    """The points [N, 2], coincident ones a millimetre apart: libpysal has no nearest of points in one place."""
    _, place, count = np.unique(km, axis=0, return_inverse=True, return_counts=True)
    order = np.argsort(place, kind="stable")
    rank = np.empty(len(km))
    rank[order] = np.arange(len(km)) - np.repeat(np.cumsum(count) - count, count)
    return km + np.column_stack([rank * 1e-6, np.zeros(len(km))])
