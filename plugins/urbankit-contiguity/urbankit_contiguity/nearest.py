"""View of the k nearest regions, built with libpysal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import scipy.sparse
from libpysal.graph import Graph
from pydantic import Field
from scipy.spatial import cKDTree

import urbankit
from urbankit.city.raw_features import RawFeatures, RawSource
from urbankit.views.base import View, ViewGraph, location_order

if TYPE_CHECKING:
    from urbankit.city.city import City


class Nearest(View):
    """Edges to the k regions with the nearest centroids, in the city's projected CRS (libpysal, `Graph.build_knn`).

    Every region is present.
    """

    class Params(urbankit.Params):
        k: int = Field(6, ge=1, description="Number of nearest regions; at most all other regions.")
        pairs: Literal["either", "mutual", "directed"] = Field(
            "either",
            description="Pairs with edges in both directions: pairs in which `either` region, or both (`mutual`), is"
            " among the nearest of the other. `directed`: edges from each region to its nearest only.",
        )
        weight: Literal["binary", "inverse"] = Field(
            "binary", description="Weight of an edge. `binary`: 1; `inverse`: 1 / d with d in km."
        )
        nearest_km: float = Field(
            0.01, gt=0, description="Smaller distances count as this one, in km, since centroids may coincide."
        )

    params: Params

    def build(self, city: City) -> ViewGraph:
        order = location_order(city)
        adjacency = self._directed(np.asarray(city.xy, dtype=np.float64)[order] / 1000)
        if self.params.pairs == "either":
            adjacency = adjacency.maximum(adjacency.T).tocsr()
        elif self.params.pairs == "mutual":
            adjacency = adjacency.minimum(adjacency.T).tocsr()
        return ViewGraph(adjacency, np.ones(city.n_regions, dtype=bool)).reordered(order)

    def raw_features(self, city: City, name: str) -> list[RawSource]:
        """Return the mean distance in km to the k nearest regions, which measures how small the regions around are."""

        def read() -> RawFeatures:
            km = np.asarray(city.xy, dtype=np.float64) / 1000
            distance, _ = cKDTree(km).query(km, k=min(self.params.k + 1, len(km)))
            mean = distance.reshape(len(km), -1)[:, 1:].mean(axis=1) if len(km) > 1 else np.full(len(km), np.nan)
            return RawFeatures(mean[:, None], (f"{name} mean km",))

        return [RawSource(f"view {name}", read)]

    def _directed(self, km: np.ndarray) -> scipy.sparse.csr_array:
        """Return the weights from each region to its nearest, float64 [N, N], for centroids `km` [N, 2]."""
        n, k = len(km), min(self.params.k, len(km) - 1)
        if k < 1:
            return scipy.sparse.csr_array((n, n))
        edges = Graph.build_knn(_separate(km), k=k).sparse.tocoo()
        i, j = (end[edges.row != edges.col] for end in (edges.row, edges.col))
        weights = np.ones(len(i))
        if self.params.weight == "inverse":
            weights = 1 / np.maximum(np.hypot(*(km[i] - km[j]).T), self.params.nearest_km)
        return scipy.sparse.csr_array((weights, (i, j)), shape=(n, n))


def _separate(km: np.ndarray) -> np.ndarray:
    """Return the points [N, 2] with coincident ones a millimetre apart, as libpysal refuses coincident points."""
    _, location, count = np.unique(km, axis=0, return_inverse=True, return_counts=True)
    order = np.argsort(location, kind="stable")
    rank = np.empty(len(km))
    rank[order] = np.arange(len(km)) - np.repeat(np.cumsum(count) - count, count)
    return km + np.column_stack([rank * 1e-6, np.zeros(len(km))])
