"""HREP: Zhou et al., "Heterogeneous Region Embedding with Prompt Learning", AAAI 2023; its region embedding (HRE).

In the order of the paper: the heterogeneous region graph, relation-aware graph embedding, self-attention over the
relations, attentive fusion, and the three losses. The prompt that the paper adds downstream is the head `hrep_prompt`.

The published numbers come from the authors' code, and three things that the paper leaves open are as they are there:
- Both sums of the flow loss are weighted by the flows out of a region; `into_weights: inflows` weighs the second by the
  flows into it.
- The outputs of the graph embedding are unpacked in another order than they were returned, so that each loss meets the
  relation vector of another relation, which the graph of its own relation was not multiplied by. It is no small thing:
  the neighbours' loss ends at about a third of what it does with `told_by: own`.
- Embeddings are taken with batch normalisation's running averages, which mix the relations.

Where this departs from that code: there scores were printed for every epoch and the best one named. Here the last epoch
is the one kept.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import scipy.sparse
import torch
from pydantic import Field, model_validator
from pydantic.config import JsonDict
from torch import Tensor, nn
from torch.nn import functional as F

from urbankit.graph.engine import propagate
from urbankit.graph.graph import Graph
from urbankit.graph.normalise import normalise
from urbankit.methods.base import MethodInputs
from urbankit.utils.torch_modules import ModuleList
from urbankit_baselines.region_graphs import RegionGraphMethod
from urbankit_baselines.triplets import Triplets

SOURCE: JsonDict = {"source": "the authors' code"}

# Whose vector the loss of each of HREP's `relations` meets in the authors' code.
MET = ("poi", "outflow", "neighbours", "inflow")
# In which order the relations go through a layer of normalisation there.
NORMALISED = ("neighbours", "poi", "outflow", "inflow")


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
        told_by: Literal["other", "own"] = Field(
            "other",
            description="Whose relation vector a loss sees: that of its `own` relation, or of another one as in the"
            " authors' code: the flow loss those of `poi` and `outflow`, points of interest that of `neighbours`, and"
            " neighbours that of `inflow`.",
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

    params: Params
    region: Tensor
    relation: Tensor
    gathered: Tensor

    def __init__(self, params: Params, inputs: MethodInputs) -> None:
        super().__init__(params, inputs)
        self.dim = dim = params.dim
        self.graph = woven([inputs.views[name].adjacency for name in self.relations])
        count = len(self.relations)
        # Drawn once and not trained: regions and relations differ by them at first, and by the graph's layers after.
        self.register_buffer("region", torch.randn(inputs.n_regions, dim))
        self.register_buffer("relation", torch.randn(count, dim))
        order = tuple(self.relations.index(name) for name in NORMALISED)
        self.graph_embedding = RelationAwareGraphEmbedding(dim, params.layers, params.dropout, order, inputs.engine)
        # What the first layer gathers is the same in every step.
        product = self.region.unsqueeze(1) * self.relation
        self.register_buffer("gathered", self.graph_embedding.gather(self.graph, product))
        self.attention = RelationAttention(dim, params.heads)
        self.shared = nn.Parameter(torch.full((count, 1), 1 - params.own_share))
        self.fusion = AttentiveFusion(dim)
        self.triplets = Triplets(inputs.views["neighbours"].adjacency)

    def encode(self) -> tuple[Tensor, Tensor]:
        """The region embeddings [N, dim], and the relation embeddings [R, dim]."""
        x, relation = self.graph_embedding(self.graph, self.region, self.relation, self.gathered)
        return self.fusion(torch.lerp(x, self.attention(x), self.shared)), relation

    def embed(self) -> Tensor:
        return self.encode()[0]

    def loss(self, regions: Tensor) -> dict[str, Tensor]:
        """Flow, points of interest and neighbours, each predicted from `e_i ⊙ r`, r of its relation."""
        outflow, inflow, poi, neighbours = self.by_relation()
        into = self.flows if self.params.into_weights == "outflows" else self.flows.T
        losses = {
            "flow": self.flow_loss(outflow, inflow, into, regions),
            "poi": self.poi_loss(poi, regions),
            "neighbours": self.triplets.loss(neighbours, regions, self.params.margin),
        }
        weights = self.params.flow_weight, self.params.poi_weight, self.params.neighbour_weight
        weighted = [weight * value for weight, value in zip(weights, losses.values(), strict=True)]
        return {"total": sum(weighted, torch.zeros(())), **losses}

    def by_relation(self) -> Tensor:
        """`e_i ⊙ r` [R, N, dim] for the loss of each of the `relations`."""
        region, relation = self.encode()
        if self.params.told_by == "other":
            relation = torch.stack([relation[self.relations.index(name)] for name in MET])
        return region * relation.unsqueeze(1)

    def parts(self) -> dict[str, list[nn.Parameter]]:
        embedding, pretext = self.graph_embedding.parameters_by_use()
        return {
            "graph_encoder": embedding,
            "fusion": [*self.attention.parameters(), self.shared, *self.fusion.parameters()],
            "pretext": pretext,
        }


class RelationAwareGraphEmbedding(nn.Module):
    """Graph convolutions over each relation, of regions multiplied by the relation: `Â_r (h ⊙ r) W + b`.

    A layer's weights are the same for all relations. Every layer but the last is normalised, activated and added to
    what it was given; relations go through a linear map of their own at every layer.
    """

    def __init__(self, dim: int, layers: int, dropout: float, order: tuple[int, ...], engine: str) -> None:
        super().__init__()
        self.engine, self.dropout = engine, dropout
        # Normalisation takes away any bias but that of the last layer.
        self.convolutions: ModuleList[nn.Linear] = ModuleList(
            nn.Linear(dim, dim, bias=i == layers - 1) for i in range(layers)
        )
        for convolution in self.convolutions:
            nn.init.xavier_uniform_(convolution.weight)
        last = self.convolutions[-1]
        nn.init.zeros_(last.bias)
        self.norms = nn.ModuleList(RelationNorm(dim, order) for _ in range(layers - 1))
        self.relations = nn.ModuleList(nn.Linear(dim, dim) for _ in range(layers))

    def forward(self, graph: Graph, region: Tensor, relation: Tensor, gathered: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings [N, R, dim] by relation of `region` [N, dim], and [R, dim] of `relation`, after the last layer.

        `graph` holds the R relations, woven; `gathered` [N, R, dim] is `gather(graph, region ⊙ relation)`.
        """
        h = region.unsqueeze(1)
        for i, (convolution, transform) in enumerate(zip(self.convolutions, self.relations, strict=True)):
            message = convolution(self.gather(graph, h * relation) if i else gathered)
            h = message if i == len(self.norms) else self._drop(h + F.leaky_relu(self.norms[i](message)))
            relation = transform(relation)
        return h, relation

    def gather(self, graph: Graph, x: Tensor) -> Tensor:
        """`Â_r x_r` [N, R, dim] of `x` [N, R, dim]; gathered before W, so that no gradient goes through the first."""
        normalised, self_weight = normalise(graph, "symmetric")
        return propagate(normalised, x.flatten(0, 1), self_weight, self.engine).view_as(x)

    def parameters_by_use(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """What the embedding depends on, and what only the losses see: the last map of the relations."""
        told = list(self.relations[-1].parameters())
        return [p for p in self.parameters() if all(p is not other for other in told)], told

    def _drop(self, h: Tensor) -> Tensor:
        """Dropout; torch's own draws one bit at a time, which on a processor takes twice as long."""
        if not self.training or not self.dropout:
            return h
        return h * torch.rand_like(h).ge_(self.dropout).div_(1 - self.dropout)


class RelationNorm(nn.Module):
    """Batch normalisation over the regions, for each relation by itself; scale and shift are the same for all.

    So are the running averages that serve after training: as in the authors' code, where one layer of normalisation
    meets the relations one after the other, they mix them.
    """

    running_mean: Tensor
    running_var: Tensor
    parts: Tensor

    def __init__(self, dim: int, order: tuple[int, ...], momentum: float = 0.1) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(dim)), nn.Parameter(torch.zeros(dim))
        self.register_buffer("running_mean", torch.zeros(dim))
        self.register_buffer("running_var", torch.ones(dim))
        # What is left of the averages after all relations, and the part of each of them, the last in `order` the most.
        self.left = (1 - momentum) ** len(order)
        parts = torch.tensor(
            [momentum * (1 - momentum) ** (len(order) - 1 - order.index(r)) for r in range(len(order))]
        )
        self.register_buffer("parts", parts, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """`x` [N, R, dim] with mean `bias` and standard deviation `weight` over the regions of a relation."""
        _, count, dim = x.shape
        mean, var, weight, bias = (
            part.repeat(count) for part in (self.running_mean, self.running_var, self.weight, self.bias)
        )
        # At momentum 1 the averages given are overwritten by those of this step.
        normalised = F.batch_norm(x.flatten(1), mean, var, weight, bias, self.training, momentum=1.0)
        if self.training:
            for average, seen in ((self.running_mean, mean), (self.running_var, var)):
                average.mul_(self.left).add_(self.parts @ seen.view(count, dim))
        return normalised.view_as(x)


class RelationAttention(nn.Module):
    """Multi-head self-attention of the relations of one region to each other, with torch's initial weights.

    As `nn.MultiheadAttention`, whose kernels are made for long sequences: here they are as long as there are relations.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.project, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.project.weight)
        nn.init.zeros_(self.project.bias)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        """[N, R, dim] of `x` [N, R, dim]."""
        query, key, value = self.project(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        scores = query @ key.mT * query.shape[-1] ** -0.5
        return self.out((scores.softmax(dim=-1) @ value).transpose(1, 2).flatten(2))


class AttentiveFusion(nn.Module):
    """`Σ_r a_r f_r`, `a = softmax_r(mean over regions of q · LeakyReLU(W f_r + b))`."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, dim)
        self.query = nn.Parameter(torch.randn(dim))

    def forward(self, f: Tensor) -> Tensor:
        """[N, dim] of `f` [N, R, dim]."""
        scores = (F.leaky_relu(self.linear(f)) @ self.query).mean(dim=0)
        return (f * scores.softmax(dim=0).unsqueeze(1)).sum(dim=1)


def woven(adjacencies: list[scipy.sparse.csr_array]) -> Graph:
    """The edges of R relations over N regions, all of weight 1, as one graph: node i R + r is i in relation r."""
    places = np.eye(len(adjacencies), dtype=np.float32)
    parts = [scipy.sparse.kron(a != 0, np.diag(place), "csr") for a, place in zip(adjacencies, places, strict=True)]
    return Graph.from_scipy(sum(parts[1:], parts[0]))
