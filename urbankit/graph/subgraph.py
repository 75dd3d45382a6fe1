"""The base of subgraph samplers, and the readout of the sampled subgraphs (eq. 24)."""

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
    """The subgraphs of B roots as one graph of M nodes.

    Attributes:
        graph: the subgraphs one after the other, each of `graph.width` nodes; its weights carry gradients.
        node: the region of each node, int64 [M].
        used: which nodes belong to a subgraph, bool [M]; the others only fill it up to the common width.
        root: the node of each root, int64 [B].
        shared: whether all roots share the whole graph.
    """

    graph: Graph
    node: Tensor
    used: Tensor
    root: Tensor
    shared: bool = False

    @property
    def n(self) -> int:
        """The number of roots."""
        return len(self.root)


class SubgraphSampler(Component[P], ABC):
    """Samples the subgraph around each region.

    Args:
        params: the component's validated `Params`.
    """

    def __init__(self, params: P) -> None:
        self.params = params

    @abstractmethod
    def sample(
        self, graph: Graph, weight: Tensor, roots: Tensor, generator: torch.Generator | None = None
    ) -> Subgraphs:
        """Return the subgraphs around `roots`.

        Args:
            graph: the view.
            weight: (learned) weights of the view's edges, [E].
            roots: region indices, int64 [B].
            generator: source of random numbers; None for torch's global generator.
        """


def readout(h: Tensor, subgraphs: Subgraphs, how: Readout = "mean") -> Tensor:
    """Return `sᵢ = READOUT(Hᵢ)` (eq. 24) of each root i: [B, d], or [B, 2 d] for `mean+root`.

    Args:
        h: node vectors of all subgraphs, [M, d].
        subgraphs: the subgraphs of B roots.
        how: `mean` over the nodes of a root's subgraph, `root` for the root's row alone, `mean+root` for both. If all
            roots share one graph, the root's row replaces the mean, which would be the same for all roots.
    """
    root = h.index_select(0, subgraphs.root)
    if how == "root":
        return root
    mean = root if subgraphs.shared else pool(h, mean_shares(subgraphs), subgraphs)
    return mean if how == "mean" else torch.cat([mean, root], dim=1)


def pool(h: Tensor, shares: Tensor, subgraphs: Subgraphs) -> Tensor:
    """Return the sum [B, d] of the vectors `h` [M, d] of each subgraph's nodes, weighted by `shares` [M]."""
    by_root = subgraphs.n, subgraphs.graph.width
    return torch.bmm(shares.view(*by_root, 1).mT, h.view(*by_root, h.shape[1])).squeeze(1)


def mean_shares(subgraphs: Subgraphs) -> Tensor:
    """Return the weights [M] with which `pool` computes the mean over each subgraph."""
    used = subgraphs.used.view(subgraphs.n, subgraphs.graph.width).float()
    return (used / used.sum(dim=1, keepdim=True)).flatten()


def root_shares(subgraphs: Subgraphs) -> Tensor:
    """Return the weights [M] with which `pool` returns the vector of each root."""
    return torch.zeros(len(subgraphs.node), device=subgraphs.node.device).index_fill(0, subgraphs.root, 1.0)
