"""The views of many regions in training: a step encodes the nodes on its walks and those of its sampled pairs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from urbankit.graph.base import Encoded
from urbankit.graph.graph import Graph
from urbankit.graph.neighbour_sums import NeighbourSums
from urbankit.graph.sampled_pairs import SampledPairs, sample_pairs
from urbankit.graph.subgraph import Subgraphs
from urbankit.methods.urbanmmcl.multiview import MultiviewContrast

DrawMask = Callable[[int], Tensor]


@dataclass
class _Stored:
    """What the steps of an epoch share of a view.

    Attributes:
        learned: the view with the weights that its encoder learned so far, without gradient; walks follow them.
        sums: the sums over neighbours; None for an encoder that does without them.
    """

    learned: Graph
    sums: NeighbourSums | None


@dataclass(frozen=True)
class _Step:
    """A view in one step: its walks, its sampled pairs, and the nodes of both, distinct and sorted."""

    subgraphs: Subgraphs
    pairs: SampledPairs | None
    nodes: Tensor


class SampledViews:
    """Computes the embeddings of mini-batches and the losses of the graph encoders in time that N does not enter.

    Walks of an epoch follow the edge weights as they were at its beginning. The nodes on the walks, and those of the
    sampled pairs of the reconstruction, are encoded with the present weights and the features of their neighbours as
    last encoded; these carry a gradient where they are of the mini-batch. The weights of the edges between the nodes
    of a walk are those of these encodings.

    Args:
        views: the graphs and modules.
    """

    def __init__(self, views: MultiviewContrast) -> None:
        self.views = views
        self._stored: dict[str, _Stored] = {}

    @torch.no_grad()
    def refresh(self, x: Tensor) -> None:
        """Store the sums over neighbours and the learned weights of all edges, for node features `x` [N, width]."""
        everyone = torch.arange(len(x), device=x.device)
        for view, graph in self.views.graphs.items():
            encoder = self.views.graph_encoders[view]
            sums = encoder.neighbour_sums(graph, x)
            if sums is not None:
                encoded = encoder.encode_nodes(sums, everyone, x, sums.rows(everyone))
            elif encoder.needs_encoding:
                encoded = encoder(graph, x)
            else:
                encoded = Encoded(x)
            weight = encoder.edge_weight(graph, encoded, graph.src, graph.dst)
            self._stored[view] = _Stored(graph.with_weight(weight.detach()), sums)

    def step(
        self, x: Tensor, regions: Tensor, features: Tensor, draw_mask: DrawMask | None
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
        """Return the embeddings of a mini-batch, the losses of the graph encoders, and which regions were masked.

        Args:
            x: node features of all regions as last encoded, [N, width]; the rows of the mini-batch are replaced.
            regions: region indices, distinct int64 [B].
            features: their node features [B, width].
            draw_mask: returns for n nodes which of them are hidden from the subgraph encoders; None for none.

        Returns:
            The embeddings [B, d] by joined view; the losses by name; bool [B].
        """
        if not self._stored:
            self.refresh(x)
        difference = features.detach() - x[regions]
        x[regions] = features.detach()
        for stored in self._stored.values():
            if stored.sums is not None:
                stored.sums.change(regions, difference)
        steps = {view: self._draw(view, regions) for view in self.views.graphs}
        nodes = torch.cat([regions, *(step.nodes for step in steps.values())]).unique()
        of_batch = torch.searchsorted(nodes, regions)
        rows = x.index_select(0, nodes).index_copy(0, of_batch, features)
        mask = torch.zeros_like(nodes, dtype=torch.bool) if draw_mask is None else draw_mask(len(nodes))
        embeddings: dict[str, Tensor] = {}
        losses: dict[str, Tensor] = {}
        for view, step in steps.items():
            x_view = rows.index_select(0, torch.searchsorted(nodes, step.nodes))
            walks, of_view = self._encode(view, step, x_view, regions, features, x)
            losses |= {f"{view} {name}": value for name, value in of_view.items()}
            on_walks = step.subgraphs.node.unique()
            at = torch.searchsorted(nodes, on_walks)
            visible = rows.index_select(0, at).masked_fill(mask.index_select(0, at).unsqueeze(1), 0.0)
            subgraphs = replace(step.subgraphs, graph=walks, node=torch.searchsorted(on_walks, step.subgraphs.node))
            embeddings[view] = self.views.subgraph_encoders[view].embed(subgraphs, visible, self.views.readout)
        return self.views.groups(embeddings, self.views.present_of(regions)), losses, mask[of_batch]

    def _draw(self, view: str, regions: Tensor) -> _Step:
        graph, learned = self.views.graphs[view], self._stored[view].learned
        subgraphs = self.views.subgraph.sample(learned, learned.weight, regions)  # eq. 22
        rows = regions[self.views.present[view][regions]]
        pairs = sample_pairs(graph, rows) if len(rows) and self._stored[view].sums is not None else None
        nodes = torch.cat([subgraphs.node, pairs.nodes] if pairs else [subgraphs.node]).unique()
        return _Step(subgraphs, pairs, nodes)

    def _encode(
        self, view: str, step: _Step, x: Tensor, regions: Tensor, features: Tensor, everyone: Tensor
    ) -> tuple[Graph, dict[str, Tensor]]:
        """The walks of a view with learned weights, and the losses; `x` are the features [n, width] of its nodes."""
        graph, encoder, sums = self.views.graphs[view], self.views.graph_encoders[view], self._stored[view].sums
        local, losses = torch.searchsorted(step.nodes, step.subgraphs.node), {}
        if sums is not None:
            neighbours = sums.rows(step.nodes)
            if self.views.detached:
                x = x.detach()
            elif features.requires_grad:
                neighbours = neighbours + sums.gradient_of(features, regions, step.nodes)
            encoded = encoder.encode_nodes(sums, step.nodes, x, neighbours)  # eq. 17, 18
            if step.pairs is not None:
                losses = encoder.sampled_losses(graph, encoded, step.nodes, step.pairs)  # eq. 20, 21
            z = encoded.z.index_select(0, local)
        elif encoder.needs_encoding:
            encoded, losses = self._encode_all(view, regions, features, everyone)
            z = encoded.z.index_select(0, step.subgraphs.node)
        else:
            z = x.index_select(0, local)
        of_walks = step.subgraphs.graph
        weight = encoder.edge_weight(of_walks, Encoded(z), of_walks.src, of_walks.dst)  # eq. 19
        return of_walks.with_weight(weight), losses

    def _encode_all(
        self, view: str, regions: Tensor, features: Tensor, everyone: Tensor
    ) -> tuple[Encoded, dict[str, Tensor]]:
        """A view by an encoder that needs the whole graph."""
        graph, encoder = self.views.graphs[view], self.views.graph_encoders[view]
        x = everyone.index_copy(0, regions, features)
        encoded = encoder(graph, x.detach() if self.views.detached else x)
        rows = regions[self.views.present[view][regions]]
        return encoded, encoder.losses(graph, encoded, rows) if len(rows) else {}
