"""View of the flows between regions as they were counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from urbankit.views.base import View, ViewGraph

if TYPE_CHECKING:
    from urbankit.city.city import City


class Flows(View):
    """Flows from origin i to destination j, `a_ij = m_ij`, those within a region included; directed.

    Regions that no flow leaves or reaches are absent.
    """

    def requires(self, city: City) -> str | None:
        return None if city.flows() is not None else "the city has no flows"

    def build(self, city: City) -> ViewGraph:
        flows = city.flows()
        if flows is None:
            raise ValueError(self.requires(city))
        return ViewGraph(flows, np.asarray(flows.sum(axis=1) + flows.sum(axis=0) > 0))
