"""View of regions with similar destinations or origins of flows, as in MVURE and HREP."""

from __future__ import annotations

from typing import Literal

import numpy as np
import scipy.sparse
from pydantic import Field

from urbankit.views.base import FlowView, PairParams, ViewGraph
from urbankit.views.similarity import cosine_similarity


class FlowSimilarity(FlowView):
    """Cosine similarity of the flows of two regions, `a_ij = cos(m_i, m_j)`.

    `m_i` is row i of the flow matrix (`direction: out`) or column i (`in`). The cosine of counts equals that of shares.
    The diagonal, always 1, is left out. Regions without a flow in that direction are absent.
    """

    class Params(PairParams):
        direction: Literal["out", "in"] = Field(
            description="`out` compares the destinations of outgoing flows, `in` the origins of incoming flows."
        )

    params: Params

    def of_flows(self, flows: scipy.sparse.csr_array) -> ViewGraph:
        rows = scipy.sparse.csr_array(flows if self.params.direction == "out" else flows.T)
        return ViewGraph(
            cosine_similarity(rows, self.params.strongest_pairs(rows.shape[0])), np.asarray(rows.sum(axis=1) > 0)
        )
