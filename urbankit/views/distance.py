"""The view of the distance between regions, section 3.4.1 of the UrbanMMCL paper."""

from __future__ import annotations

import numpy as np
import scipy.sparse
from pydantic import Field
from scipy.spatial import cKDTree

from urbankit.city.city import City
from urbankit.city.points import NO_GEOMETRY
from urbankit.city.raw_features import RawSource
from urbankit.utils.errors import UserError
from urbankit.views.base import DEFAULT_TOP_K, PairParams, View, ViewGraph, location_order, symmetric_union

# Pairs within a radius that are still built: about 1.5 GB.
MOST_PAIRS = 60_000_000


class DistanceView(View):
    """Inverse distance of the regions' centroids, `a_ij = 1 / d_ij` with d in kilometres and a zero diagonal."""

    class Params(PairParams):
        radius_km: float | None = Field(
            None, gt=0, description="Sparse form: keep pairs no further apart than this, all of them or `top_k`."
        )
        power: float = Field(
            1.0, gt=0, le=4, description="Weights are `1 / d^power`.", json_schema_extra={"source": "1 in 3.4.1"}
        )
        nearest_km: float = Field(
            0.01,
            gt=0,
            description="Shorter distances count as this one, since centroids may coincide.",
        )

        @property
        def limits(self) -> tuple[str, ...]:
            return super().limits + (("radius_km",) if self.radius_km is not None else ())

    params: Params

    def requires(self, city: City) -> str | None:
        return None if city.has_geometry else f"the regions {NO_GEOMETRY}"

    def raw_features(self, city: City, name: str) -> list[RawSource]:
        return []  # the floors have the coordinates of every region

    def build(self, city: City) -> ViewGraph:
        km = np.asarray(city.xy, dtype=np.float64) / 1000
        n = len(km)
        if self.params.keeps_every_pair(n):
            i, j = np.divmod(np.arange(n * n), max(n, 1))
            i, j = i[i != j], j[i != j]
        else:
            order = location_order(city)
            i, j = (order[ends] for ends in self._near(km[order]))
        distance = np.maximum(np.hypot(*(km[i] - km[j]).T), self.params.nearest_km)
        weights = scipy.sparse.csr_array((distance**-self.params.power, (i, j)), shape=(n, n))
        return ViewGraph(symmetric_union(weights), np.ones(n, dtype=bool))

    def _near(self, km: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The pairs (i, j) of the sparse form, int64 [E] each; some pairs occur in both directions."""
        n, radius, k = len(km), self.params.radius_km, self.params.top_k
        tree = cKDTree(km)
        if k is None and radius is not None:
            count = tree.count_neighbors(tree, radius) - n
            if count > MOST_PAIRS:
                raise UserError(
                    f"{count:,} pairs of regions are within {radius:g} km, more than {MOST_PAIRS:,};"
                    " lower radius_km or give top_k"
                )
            pairs = tree.query_pairs(radius, output_type="ndarray")
            return pairs[:, 0], pairs[:, 1]
        k = min(k or DEFAULT_TOP_K, n - 1)
        # A region is its own nearest neighbour, unless more than k others share its centroid.
        limit = np.inf if radius is None else np.nextafter(radius, np.inf)
        _, neighbours = tree.query(km, k=k + 1, distance_upper_bound=limit)
        neighbours = neighbours.reshape(n, k + 1)
        i = np.broadcast_to(np.arange(n)[:, None], neighbours.shape)
        itself = neighbours == i
        itself[~itself.any(axis=1), -1] = True
        keep = ~itself & (neighbours < n)
        return i[keep], neighbours[keep]
