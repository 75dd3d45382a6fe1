"""HREP: Zhou et al., "Heterogeneous Region Embedding with Prompt Learning", AAAI 2023; its region embedding (HRE).

In the order of the paper: the heterogeneous region graph, relation-aware graph embedding, self-attention over the
relations, attentive fusion, and the three losses. The prompt that the paper adds downstream is the head `hrep_prompt`.

As in the authors' code both sums of the flow loss are weighted by the flows out of a region; `into_weights: inflows`
weighs the second by the flows into it. Where this departs from that code, which says what the paper leaves open:
- There the four outputs of the graph embedding are unpacked in another order than they were returned, so that each
  loss meets the relation vector of another relation. Here each loss meets its own.
- There embeddings are taken with batch normalisation's running averages, which mix the four relations. The graph is
  whole in every step, so its own mean and variance serve in training and after.
- There scores were printed for every epoch and the best one named. Here the last epoch is the one kept.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from urbankit.graph.engine import propagate
from urbankit.graph.graph import Graph
from urbankit.graph.normalise import normalise
from urbankit.methods.base import Inputs
from urbankit_baselines.region_graphs import RegionGraphMethod
from urbankit_baselines.triplets import Triplets

SOURCE = {"source": "the authors' code"}


class HREP(RegionGraphMethod):
    """Region and relation embeddings of a heterogeneous graph: alike outflows, inflows, points of interest, neighbours.

    Needs the views `outflow`, `inflow`, `poi` and `neighbours`, whose edges count alike whatever their weights, and
    learns from the views `flows` and `poi_similarity` and from `neighbours` again.
    """

    relations = ("outflow", "inflow", "poi", "neighbours")

    class Params(RegionGraphMethod.Params):
        dim: int = Field(144, ge=1, description="Width of all embeddings.", json_schema_extra=SOURCE)
        layers: int = Field(3, ge=1, description="Layers of graph embedding.", json_schema_extra=SOURCE)
        heads: int = Field(
            4,
            ge=1,
            description="Heads of the self-attention over relations; they divide `dim`.",
            json_schema_extra=SOURCE,
        )
        dropout: float = Field(
            0.1,
            ge=0,
            lt=1,
            description="Dropout after each layer of graph embedding but the last.",
            json_schema_extra=SOURCE,
        )
        own_share: float = Field(
            0.05,
            ge=0,
            le=1,
            description="Share of a relation's own embedding beside that shared by self-attention, at the start; it is"
            " learned.",
            json_schema_extra=SOURCE,
        )
        margin: float = Field(
            1.0,
            gt=0,
            description="Margin of the neighbours' triplet loss.",
            json_schema_extra=SOURCE,
        )
        into_weights: Literal["outflows", "inflows"] = Field(
            "outflows",
            description="What weighs the second sum of the flow loss, for region j the shares of the regions i that its"
            " flows come from: the flows from i to j are `inflows`; the authors' code, by which the published numbers"
            " were made, takes the flows from j to i.",
            json_schema_extra=SOURCE,
        )
        flow_weight: float = Field(1.0, ge=0, description="Weight of the flow loss.")
        poi_weight: float = Field(1.0, ge=0, description="Weight of the loss of points of interest.")
        neighbour_weight: float = Field(1.0, ge=0, description="Weight of the neighbours' loss.")

        @model_validator(mode="after")
        def _heads_divide(self) -> HREP.Params:
            if self.dim % self.heads:
                raise ValueError(f"{self.heads} heads do not divide the width of {self.dim}")
            return self

    def __init__(self, params: Params, inputs: Inputs) -> None:
        super().__init__(params, inputs)
        self.dim = dim = params.dim
        count = len(self.relations)
        # Drawn once and not trained: regions and relations differ by them at first, and by the graph's layers after.
        self.register_buffer("region", torch.randn(inputs.n_regions, dim))
        self.register_buffer("relation", torch.randn(count, dim))
        self.graph_embedding = RelationAwareGraphEmbedding(dim, params.layers, params.dropout, inputs.engine)
        self.attention = nn.MultiheadAttention(dim, params.heads)
        self.shared = nn.Parameter(torch.full((count, 1, 1), 1 - params.own_share))
        self.fusion = AttentiveFusion(dim)
        self.triplets = Triplets(inputs.views["neighbours"].adjacency)

    def encode(self) -> tuple[Tensor, Tensor]:
        """The region embeddings [N, dim], and the relation embeddings [R, dim] that the losses see."""
        x, relation = self.graph_embedding(self.graph, self.region, self.relation)
        attended = self.attention(x, x, x, need_weights=False)[0]
        return self.fusion(torch.lerp(x, attended, self.shared)), relation

    def embed(self) -> Tensor:
        return self.encode()[0]

    def loss(self, regions: Tensor) -> dict[str, Tensor]:
        """Flow, points of interest and neighbours, each told by `e_i ⊙ r`, the embedding in the light of a relation."""
        region, relation = self.encode()
        outflow, inflow, poi, neighbours = region * relation.unsqueeze(1)
        into = self.flows if self.params.into_weights == "outflows" else self.flows.T
        losses = {
            "flow": self.flow_loss(outflow, inflow, into, regions),
            "poi": self.poi_loss(poi, regions),
            "neighbours": self.triplets.loss(neighbours, regions, self.params.margin),
        }
        weights = self.params.flow_weight, self.params.poi_weight, self.params.neighbour_weight
        return {"total": sum(w * value for w, value in zip(weights, losses.values(), strict=True)), **losses}

    def parts(self) -> dict[str, list[nn.Parameter]]:
        embedding, told = self.graph_embedding.parameters_by_use()
        return {
            "graph_encoder": embedding,
            "fusion": [*self.attention.parameters(), self.shared, *self.fusion.parameters()],
            "pretext": told,
        }


class RelationAwareGraphEmbedding(nn.Module):
    """Graph convolutions over each relation, of regions multiplied by the relation: `Â_r (h ⊙ r) W + b`.

    A layer's weights are the same for all relations. Every layer but the last is normalised, activated and added to
    what it was given; relations go through a linear map of their own at every layer.
    """

    def __init__(self, dim: int, layers: int, dropout: float, engine: str) -> None:
        super().__init__()
        self.engine, self.dropout = engine, nn.Dropout(dropout)
        # Normalisation takes away any bias but that of the last layer.
        self.convolutions = nn.ModuleList(nn.Linear(dim, dim, bias=i == layers - 1) for i in range(layers))
        for convolution in self.convolutions:
            nn.init.xavier_uniform_(convolution.weight)
        nn.init.zeros_(self.convolutions[-1].bias)
        self.norms = nn.ModuleList(RelationNorm(dim) for _ in range(layers - 1))
        self.relations = nn.ModuleList(nn.Linear(dim, dim) for _ in range(layers))

    def forward(self, graph: Graph, region: Tensor, relation: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings [R, N, dim] by relation of `region` [N, dim], and [R, dim] of `relation`, after the last layer.

        `graph` holds the graphs of the R relations side by side.
        """
        h = region.expand(len(relation), -1, -1)
        for convolution, norm, transform in zip(self.convolutions, [*self.norms, None], self.relations, strict=True):
            # Gathered before W: in the first layer nothing is trained before it, and no gradient goes further.
            told = convolution(self._gather(graph, h * relation.unsqueeze(1)))
            h = told if norm is None else self.dropout(h + F.leaky_relu(norm(told)))
            relation = transform(relation)
        return h, relation

    def parameters_by_use(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """What the embedding depends on, and what only the losses see: the last map of the relations."""
        told = list(self.relations[-1].parameters())
        return [p for p in self.parameters() if all(p is not other for other in told)], told

    def _gather(self, graph: Graph, x: Tensor) -> Tensor:
        normalised, own = normalise(graph, "symmetric")
        return propagate(normalised, x.flatten(0, 1), own, self.engine).view_as(x)


class RelationNorm(nn.Module):
    """Batch normalisation over the regions, for each relation by itself; scale and shift are the same for all."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(dim)), nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        """`x` [R, N, dim] with mean `bias` and standard deviation `weight` over the regions of a relation."""
        count, n, dim = x.shape
        channels = x.transpose(0, 1).reshape(n, count * dim)
        weight, bias = self.weight.repeat(count), self.bias.repeat(count)
        normalised = F.batch_norm(channels, None, None, weight, bias, training=True)
        return normalised.view(n, count, dim).transpose(0, 1)


class AttentiveFusion(nn.Module):
    """`Σ_r a_r f_r`, `a = softmax_r(mean over regions of q · LeakyReLU(W f_r + b))`."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, dim)
        self.query = nn.Parameter(torch.randn(dim))

    def forward(self, f: Tensor) -> Tensor:
        """[N, dim] of `f` [R, N, dim]."""
        scores = (F.leaky_relu(self.linear(f)) @ self.query).mean(dim=1)
        return torch.einsum("r,rnd->nd", scores.softmax(dim=0), f)
