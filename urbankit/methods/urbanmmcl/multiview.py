"""Section 3.4 of the UrbanMMCL paper: region graphs, subgraphs by random walks, and contrast between the views."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor, nn

from urbankit import registry
from urbankit.graph.base import Encoded, GraphEncoder, HeldOut
from urbankit.graph.graph import Graph
from urbankit.graph.normalise import scaled
from urbankit.graph.subgraph import Readout, Subgraphs, SubgraphSampler
from urbankit.methods.base import Matched, MethodInputs
from urbankit.methods.losses import info_nce
from urbankit.methods.urbanmmcl.params import Pair, Params
from urbankit.methods.urbanmmcl.view_groups import ViewGroups
from urbankit.utils.torch_modules import NamedModules


@dataclass(eq=False)
class MultiviewContrast:
    """Adaptive encoders of each view and the contrast between views (sections 3.4.2 to 3.4.4).

    The modules belong to the method, which names them in its checkpoints.

    Attributes:
        graphs: the views' adjacency A^(k), by view.
        present: which regions each view has, bool [N], by view.
        graph_encoders: VGAE of each view (eq. 17 to 21).
        subgraph: samples the subgraph of a region (eq. 22).
        subgraph_encoders: GCN of each view (eq. 23).
        readout: how a subgraph's node vectors become one (eq. 24).
        groups: joins grouped views; beyond the paper.
        projection_heads: map embeddings before their contrast; empty as in the paper.
        contrasts: pairs of joined views to contrast; None for all.
        temperature: τ of eq. 25.
        detached: whether node features carry no gradient into the graph encoders; beyond the paper.
    """

    graphs: dict[str, Graph]
    present: dict[str, Tensor]
    graph_encoders: NamedModules[GraphEncoder]
    subgraph: SubgraphSampler
    subgraph_encoders: NamedModules[GraphEncoder]
    readout: Readout
    groups: ViewGroups
    projection_heads: NamedModules[nn.Module]
    contrasts: list[Pair] | None
    temperature: float
    detached: bool = False

    def embeddings(
        self,
        x: Tensor,
        regions: Tensor,
        complete: Tensor | None = None,
        encoded: Mapping[str, tuple[Encoded, Graph]] | None = None,
    ) -> tuple[dict[str, Tensor], dict[str, Encoded]]:
        """Return the subgraph embeddings sᵢ^(k) of `regions` in each view (eq. 17 to 24), and the encoded nodes.

        `Hᵢ = GCN(Ĝᵢ, X[Vᵢ])` (eq. 23) and `sᵢ = READOUT(Hᵢ)` (eq. 24).

        Args:
            x: node features of all regions, [N, width].
            regions: region indices, int64 [B].
            complete: `x` without hidden features, for graph encoders that are `detached`; None if none are hidden.
            encoded: by view what `encode` returned for these features; None computes it.

        Returns:
            The embeddings [B, d] by joined view, and the encoded nodes of all regions by view.
        """
        embeddings, encodings = {}, {}
        for view in self.graphs:
            of_view = x if complete is None or not self.detached else complete
            encodings[view], learned = encoded[view] if encoded else self.encode(view, of_view)  # eq. 17 to 19
            subgraphs = self.subgraph.sample(learned, learned.weight, regions)  # eq. 22
            embeddings[view] = self.subgraph_encoders[view].embed(subgraphs, x, self.readout)  # eq. 23, 24
        return self.groups(embeddings, self.present_of(regions)), encodings

    def encode(self, view: str, x: Tensor) -> tuple[Encoded, Graph]:
        """Return the encoded nodes of a view (eq. 17, 18), and the view with its learned weights (eq. 19).

        Eq. 17: `μ = GCN_μ(A, X)`, `σ = GCN_σ(A, X)`.
        Eq. 18: `zᵢ = μᵢ + σᵢ ⊙ εᵢ`, `εᵢ ~ N(0, I)`.
        Eq. 19: `Ã_ij = Softplus(zᵢᵀ zⱼ)`.
        """
        graph, encoder = self.graphs[view], self.graph_encoders[view]
        encoded = encoder(graph, x.detach() if self.detached else x)  # eq. 17, 18
        return encoded, graph.with_weight(encoder.edge_weight(graph, encoded, graph.src, graph.dst))  # eq. 19

    def sample(self, view: str, x: Tensor, regions: Tensor) -> Subgraphs:
        """Return walks on the learned weights of a view.

        Eq. 22: `P(v_{t+1} | v_t) = Ã_{v_t, v_{t+1}} / Σ_{v_k ∈ N(v_t)} Ã_{v_t, v_k}`.
        """
        learned = self.encode(view, x)[1]
        return self.subgraph.sample(learned, learned.weight, regions)

    def losses(
        self, embeddings: Mapping[str, Tensor], encodings: Mapping[str, Encoded], regions: Tensor
    ) -> dict[str, Tensor]:
        """Return the terms of eq. 26, `L_mvgcl = Σₖ (L_recon^(k) + L_KL^(k)) + Σ_(k₁,k₂) L_con^(k₁,k₂)`, by name.

        Eq. 20: `L_recon = 1/N² Σᵢⱼ (A_ij - Ã_ij)²`.
        Eq. 21: `L_KL = -1/2 Σᵢⱼ (1 + log σ_ij² - μ_ij² - σ_ij²)`.
        Eq. 25: `L_con^(k₁,k₂) = -1/N Σᵢ log( exp(sim(sᵢ^(k₁), sᵢ^(k₂))/τ) / Σⱼ exp(sim(sᵢ^(k₁), sⱼ^(k₂))/τ) )`,
        over the regions that both views have.

        Args:
            embeddings: as `embeddings` returns them, [B, d] by joined view.
            encodings: as `embeddings` returns them, by view.
            regions: region indices, int64 [B].
        """
        losses: dict[str, Tensor] = {}
        present = self.present_of(regions)
        for view, encoded in encodings.items():
            rows = regions[present[view]]
            if len(rows):
                terms = self.graph_encoders[view].losses(self.graphs[view], encoded, rows)  # eq. 20, 21
                losses |= {f"{view} {name}": value for name, value in terms.items()}
        return losses | self.contrast_losses(embeddings, regions)

    def contrast_losses(self, embeddings: Mapping[str, Tensor], regions: Tensor) -> dict[str, Tensor]:
        """Return the contrasts of eq. 26 alone, by name."""
        return {
            f"{pair.block}–{pair.other}": info_nce(*_both(pair), self.temperature)  # eq. 25
            for pair in self._contrasted(embeddings, regions)
        }

    def held_out(
        self, embeddings: Mapping[str, Tensor], encodings: Mapping[str, Encoded], regions: Tensor
    ) -> dict[str, HeldOut]:
        """Return the losses of the graph encoders on held-out `regions`, and the contrasts beside chance, `log n`."""
        held_out: dict[str, HeldOut] = {}
        present = self.present_of(regions)
        for view, encoded in encodings.items():
            terms = self.graph_encoders[view].held_out(self.graphs[view], encoded, regions[present[view]])
            held_out |= {f"{view} {name}": term for name, term in terms.items()}
        for pair in self._contrasted(embeddings, regions):
            a, b = _both(pair)
            if len(a) > 1:
                name = f"{pair.block}–{pair.other}"
                held_out[name] = HeldOut(info_nce(a, b, self.temperature), a.new_tensor(len(a)).log())
        return held_out

    def matched(self, embeddings: Mapping[str, Tensor], regions: Tensor) -> list[Matched]:
        """Return the vectors of each contrast, from each of its views to the other."""
        pairs = self._contrasted(embeddings, regions)
        return [
            direction
            for pair in pairs
            for direction in (pair, Matched(pair.other, pair.block, pair.others, pair.vectors, pair.present))
        ]

    def _contrasted(self, embeddings: Mapping[str, Tensor], regions: Tensor) -> list[Matched]:
        """The vectors of each pair of joined views that is contrasted."""
        present = self.joined_present(regions)
        if self.projection_heads:
            embeddings = {view: self.projection_heads[view](s) for view, s in embeddings.items()}
        contrasted = []
        for first, second in combinations(embeddings, 2) if self.contrasts is None else self.contrasts:
            if first in embeddings and second in embeddings:
                both = present[first] & present[second]
                contrasted.append(Matched(first, second, embeddings[first], embeddings[second], both))
        return contrasted

    def joined_present(self, regions: Tensor) -> dict[str, Tensor]:
        """Which of `regions` (int64 [B]) each joined view has, bool [B]."""
        return self.groups.present(self.present_of(regions))

    def to(self, device: torch.device) -> None:
        """Move the graphs; the modules move with the method."""
        self.graphs = {view: graph.to(device) for view, graph in self.graphs.items()}
        self.present = {view: present.to(device) for view, present in self.present.items()}

    def present_of(self, regions: Tensor) -> dict[str, Tensor]:
        """Which of `regions` (int64 [B]) each view has, bool [B]."""
        return {view: present[regions] for view, present in self.present.items()}


def _both(pair: Matched) -> tuple[Tensor, Tensor]:
    """The vectors [n, d] of the regions that both views have."""
    return pair.vectors[pair.present], pair.others[pair.present]


def view_graphs(inputs: MethodInputs, view_scale: str) -> dict[str, Graph]:
    """The graph of each view; `unit` brings its weights to the range of 0 to 1, `literal` is the paper's."""
    graphs = {view: inputs.graph(view) for view in inputs.views}
    return {view: scaled(graph) for view, graph in graphs.items()} if view_scale == "unit" else graphs


def view_encoders(
    params: Params, inputs: MethodInputs, graphs: dict[str, Graph], width: int
) -> tuple[NamedModules[GraphEncoder], NamedModules[GraphEncoder]]:
    """The graph encoder and the subgraph encoder of each view, for the views' graphs and node features [N, width]."""
    graph_encoders: NamedModules[GraphEncoder] = NamedModules()
    subgraph_encoders: NamedModules[GraphEncoder] = NamedModules()
    for view in inputs.views:
        graph_encoders[view] = registry.create("graph_encoder", params.graph_encoder, width, inputs.engine)
        graph_encoders[view].start(graphs[view])
        subgraph_encoders[view] = registry.create("graph_encoder", params.subgraph_encoder, width, inputs.engine)
    return graph_encoders, subgraph_encoders
