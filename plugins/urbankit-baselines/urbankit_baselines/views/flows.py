"""View of the flow counts between regions."""

from __future__ import annotations

import numpy as np
import scipy.sparse

from urbankit.views.base import FlowView, ViewGraph


class Flows(FlowView):
    """Flow counts from origin i to destination j, `a_ij = m_ij`, including flows within a region; directed.

    Regions without any flow are absent.
    """

    def of_flows(self, flows: scipy.sparse.csr_array) -> ViewGraph:
        return ViewGraph(flows, np.asarray(flows.sum(axis=1) + flows.sum(axis=0) > 0))
