"""View of regions alike in where trips go to, or come from, as in MVURE and HREP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import scipy.sparse
from pydantic import Field

from urbankit.views.base import DEFAULT_TOP_K, PairParams, View, ViewGraph
from urbankit.views.similarity import cosine_similarity

if TYPE_CHECKING:
    from urbankit.city.city import City


class FlowSimilarity(View):
    """Cosine similarity of the flows of two regions by the region at the other end, `a_ij = cos(m_i, m_j)`.

    `m_i` is row i of the flows (`direction: out`) or column i (`in`); a cosine compares shares as it does counts. The
    diagonal, always 1, is left out. Regions without a flow in that direction are absent.
    """

    class Params(PairParams):
        direction: Literal["out", "in"] = Field(
            description="`out` compares where flows from the regions go, `in` where flows to the regions come from."
        )

    def requires(self, city: City) -> str | None:
        return None if city.flows() is not None else "the city has no flows"

    def build(self, city: City) -> ViewGraph:
        flows = city.flows()
        if flows is None:
            raise ValueError(self.requires(city))
        rows = scipy.sparse.csr_array(flows if self.params.direction == "out" else flows.T)
        n = rows.shape[0]
        k = None if self.params.keeps_every_pair(n) else self.params.top_k or DEFAULT_TOP_K
        return ViewGraph(cosine_similarity(rows, k), np.asarray(rows.sum(axis=1) > 0))
