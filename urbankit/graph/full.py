"""The whole view as the subgraph of every region: the ablation without random walks."""

from __future__ import annotations

import torch
from torch import Tensor

from urbankit.graph.graph import Graph
from urbankit.graph.subgraph import Subgraphs, SubgraphSampler


class FullGraph(SubgraphSampler):
    """All roots share the whole view with its (learned) weights; the readout of a root is its row."""

    def sample(
        self, graph: Graph, weight: Tensor, roots: Tensor, generator: torch.Generator | None = None
    ) -> Subgraphs:
        node = torch.arange(graph.n, device=graph.device)
        return Subgraphs(graph.with_weight(weight), node, torch.ones_like(node, dtype=torch.bool), roots, shared=True)
