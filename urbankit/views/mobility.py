"""The view of mobility between regions, section 3.4.1 of the UrbanMMCL paper."""

from __future__ import annotations

import numpy as np
import scipy.sparse
from pydantic import Field

from urbankit.city.city import City
from urbankit.city.raw_features import RawSource, flows
from urbankit.registry import component
from urbankit.views.base import FlowView, ViewGraph


class MobilityView(FlowView):
    """Flows from origin i to destination j, `a_ij = log(1 + m_ij) / Σₖ log(1 + m_ik)`; directed.

    Only observed pairs have an edge. Regions without any flow from or to them are absent.
    """

    class Params(component.Params):
        top_k: int | None = Field(
            None,
            ge=1,
            description="Keep only this many of the strongest flows from each region; default all. Weights remain"
            " shares of all flows of the region.",
        )
        self_flows: bool = Field(
            True, description="Whether flows within a region count, as they do in the paper's formula."
        )

    params: Params

    def raw_features(self, city: City, name: str) -> list[RawSource]:
        return flows(city)

    def of_flows(self, flows: scipy.sparse.csr_array) -> ViewGraph:
        logs = scipy.sparse.csr_array(flows, dtype=np.float64, copy=True)
        logs.sum_duplicates()
        logs.data = np.log1p(logs.data)
        if not self.params.self_flows:
            logs.setdiag(0)
        logs.eliminate_zeros()
        sums = logs.sum(axis=1)
        logs.data /= np.repeat(sums, np.diff(logs.indptr))
        present = sums > 0
        present[logs.indices] = True
        if self.params.top_k is not None:
            logs = _strongest(logs, self.params.top_k)
        return ViewGraph(logs, present)


def _strongest(matrix: scipy.sparse.csr_array, k: int) -> scipy.sparse.csr_array:
    """Return the k largest entries of each row; of equal ones those of the first columns."""
    coo = matrix.tocoo()
    order = np.lexsort((coo.col, -coo.data, coo.row))
    rank = np.arange(matrix.nnz) - np.repeat(matrix.indptr[:-1], np.diff(matrix.indptr))
    top = order[rank < k]
    return scipy.sparse.csr_array((coo.data[top], (coo.row[top], coo.col[top])), shape=matrix.shape)
