"""View of regions that share a border, built with libpysal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import scipy.sparse
from libpysal.graph import Graph
from pydantic import Field, model_validator

import urbankit
from urbankit.city.raw_features import RawFeatures, RawSource
from urbankit.views.base import View, ViewGraph, location_order

if TYPE_CHECKING:
    import geopandas as gpd

    from urbankit.city.city import City


class Contiguity(View):
    """`a_ij` is 1, or the length of the border in km, if regions i and j share a border.

    Borders are computed by libpysal (`Graph.build_contiguity`) from the polygons in the city's projected CRS. A region
    without a border is an island.
    """

    class Params(urbankit.Params):
        border: Literal["queen", "rook"] = Field(
            "queen",
            description="What counts as a border. `rook`: a line; `queen`: also a single point, such as a corner.",
        )
        weight: Literal["binary", "length"] = Field(
            "binary", description="Weight of a border. `binary`: 1; `length`: its length in km."
        )
        gap_m: float = Field(
            0.0,
            ge=0,
            description="Polygons at most this far apart, in metres, share a border; for regions with slivers between"
            " them.",
        )
        islands: Literal["absent", "nearest"] = Field(
            "absent",
            description="A region without a border is `absent` from the view, or gets an edge of the median weight to"
            " the `nearest` region.",
        )

        @model_validator(mode="after")
        def _compatible(self) -> Contiguity.Params:
            if self.weight == "length" and (self.gap_m or self.border == "queen"):
                raise ValueError(
                    "`weight: length` needs `border: rook` and no `gap_m`: a corner and a gap have no length"
                )
            if self.gap_m and self.border == "rook":
                raise ValueError("`gap_m` needs `border: queen`: there is no shared line across a gap")
            return self

    params: Params

    def build(self, city: City) -> ViewGraph:
        polygons = city.regions.geometry
        adjacency = self._borders(polygons)
        if self.params.islands == "nearest" and len(polygons) > 1:
            adjacency = _with_islands(adjacency, polygons, location_order(city))
        return ViewGraph(adjacency, np.diff(adjacency.indptr) > 0)

    def raw_features(self, city: City, name: str) -> list[RawSource]:
        """Return the number of a region's neighbours and the sum of their weights, such as the length of borders."""

        def read() -> RawFeatures:
            adjacency = self.build(city).adjacency
            values = np.column_stack([np.diff(adjacency.indptr), adjacency.sum(axis=1)]).astype(np.float64)
            return RawFeatures(values, (f"{name} neighbours", f"{name} weight"))

        return [RawSource(f"view {name}", read)]

    def _borders(self, polygons: gpd.GeoSeries) -> scipy.sparse.csr_array:
        """Return the weights of borders, float64 [N, N]."""
        n = len(polygons)
        if n < 2:
            return scipy.sparse.csr_array((n, n))
        if self.params.gap_m:
            # Buffers of half the gap make the polygons touch.
            graph = Graph.build_fuzzy_contiguity(polygons, buffer=self.params.gap_m / 2)
        else:
            by_length = self.params.weight == "length"
            # `strict` compares geometries, as neighbours need not share the vertices of their border.
            graph = Graph.build_contiguity(
                polygons, rook=self.params.border == "rook", by_perimeter=by_length, strict=True
            )
        weights = scipy.sparse.csr_array(graph.sparse, dtype=np.float64)
        weights.eliminate_zeros()
        return weights / 1000 if self.params.weight == "length" else weights


def _with_islands(
    adjacency: scipy.sparse.csr_array, polygons: gpd.GeoSeries, order: np.ndarray
) -> scipy.sparse.csr_array:
    """Return the adjacency with an edge in both directions between each island and the nearest region.

    Of several regions at the same distance, the first in `order` is chosen.
    """
    islands = np.flatnonzero(np.diff(adjacency.indptr) == 0)
    if not len(islands):
        return adjacency
    weight = np.median(adjacency.data) if adjacency.nnz else 1.0
    island, nearest = polygons.sindex.nearest(polygons.iloc[islands], return_all=True, exclusive=True)
    by_rank = np.lexsort((np.argsort(order)[nearest], island))
    island, first = np.unique(island[by_rank], return_index=True)
    nearest = nearest[by_rank][first]
    edges = scipy.sparse.csr_array((np.full(len(island), weight), (islands[island], nearest)), shape=adjacency.shape)
    return adjacency.maximum(edges).maximum(edges.T).tocsr()
