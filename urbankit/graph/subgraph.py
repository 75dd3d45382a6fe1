"""What a subgraph component is: it draws the subgraphs of regions; and the readout of what was drawn."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from urbankit.graph.graph import Graph
from urbankit.registry.component import Component, P

Readout = Literal["mean", "root", "mean+root"]


@dataclass(frozen=True)
class Subgraphs:
    """The subgraphs of B roots, side by side in one graph of M nodes.

    Node m stands for region `node[m]` (int64 [M]); `root` (int64 [B]) are the nodes of the roots themselves. All
    subgraphs have the same number of nodes, `graph.width`: those not `used` (bool [M]) fill up, have no edges and
    count for nothing. Where `shared` all roots have the whole graph. Gradients flow through the weights of `graph`.
    """

    graph: Graph
    node: Tensor
    used: Tensor
    root: Tensor
    shared: bool = False

    @property
    def n(self) -> int:
        """How many roots there are."""
        return len(self.root)


class SubgraphSampler(Component[P], ABC):
    """Draws the graph around each region."""

    def __init__(self, params: P) -> None:
        self.params = params

    @abstractmethod
    def sample(
        self, graph: Graph, weight: Tensor, roots: Tensor, generator: torch.Generator | None = None
    ) -> Subgraphs:
        """The subgraphs around `roots` (int64 [B]) in a view with (learned) weights [E] on the view's edges.

        Random draws come from `generator`, torch's global one by default.
        """


def readout(h: Tensor, subgraphs: Subgraphs, how: Readout = "mean") -> Tensor:
    """Return `sᵢ = READOUT(Hᵢ)` (eq. 24) of each root i: [B, d], or [B, 2 d] for `mean+root`.

    Args:
        h: node vectors of all subgraphs, [M, d].
        subgraphs: the subgraphs of B roots.
        how: `mean` over the nodes of a root's subgraph, `root` for the root's row alone, `mean+root` for both. If all
            roots share one graph, the root's row replaces the mean, which would be the same for all roots.
    """
    own = h.index_select(0, subgraphs.root)
    if how == "root":
        return own
    mean = own if subgraphs.shared else pool(h, mean_shares(subgraphs), subgraphs)
    return mean if how == "mean" else torch.cat([mean, own], dim=1)


def pool(h: Tensor, shares: Tensor, subgraphs: Subgraphs) -> Tensor:
    """The sum [B, d] of the vectors `h` [M, d] of each subgraph's nodes, weighted by `shares` [M]."""
    by_root = subgraphs.n, subgraphs.graph.width
    return torch.bmm(shares.view(*by_root, 1).mT, h.view(*by_root, h.shape[1])).squeeze(1)


def mean_shares(subgraphs: Subgraphs) -> Tensor:
    """The shares [M] with which `pool` takes the mean over each subgraph."""
    used = subgraphs.used.view(subgraphs.n, subgraphs.graph.width).float()
    return (used / used.sum(dim=1, keepdim=True)).flatten()


def root_shares(subgraphs: Subgraphs) -> Tensor:
    """The shares [M] with which `pool` takes each root alone."""
    return torch.zeros(len(subgraphs.node), device=subgraphs.node.device).index_fill(0, subgraphs.root, 1.0)
