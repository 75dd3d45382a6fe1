"""View of adjacent regions, the geographic neighbours of HREP."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse
from pydantic import Field

from urbankit.registry import component
from urbankit.views.base import View, ViewGraph

if TYPE_CHECKING:
    from urbankit.city.city import City


class Neighbours(View):
    """`a_ij = 1` if the polygons of two regions touch, even at a corner only, or overlap; every region is present."""

    class Params(component.Params):
        gap_m: float = Field(0.0, ge=0, description="Regions at most this far apart, in metres, count as touching.")

    params: Params

    def build(self, city: City) -> ViewGraph:
        polygons = city.regions.geometry
        i, j = polygons.sindex.query(polygons, predicate="dwithin", distance=self.params.gap_m)
        i, j = i[i != j], j[i != j]
        n = len(polygons)
        return ViewGraph(scipy.sparse.csr_array((np.ones(len(i)), (i, j)), shape=(n, n)), np.ones(n, dtype=bool))
