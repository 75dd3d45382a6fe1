"""What a subgraph component is: it draws the surroundings of regions; and the readout of what was drawn."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from urbankit.component import Component
from urbankit.graph.graph import Graph

Readout = Literal["mean", "root", "mean+root"]


@dataclass(frozen=True)
class Subgraphs:
    """The surroundings of B roots as one graph of M nodes.

    `node` int64 [M] says which region a node is, `slot` int64 [M] (ascending) whose surroundings it belongs to, `root`
    int64 [B] which node is the root itself. `slot` is None where all roots share one graph. Gradients flow through the
    weights of `graph`.
    """

    graph: Graph
    node: Tensor
    slot: Tensor | None
    root: Tensor

    @property
    def n(self) -> int:
        """How many roots there are."""
        return len(self.root)


class SubgraphSampler(Component, ABC):
    """Draws the graph around each region."""

    def __init__(self, params: Component.Params) -> None:
        self.params = params

    @abstractmethod
    def sample(
        self, graph: Graph, weight: Tensor, roots: Tensor, generator: torch.Generator | None = None
    ) -> Subgraphs:
        """The surroundings of `roots` (int64 [B]) in a view with (learned) weights [E] on the view's edges.

        Random draws come from `generator`, torch's global one by default.
        """


def readout(h: Tensor, subgraphs: Subgraphs, how: Readout = "mean") -> Tensor:
    """Eq. 24: one vector a root, [B, d], or [B, 2 d] for `mean+root`, of the node vectors `h` [M, d].

    `mean` is over the nodes of a root's subgraph, `root` its own row. Where all roots share one graph its mean would
    tell none of them apart, and the own row is taken for both.
    """
    own = h.index_select(0, subgraphs.root)
    if how == "root":
        return own
    mean = own if subgraphs.slot is None else pool(h * _equal_shares(subgraphs).unsqueeze(1), subgraphs)
    return mean if how == "mean" else torch.cat([mean, own], dim=1)


def readout_shares(subgraphs: Subgraphs, how: Readout = "mean") -> Tensor:
    """The readout as weights of nodes, [M, 1] or [M, 2] for `mean+root`: `pool(h * shares)` is `readout(h)`."""
    shares = []
    if how != "root":
        shares.append(_equal_shares(subgraphs))
    if how != "mean":
        shares.append(torch.zeros_like(subgraphs.node, dtype=torch.float32).index_fill(0, subgraphs.root, 1.0))
    return torch.stack(shares, dim=1)


def pool(h: Tensor, subgraphs: Subgraphs) -> Tensor:
    """The sum [B, d] over the nodes of each subgraph of `h` [M, d]; the roots do not share one graph."""
    return h.new_zeros(subgraphs.n, h.shape[1]).index_add(0, subgraphs.slot, h)


def _equal_shares(subgraphs: Subgraphs) -> Tensor:
    sizes = torch.bincount(subgraphs.slot, minlength=subgraphs.n)
    return sizes.to(torch.float32).reciprocal().index_select(0, subgraphs.slot)
