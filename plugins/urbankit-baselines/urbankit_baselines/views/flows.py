"""View of the flows between regions as they were counted."""

from __future__ import annotations

import numpy as np
import scipy.sparse

from urbankit.views.base import FlowView, ViewGraph


class Flows(FlowView):
    """Flows from origin i to destination j, `a_ij = m_ij`, those within a region included; directed.

    Regions that no flow leaves or reaches are absent.
    """

    def of_flows(self, flows: scipy.sparse.csr_array) -> ViewGraph:
        return ViewGraph(flows, np.asarray(flows.sum(axis=1) + flows.sum(axis=0) > 0))
