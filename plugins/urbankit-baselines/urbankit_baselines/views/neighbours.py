"""View of regions that border on each other, the geographic neighbours of HREP."""

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
    """`a_ij = 1` where the polygons of two regions touch, at a corner too, or overlap; every region is present."""

    class Params(component.Params):
        gap_m: float = Field(0.0, ge=0, description="Regions no further apart than this, in metres, count as touching.")

    params: Params

    def build(self, city: City) -> ViewGraph:
        polygons = city.regions.geometry
        i, j = polygons.sindex.query(polygons, predicate="dwithin", distance=self.params.gap_m)
        i, j = i[i != j], j[i != j]
        n = len(polygons)
        return ViewGraph(scipy.sparse.csr_array((np.ones(len(i)), (i, j)), shape=(n, n)), np.ones(n, dtype=bool))
