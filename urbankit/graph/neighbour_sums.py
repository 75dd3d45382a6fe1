"""The sums over neighbours of all nodes, kept up to date while the features of a few nodes change."""

from __future__ import annotations

import torch
from torch import Tensor

from urbankit.graph.engine import propagate
from urbankit.graph.graph import Graph, positions_in, row_entries
from urbankit.graph.normalise import Normalisation, normalise
from urbankit.utils.torch_modules import mean_and_std


class NeighbourSums:
    """`Â X` of all nodes, with which a layer `Â X W + b` encodes any node without touching its neighbours.

    A change of the features of a node reaches the sums of the nodes that have an edge to it. The sums therefore equal
    `Â X` at all times, also at a node with an edge to all others.

    Args:
        graph: the view.
        how: how its weights are normalised.
        x: node features, [N, d]; they stay as they are.
        engine: what computes the first sums.

    Attributes:
        mean, std: mean and standard deviation [d] of `x`; they stay while features change.
    """

    def __init__(self, graph: Graph, how: Normalisation, x: Tensor, engine: str = "auto") -> None:
        self._graph, self._self_weight = normalise(graph, how)
        self._sums = propagate(self._graph, x.detach(), self._self_weight, engine)
        self.mean, self.std = mean_and_std(x.detach())

    def rows(self, nodes: Tensor) -> Tensor:
        """Return `Â X` [n, d] of `nodes` (int64 [n])."""
        return self._sums.index_select(0, nodes)

    def weight(self, nodes: Tensor) -> Tensor:
        """Return the row sums of Â [n] of `nodes` (int64 [n]): `Â X` of features that are 1."""
        return self._graph.cached_with_weights("row sums", self._row_sums).index_select(0, nodes)

    def change(self, nodes: Tensor, difference: Tensor) -> None:
        """Add `difference` [B, d] to the features of `nodes`, distinct int64 [B]."""
        column, row, weight = self._edges_to(nodes)
        self._sums.index_add_(0, row, weight.unsqueeze(1) * difference.index_select(0, column))
        self._sums.index_add_(0, nodes, self._self_weight.index_select(0, nodes).unsqueeze(1) * difference)

    def gradient_of(self, x: Tensor, changed: Tensor, nodes: Tensor) -> Tensor:
        """Return zeros [n, d] that carry the gradient of `Â X` of `nodes` to the features `x` [B, d] of `changed`.

        `nodes` are distinct and sorted, int64 [n]; `changed` is distinct, int64 [B].
        """
        column, row, weight = self._edges_to(changed)
        row = torch.cat([row, changed])
        column = torch.cat([column, torch.arange(len(changed), device=changed.device)])
        weight = torch.cat([weight, self._self_weight.index_select(0, changed)])
        position, listed = positions_in(nodes, row)
        messages = weight[listed].unsqueeze(1) * (x - x.detach()).index_select(0, column[listed])
        return x.new_zeros(len(nodes), x.shape[1]).index_add(0, position[listed], messages)

    def _edges_to(self, nodes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The edges to `nodes` (int64 [B]): the position of the end in `nodes`, the start, the normalised weight."""
        indptr, src, order = self._graph.transposed()
        position, entries = row_entries(indptr, nodes)
        return position, src.take(entries), self._graph.weight.take(order.take(entries))

    def _row_sums(self) -> Tensor:
        return self._self_weight.scatter_add(0, self._graph.src, self._graph.weight)
