"""The common base of the graph baselines MVURE and HREP: their views and two losses.

Both encode all regions in every step and compare all pairs of regions: `Σ_j` in their losses runs over the city. This
needs matrices of N × N numbers; `dense_limit` is the largest N.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
import scipy.sparse
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from urbankit.graph.graph import Graph
from urbankit.methods.base import Method, MethodInputs
from urbankit.registry import component
from urbankit.utils.errors import Problem, UserError

# The recipe entry that a message suggests for a missing view.
SUGGESTED = {
    "outflow": "{name: flow_similarity, direction: out, top_k: 9}",
    "inflow": "{name: flow_similarity, direction: in, top_k: 9}",
    "poi": "{name: poi, counts: tf_idf, top_k: 9}",
    "neighbours": "{name: neighbours}",
    "flows": "{name: flows}",
    "poi_similarity": "{name: poi, counts: tf_idf, form: dense}",
}


class RegionGraphMethod(Method):
    """A method over several graphs of the same regions that predicts flows and the similarity of points of interest.

    Attributes:
        targets: the views to predict.
        relations: further views that the method needs.
        graph: all graphs to encode, as one graph.

    Raises:
        UserError: the recipe lacks one of these views, or the city lacks its data.
    """

    relations: ClassVar[tuple[str, ...]] = ()
    graph: Graph
    flows: Tensor
    has_poi: Tensor
    compared: Tensor
    similarity: Tensor
    targets: ClassVar[tuple[str, ...]] = ("flows", "poi_similarity")

    class Params(component.Params):
        dense_limit: int = Field(
            5000,
            ge=2,
            description="Maximum number of regions. All pairs are compared, in matrices of N × N numbers (100 MB each"
            " for 5,000 regions): about ten in HREP and fifty in MVURE.",
        )

    params: Params

    def __init__(self, params: Params, inputs: MethodInputs) -> None:
        super().__init__(params, inputs)
        self._check_city()
        n = inputs.n_regions
        flows = torch.as_tensor(inputs.views["flows"].adjacency.toarray())
        view = inputs.views["poi_similarity"]
        # The view leaves out the diagonal, which is 1.
        similarity = torch.as_tensor(view.adjacency.toarray()) + torch.eye(n)
        compared = torch.as_tensor(view.present)
        self.register_buffer("flows", flows / flows.mean(), persistent=False)
        self.register_buffer("has_poi", compared, persistent=False)
        self.register_buffer("compared", compared.nonzero().squeeze(1), persistent=False)
        self.register_buffer("similarity", similarity[:, compared], persistent=False)

    @abstractmethod
    def embed(self) -> Tensor:
        """Return the embeddings [N, dim] of all regions."""

    def forward(self, regions: Tensor) -> Tensor:
        return self.embed()[regions]

    def flow_loss(self, origin: Tensor, destination: Tensor, into: Tensor, regions: Tensor) -> Tensor:
        """Return `-Σ_ij m_ij log p(j | i) - Σ_ij w_ji log p(i | j)`, where the flows `m` are divided by their mean.

        `p(j | i) = exp(o_i · d_j) / Σ_k exp(o_i · d_k)` is the share of j among the flows out of i, and `p(i | j)` with
        `Σ_k exp(o_k · d_j)` is the share of i among the flows into j.

        Args:
            origin: vectors o [N, dim].
            destination: vectors d [N, dim].
            into: the weights w [N, N]; `m` transposed for the likelihood of the flows.
            regions: int64 [B]; the sum over their flows is scaled to all N regions.
        """
        out = _rows(origin, regions) @ destination.T
        # For all regions, the products of the second sum are the transposed products of the first.
        back = out.T if len(regions) == len(out.T) else _rows(destination, regions) @ origin.T
        loss = F.cross_entropy(out, _rows(self.flows, regions), reduction="sum")
        loss = loss + F.cross_entropy(back, _rows(into, regions), reduction="sum")
        return loss * (len(self.flows) / len(regions))

    def poi_loss(self, z: Tensor, regions: Tensor) -> Tensor:
        """Return the mean of `(z_i · z_j - s_ij)²` over i in `regions` (int64 [B]) and all j with points of interest.

        `z` is [N, dim]; `s_ij` is the similarity of points of interest.
        """
        rows = regions[self.has_poi[regions]]
        if not len(rows):
            return z.sum() * 0.0
        return F.mse_loss(_rows(z, rows) @ _rows(z, self.compared).T, _rows(self.similarity, rows))

    @classmethod
    def check(cls, params: Params, modalities: set[str], views: set[str]) -> list[tuple[str, str]]:
        return [
            ("name", f"{cls.__name__} needs the view '{name}'; give views.{name}: {SUGGESTED[name]}")
            for name in (*cls.relations, *cls.targets)
            if name not in views
        ]

    def _check_city(self) -> None:
        city, limit = self.inputs.city, self.params.dense_limit
        missing = [name for name in (*self.relations, *self.targets) if name not in self.inputs.views]
        problems = []
        if missing:
            message = f"{type(self).__name__} needs {', '.join(missing)}, for which the city lacks the data"
            problems.append(Problem(f"{message}; it needs flows between regions and points of interest", city.path))
        if city.n_regions > limit:
            message = f"the method compares all pairs of {city.n_regions:,} regions, which is more than {limit:,}"
            problems.append(Problem(f"{message}; raise the limit if memory suffices", key="method.dense_limit"))
        if problems:
            raise UserError(problems)

    def _apply(self, *args: Any, **kwargs: Any) -> RegionGraphMethod:
        """Move the graph together with the weights."""
        super()._apply(*args, **kwargs)
        self.graph = self.graph.to(self.has_poi.device)
        return self


def _rows(x: Tensor, rows: Tensor) -> Tensor:
    """Return rows of `x`; all of `x` for all rows, as their order does not change a sum."""
    return x if len(rows) == len(x) else x.index_select(0, rows)


def side_by_side(adjacencies: list[scipy.sparse.csr_array]) -> Graph:
    """Return one graph with the edges of several views over N regions, all of weight 1.

    Nodes `r N` to `r N + N - 1` belong to view r.
    """
    n = adjacencies[0].shape[0]
    entries = [adjacency.tocoo() for adjacency in adjacencies]
    edges = [torch.as_tensor((r * n + a.row.astype(np.int64)) * n + a.col) for r, a in enumerate(entries)]
    positions = torch.cat(edges)
    return Graph.side_by_side(len(adjacencies), n, positions, torch.ones(len(positions)))
