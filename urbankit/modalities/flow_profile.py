"""Flows as a modality: where a region's flows go to and come from, in few numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import Field
from scipy import sparse
from sklearn.decomposition import TruncatedSVD

from urbankit.city.city import City
from urbankit.city.raw_features import RawSource, flows
from urbankit.modalities.count_transform import DESCRIPTION, CountTransform, transform_counts
from urbankit.modalities.features import FeatureEncoder, FeatureParams


class FlowProfile(FeatureEncoder):
    """Principal components of the flows to and from every region, the totals, and the flow within the region.

    They are computed from the flows of all regions, without any label. Regions without any flow are absent.
    """

    class Params(FeatureParams):
        components: int = Field(
            16, ge=0, description="Principal components of the rows and columns together; 0 keeps only the totals."
        )
        form: CountTransform = Field("log", description=f"Form of flows and totals. {DESCRIPTION}")
        per_area: bool = Field(False, description="Also the totals for each km² of the region, as logarithms.")

    params: Params

    @classmethod
    def requires(cls, params: Any, city: City, modality: str) -> str | None:
        flows = city.flows()
        return "the city has no flows" if flows is None or flows.nnz == 0 else None

    @classmethod
    def untransferable(cls, params: Any) -> str | None:
        if params.components:
            return "principal components are of one city's flows; `components: 0` keeps the totals alone"
        return None

    @classmethod
    def raw_features(cls, params: Any, city: City, modality: str) -> list[RawSource]:
        return [*flows(city), *super().raw_features(params, city, modality)]

    def features(self, city: City) -> tuple[np.ndarray, np.ndarray]:
        flows = sparse.csr_array(city.flows())
        values = flow_profile(flows, self.params.components, self.params.form)
        if self.params.per_area and city.has_geometry:
            totals = np.log1p(np.column_stack([flows.diagonal(), flows.sum(axis=1), flows.sum(axis=0)]))
            values = np.hstack([values, totals - np.log(np.asarray(city.area_km2))[:, None]])
        region = np.flatnonzero((flows.sum(axis=1) > 0) | (flows.sum(axis=0) > 0))
        return values[region], region


def flow_profile(flows: sparse.csr_array, components: int, form: CountTransform = "log") -> np.ndarray:
    """The profile of every region: float64[N, components + 5].

    The columns are the principal components (singular vectors times singular values) of [L, Lᵀ], where L, N by N and
    sparse, is the flow between different regions in `form`; then, in the same form, the flow within the region, the
    flow out and in, and the number of regions it goes to and comes from. There are at most N - 1 components.
    """
    n = flows.shape[0]
    within = flows.diagonal()
    between = sparse.csr_array(flows - sparse.dia_array((within[None], [0]), shape=flows.shape))
    between.eliminate_zeros()
    formed = transform_counts(between, form)
    both = sparse.csr_array(sparse.hstack([formed, formed.T]))
    k = min(components, n - 1)
    parts = []
    if k > 0 and both.nnz:
        # Lanczos iteration to machine precision: the same components whatever the order of the regions.
        parts.append(TruncatedSVD(k, algorithm="arpack", random_state=0).fit_transform(both))
    totals = [
        within,
        between.sum(axis=1),
        between.sum(axis=0),
        *(np.diff(m.indptr) for m in (between, between.tocsc())),
    ]
    return np.hstack([*parts, transform_counts(np.column_stack(totals).astype(np.float64), form)])
