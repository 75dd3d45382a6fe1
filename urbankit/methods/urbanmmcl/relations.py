"""The loss by which the similarity of regions in a view's embedding follows the view; beyond the UrbanMMCL paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import scipy.sparse
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from urbankit.graph.base import HeldOut
from urbankit.graph.graph import Graph
from urbankit.graph.view_ranks import view_ranks
from urbankit.methods.base import MethodInputs
from urbankit.methods.urbanmmcl.params import Params
from urbankit.utils.torch_modules import NamedModules
from urbankit.views.base import ViewGraph

VARIANCE = 1 / 12
"""Of ranks from 0 to 1."""


@dataclass
class Relation:
    """The pairs of a view by their rank.

    Attributes:
        ranks: the view with the ranks of its weights, from 0 to 1, as weights; its pairs have both directions.
        rank_without: the rank of a pair without an edge, by city, [cities].
        weight_without: how much such a pair counts, that of a pair with an edge being 1; likewise.
        present: which regions the view has, bool [N].
    """

    ranks: Graph
    rank_without: Tensor
    weight_without: Tensor
    present: Tensor

    @classmethod
    def of(cls, view: ViewGraph, cities: Sequence[int]) -> Relation:
        """The pairs of a view over the regions of `cities`, which have so many regions each.

        Ranks are those among the pairs of a city. A pair of two cities is none.
        """
        graphs, without, weights = [], [], []
        for start, end in pairwise(np.cumsum([0, *cities]).tolist()):
            present = int(view.present[start:end].sum())
            ranks, rank, share = view_ranks(view.adjacency[start:end, start:end], present)
            graphs.append(ranks)
            without.append(rank)
            weights.append(min(1.0, share / max(1 - share, 1e-9)) if share else 1.0)
        joined = scipy.sparse.csr_array(scipy.sparse.block_diag(graphs)) if len(graphs) > 1 else graphs[0]
        graph = Graph.from_scipy(joined, cities)
        return cls(graph, torch.tensor(without), torch.tensor(weights), torch.as_tensor(view.present))

    def to(self, device: torch.device) -> Relation:
        """The same on a device."""
        tensors = (tensor.to(device) for tensor in (self.rank_without, self.weight_without, self.present))
        return Relation(self.ranks.to(device), *tensors)


class Relations(nn.Module):
    """The relation loss of each view.

    Args:
        relations: by view.
        members: the views of each joined view.
    """

    def __init__(self, relations: dict[str, Relation], members: Mapping[str, list[str]]) -> None:
        super().__init__()
        self.relations, self.members = relations, members
        # The cosine is in -1 to 1, the rank in 0 to 1; the ranks of many similar pairs need a slope above 1/2.
        self.lines: NamedModules[nn.Module] = NamedModules()
        for view in relations:
            self.lines[view] = Line()

    def losses(
        self, embeddings: Mapping[str, Tensor], regions: Tensor, selected: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return by view the mean of `(rank_ij - a cos(sᵢ, sⱼ) - b)²` over the pairs of `regions` (int64 [B]).

        The cosine is that of the joined views' `embeddings` [B, d] about their mean over the mini-batch. Pairs with and
        without an edge count alike where the view has edges between less than half of the pairs. The mean is divided by
        `VARIANCE`, the error of a constant over evenly distributed ranks. `selected`, bool [B], says which of the
        regions take part; None for all.
        """
        losses = {}
        for name, views in self.members.items():
            for view in views:
                if view in self.relations:
                    error, weight = self._errors(view, embeddings[name], regions, selected)
                    losses[f"{view} relation"] = _mean(error.square(), weight) / VARIANCE
        return losses

    def held_out(self, embeddings: Mapping[str, Tensor], regions: Tensor) -> dict[str, HeldOut]:
        """Return by view the loss, beside that of the mean rank as the prediction of every pair."""
        references = {}
        for view in self.relations:
            rank, weight = self._pairs(view, regions)
            references[f"{view} relation"] = _mean((rank - _mean(rank, weight)).square(), weight) / VARIANCE
        losses = self.losses(embeddings, regions)
        return {name: HeldOut(loss, references[name]) for name, loss in losses.items() if references[name] > 0}

    def move(self, device: torch.device) -> None:
        """Move the graphs to a device; the weights move as those of any module."""
        self.relations = {view: relation.to(device) for view, relation in self.relations.items()}

    def _errors(self, view: str, s: Tensor, regions: Tensor, selected: Tensor | None) -> tuple[Tensor, Tensor]:
        rows = self.relations[view].present[regions]
        if selected is not None:
            rows = rows & selected
        s, regions = s[rows], regions[rows]
        unit = F.normalize(s - s.mean(dim=0), dim=1, eps=1e-6)
        rank, weight = self._pairs(view, regions)
        return rank - self.lines[view](unit @ unit.T), weight

    def _pairs(self, view: str, regions: Tensor) -> tuple[Tensor, Tensor]:
        """Rank and weight [n, n] of all pairs of the n `regions` that the view has; a region and itself weigh 0."""
        relation = self.relations[view]
        rows = regions[relation.present[regions]]
        edges = relation.ranks.edge_ids_among(rows)
        has_edge = edges >= 0
        city = relation.ranks.city_of(rows)
        rank = relation.rank_without[city].unsqueeze(1).repeat(1, len(rows))
        rank[has_edge] = relation.ranks.weight[edges[has_edge].long()]
        weight = torch.where(has_edge, 1.0, relation.weight_without[city].unsqueeze(1))
        weight = weight * (city.unsqueeze(1) == city)
        return rank, weight.fill_diagonal_(0.0)


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum() / weight.sum().clamp(min=1e-6)


class Line(nn.Module):
    """A learned line, `a x + b`."""

    def __init__(self) -> None:
        super().__init__()
        self.slope, self.offset = nn.Parameter(torch.tensor(0.5)), nn.Parameter(torch.tensor(0.5))

    def forward(self, x: Tensor) -> Tensor:
        return self.slope * x + self.offset


def view_relations(params: Params, inputs: MethodInputs, members: Mapping[str, list[str]]) -> Relations:
    """The relation loss of each view; of none if its weight is 0."""
    views = inputs.views if params.relation else {}
    return Relations({view: Relation.of(graph, inputs.city.sizes) for view, graph in views.items()}, members)
