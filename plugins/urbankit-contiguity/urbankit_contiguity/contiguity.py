"""View of regions that share a border, by libpysal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import scipy.sparse
from pydantic import Field, model_validator

import urbankit
from urbankit.city.raw_features import RawFeatures, RawSource
from urbankit.views.base import View, ViewGraph, place_order

if TYPE_CHECKING:
    import geopandas as gpd

    from urbankit.city.city import City


class Contiguity(View):
    """`a_ij = 1` where regions i and j border on each other, or the length of their border in km.

    Borders are those of the polygons in the city's projected CRS, found by libpysal (`Graph.build_contiguity`). A
    region that borders on none is an island.
    """

    class Params(urbankit.Params):
        border: Literal["queen", "rook"] = Field(
            "queen",
            description="What counts as a border: `rook` a line, `queen` a single point, such as a corner, too.",
        )
        weight: Literal["binary", "length"] = Field(
            "binary", description="`binary` weighs every border 1, `length` by its length in km."
        )
        gap_m: float = Field(
            0.0,
            ge=0,
            description="Polygons no further apart than this, in metres, border on each other: for regions drawn with"
            " slivers between them.",
        )
        islands: Literal["absent", "nearest"] = Field(
            "absent",
            description="A region without a border is `absent` from the view, or joined to the `nearest` region, by an"
            " edge of the median weight.",
        )

        @model_validator(mode="after")
        def _borders_have_length(self) -> Contiguity.Params:
            if self.weight == "length" and (self.gap_m or self.border == "queen"):
                raise ValueError(
                    "`weight: length` goes with `border: rook` and no `gap_m`: a corner and a gap have none"
                )
            if self.gap_m and self.border == "rook":
                raise ValueError("`gap_m` goes with `border: queen`: across a gap a border is neither line nor point")
            return self

    params: Params

    def build(self, city: City) -> ViewGraph:
        polygons = city.regions.geometry
        adjacency = self._borders(polygons)
        if self.params.islands == "nearest" and len(polygons) > 1:
            adjacency = _with_islands(adjacency, polygons, place_order(city))
        return ViewGraph(adjacency, np.diff(adjacency.indptr) > 0)

    def raw_features(self, city: City, name: str) -> list[RawSource]:
        """The number of a region's neighbours, and the sum of their weights, such as the length of all borders."""

        def read() -> RawFeatures:
            adjacency = self.build(city).adjacency
            values = np.column_stack([np.diff(adjacency.indptr), adjacency.sum(axis=1)]).astype(np.float64)
            return RawFeatures(values, (f"{name} neighbours", f"{name} weight"))

        return [RawSource(f"view {name}", read)]

    def _borders(self, polygons: gpd.GeoSeries) -> scipy.sparse.csr_array:
        """Weights float64 [N, N] of the regions that border on each other."""
        from libpysal.graph import Graph  # noqa: PLC0415 - slow to import

        n = len(polygons)
        if n < 2:
            return scipy.sparse.csr_array((n, n))
        if self.params.gap_m:
            # Both polygons grow by half the gap, which then closes.
            graph = Graph.build_fuzzy_contiguity(polygons, buffer=self.params.gap_m / 2)
        else:
            by_length = self.params.weight == "length"
            # Strict: by geometry, since neighbours need not share the vertices along their border.
            graph = Graph.build_contiguity(
                polygons, rook=self.params.border == "rook", by_perimeter=by_length, strict=True
            )
        weights = scipy.sparse.csr_array(graph.sparse, dtype=np.float64)
        weights.eliminate_zeros()
        return weights / 1000 if self.params.weight == "length" else weights


def _with_islands(
    adjacency: scipy.sparse.csr_array, polygons: gpd.GeoSeries, order: np.ndarray
) -> scipy.sparse.csr_array:
    """The adjacency with an edge, both ways, from each region that has none to the nearest other, of several equally
    near the first in `order`.
    """
    islands = np.flatnonzero(np.diff(adjacency.indptr) == 0)
    if not len(islands):
        return adjacency
    weight = np.median(adjacency.data) if adjacency.nnz else 1.0
    found, nearest = polygons.sindex.nearest(polygons.iloc[islands], return_all=True, exclusive=True)
    by_place = np.lexsort((np.argsort(order)[nearest], found))
    found, first = np.unique(found[by_place], return_index=True)
    nearest = nearest[by_place][first]
    edges = scipy.sparse.csr_array((np.full(len(found), weight), (islands[found], nearest)), shape=adjacency.shape)
    return adjacency.maximum(edges).maximum(edges.T).tocsr()
