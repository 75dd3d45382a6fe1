"""What the graph baselines MVURE and HREP share: the views they need and the two losses they both learn from.

Both encode all regions in every step, and compare every region with every other: `Σ_j` in their losses runs over the
whole city. That is exact, and takes matrices of N × N numbers, so `dense_limit` says up to which size.
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

# Where the recipe may not have a view, what to write into it.
SUGGESTED = {
    "outflow": "{name: flow_similarity, direction: out, top_k: 9}",
    "inflow": "{name: flow_similarity, direction: in, top_k: 9}",
    "poi": "{name: poi, counts: tf_idf, top_k: 9}",
    "neighbours": "{name: neighbours}",
    "flows": "{name: flows}",
    "poi_similarity": "{name: poi, counts: tf_idf, form: dense}",
}


class RegionGraphMethod(Method):
    """A method over several graphs of the same regions, trained to tell flows and similarity of points of interest.

    The views `flows` and `poi_similarity` are what it learns to tell, `relations` those it needs beside them. A recipe
    that lacks one of them is wrong, and so is a city that cannot serve one: `UserError`.
    """

    relations: ClassVar[tuple[str, ...]] = ()
    graph: Graph
    """The graphs to encode, as one graph."""
    flows: Tensor
    has_poi: Tensor
    compared: Tensor
    similarity: Tensor
    targets: ClassVar[tuple[str, ...]] = ("flows", "poi_similarity")

    class Params(component.Params):
        dense_limit: int = Field(
            5000,
            ge=2,
            description="Most regions: all pairs are compared, in matrices of N × N numbers (100 MB each for 5,000"
            " regions); HREP takes about ten of them, MVURE, whose heads each have one a view, about fifty.",
        )

    params: Params

    def __init__(self, params: Params, inputs: MethodInputs) -> None:
        super().__init__(params, inputs)
        self._refuse_what_cannot_be_trained()
        n = inputs.n_regions
        flows = torch.as_tensor(inputs.views["flows"].adjacency.toarray())
        similar = inputs.views["poi_similarity"]
        # A region is like itself, which the view leaves out.
        similarity = torch.as_tensor(similar.adjacency.toarray()) + torch.eye(n)
        compared = torch.as_tensor(similar.present)
        self.register_buffer("flows", flows / flows.mean(), persistent=False)
        self.register_buffer("has_poi", compared, persistent=False)
        self.register_buffer("compared", compared.nonzero().squeeze(1), persistent=False)
        self.register_buffer("similarity", similarity[:, compared], persistent=False)

    @abstractmethod
    def embed(self) -> Tensor:
        """Embeddings [N, dim] of all regions."""

    def forward(self, regions: Tensor) -> Tensor:
        return self.embed()[regions]

    def flow_loss(self, origin: Tensor, destination: Tensor, into: Tensor, regions: Tensor) -> Tensor:
        """`-Σ_ij m_ij log p(j | i) - Σ_ij w_ji log p(i | j)`, flows `m` divided by their mean.

        `p(j | i) = exp(o_i · d_j) / Σ_k exp(o_i · d_k)` is the share of j among the flows out of i, `p(i | j)` with
        `Σ_k exp(o_k · d_j)` that of i among the flows into j; `origin` o and `destination` d are [N, dim]. The weights
        w are `into` [N, N]: `m` transposed, for the likelihood of the flows. Of a mini-batch, the flows out of and into
        its regions (int64 [B]) stand for those of all N.
        """
        out = _rows(origin, regions) @ destination.T
        # Over all regions the products of the one sum are those of the other, transposed.
        back = out.T if len(regions) == len(out.T) else _rows(destination, regions) @ origin.T
        loss = F.cross_entropy(out, _rows(self.flows, regions), reduction="sum")
        loss = loss + F.cross_entropy(back, _rows(into, regions), reduction="sum")
        return loss * (len(self.flows) / len(regions))

    def poi_loss(self, z: Tensor, regions: Tensor) -> Tensor:
        """Mean of `(z_i · z_j - s_ij)²` for i in `regions` (int64 [B]) and all j that have points of interest.

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

    def _refuse_what_cannot_be_trained(self) -> None:
        city, limit = self.inputs.city, self.params.dense_limit
        lacking = [name for name in (*self.relations, *self.targets) if name not in self.inputs.views]
        problems = []
        if lacking:
            message = f"{type(self).__name__} needs {', '.join(lacking)}, for which the city lacks the data"
            problems.append(Problem(f"{message}; it needs flows between regions and points of interest", city.path))
        if city.n_regions > limit:
            message = f"{city.n_regions:,} regions, all pairs of them compared, are more than {limit:,}"
            problems.append(Problem(f"{message}; raise it if the memory serves", key="method.dense_limit"))
        if problems:
            raise UserError(problems)

    def _apply(self, *args: Any, **kwargs: Any) -> RegionGraphMethod:
        """As in torch; the graph follows the weights to their device."""
        super()._apply(*args, **kwargs)
        self.graph = self.graph.to(self.has_poi.device)
        return self


def _rows(x: Tensor, rows: Tensor) -> Tensor:
    """Return the rows of `x`; `x` itself for all rows, whose order does not matter to a sum."""
    return x if len(rows) == len(x) else x.index_select(0, rows)


def side_by_side(adjacencies: list[scipy.sparse.csr_array]) -> Graph:
    """The edges of several views over N regions, all of weight 1, as one graph: view r has nodes r N to r N + N - 1."""
    n = adjacencies[0].shape[0]
    entries = [adjacency.tocoo() for adjacency in adjacencies]
    cells = [torch.as_tensor((r * n + a.row.astype(np.int64)) * n + a.col) for r, a in enumerate(entries)]
    joined = torch.cat(cells)
    return Graph.side_by_side(len(adjacencies), n, joined, torch.ones(len(joined)))
