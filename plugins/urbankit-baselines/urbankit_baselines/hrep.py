"""HREP: Zhou et al., "Heterogeneous Region Embedding with Prompt Learning", AAAI 2023; its region embedding (HRE).

In the order of the paper: the heterogeneous region graph, relation-aware graph embedding, self-attention over the
relations, attentive fusion, and the three losses. The prompt that the paper adds downstream is the head `hrep_prompt`.

The published numbers come from the authors' code. This module follows that code where the paper is silent:
- Both sums of the flow loss are weighted by the flows out of a region; `into_weights: inflows` weighs the second by the
  flows into it.
- The code unpacks the results of the graph embedding in a different order from the one they are returned in. Each loss
  therefore uses the vector of a different relation. The effect is large: the final loss of the neighbours is about a
  third of the one with `relation_vector: own`.
- Embeddings are computed with the running averages of batch normalisation, which mix the relations.

Departure: that code prints scores for every epoch and reports the best. Here the last epoch counts.
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

# The relation whose vector the authors' code uses in the loss of each of HREP's `relations`.
AUTHORS_VECTORS = ("poi", "outflow", "neighbours", "inflow")
# The order in which the authors' code normalises the relations.
NORMALISATION_ORDER = ("neighbours", "poi", "outflow", "inflow")


class HREP(RegionGraphMethod):
    """Embeddings of regions and of the four relations of a heterogeneous region graph.

    The graph has the edges of the views `outflow`, `inflow`, `poi` and `neighbours`, all of weight 1. The losses
    compare the embeddings with the views `flows`, `poi_similarity` and `neighbours`.
    """

    relations = ("outflow", "inflow", "poi", "neighbours")

    class Params(RegionGraphMethod.Params):
        dim: int = Field(144, ge=1, description="Width of all embeddings.", json_schema_extra=SOURCE)
        layers: int = Field(3, ge=1, description="Layers of graph embedding.", json_schema_extra=SOURCE)
        heads: int = Field(
            4,
            ge=1,
            description="Heads of the self-attention over relations; `dim` must be a multiple.",
            json_schema_extra=SOURCE,
        )
        dropout: float = Field(
            0.1,
            ge=0,
            lt=1,
            description="Dropout after each layer of graph embedding except the last.",
            json_schema_extra=SOURCE,
        )
        skip_weight: float = Field(
            0.05,
            ge=0,
            le=1,
            description="Initial weight of a relation's embedding before self-attention; the result of self-attention"
            " gets the rest. The weight is learned.",
            json_schema_extra=SOURCE,
        )
        margin: float = Field(
            1.0,
            gt=0,
            description="Margin of the triplet loss of neighbours.",
            json_schema_extra=SOURCE,
        )
        into_weights: Literal["outflows", "inflows"] = Field(
            "outflows",
            description="Weights of the second sum of the flow loss, over the regions i that flows into region j come"
            " from. `inflows`: the flows from i to j. `outflows`: the flows from j to i, as in the authors' code, which"
            " produced the published numbers.",
            json_schema_extra=SOURCE,
        )
        relation_vector: Literal["other", "own"] = Field(
            "other",
            description="The relation vector in a loss. `own`: the vector of the loss's relation. `other`: the vector"
            " that the authors' code uses, which is `poi` and `outflow` for flows, `neighbours` for points of interest"
            " and `inflow` for neighbours.",
            json_schema_extra=SOURCE,
        )
        flow_weight: float = Field(1.0, ge=0, description="Weight of the flow loss.")
        poi_weight: float = Field(1.0, ge=0, description="Weight of the loss of points of interest.")
        neighbour_weight: float = Field(1.0, ge=0, description="Weight of the loss of neighbours.")

        @model_validator(mode="after")
        def _heads_divide(self) -> HREP.Params:
            if self.dim % self.heads:
                raise ValueError(f"dim = {self.dim} must be a multiple of heads = {self.heads}")
            return self

    params: Params
    region: Tensor
    relation: Tensor
    gathered: Tensor

    def __init__(self, params: Params, inputs: MethodInputs) -> None:
        super().__init__(params, inputs)
        self.dim = dim = params.dim
        self.graph = relation_graph([inputs.views[name].adjacency for name in self.relations])
        count = len(self.relations)
        # Random and fixed: they tell regions and relations apart before the first layer.
        self.register_buffer("region", torch.randn(inputs.n_regions, dim))
        self.register_buffer("relation", torch.randn(count, dim))
        order = tuple(self.relations.index(name) for name in NORMALISATION_ORDER)
        self.graph_embedding = RelationAwareGraphEmbedding(dim, params.layers, params.dropout, order, inputs.engine)
        # The first layer aggregates fixed vectors, so the result is the same in every step.
        product = self.region.unsqueeze(1) * self.relation
        self.register_buffer("gathered", self.graph_embedding.gather(self.graph, product))
        self.attention = RelationAttention(dim, params.heads)
        self.shared = nn.Parameter(torch.full((count, 1), 1 - params.skip_weight))
        self.fusion = AttentiveFusion(dim)
        self.triplets = Triplets(inputs.views["neighbours"].adjacency)

    def encode(self) -> tuple[Tensor, Tensor]:
        """Return the region embeddings [N, dim] and the relation embeddings [R, dim]."""
        x, relation = self.graph_embedding(self.graph, self.region, self.relation, self.gathered)
        return self.fusion(torch.lerp(x, self.attention(x), self.shared)), relation

    def embed(self) -> Tensor:
        return self.encode()[0]

    def loss(self, regions: Tensor) -> dict[str, Tensor]:
        """Return the losses of flows, points of interest and neighbours, computed from `e_i ⊙ r`, r of the relation."""
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
        """Return `e_i ⊙ r` [R, N, dim] for the loss of each of the `relations`."""
        region, relation = self.encode()
        if self.params.relation_vector == "other":
            relation = torch.stack([relation[self.relations.index(name)] for name in AUTHORS_VECTORS])
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

    All relations share the weights of a layer. The result of every layer except the last is normalised, activated and
    added to the input of the layer. A linear map per layer transforms the relation vectors.
    """

    def __init__(self, dim: int, layers: int, dropout: float, order: tuple[int, ...], engine: str) -> None:
        super().__init__()
        self.engine, self.dropout = engine, dropout
        # Normalisation cancels the bias of all layers except the last.
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
        """Return the embeddings [N, R, dim] of regions in each relation, and of the relations [R, dim].

        Args:
            graph: the graph of `relation_graph`, of R relations over N regions.
            region: initial vectors [N, dim].
            relation: initial vectors [R, dim].
            gathered: `gather(graph, region ⊙ relation)`, [N, R, dim].
        """
        h = region.unsqueeze(1)
        for i, (convolution, transform) in enumerate(zip(self.convolutions, self.relations, strict=True)):
            message = convolution(self.gather(graph, h * relation) if i else gathered)
            h = message if i == len(self.norms) else self._drop(h + F.leaky_relu(self.norms[i](message)))
            relation = transform(relation)
        return h, relation

    def gather(self, graph: Graph, x: Tensor) -> Tensor:
        """Return `Â_r x_r` [N, R, dim] for `x` [N, R, dim]; before W, so the first layer's needs no gradient."""
        normalised, self_weight = normalise(graph, "symmetric")
        return propagate(normalised, x.flatten(0, 1), self_weight, self.engine).view_as(x)

    def parameters_by_use(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Return the parameters of the embedding, and those of the last relation map, which only the losses use."""
        pretext = list(self.relations[-1].parameters())
        return [p for p in self.parameters() if all(p is not other for other in pretext)], pretext

    def _drop(self, h: Tensor) -> Tensor:
        """Dropout; torch's draws single bits, which takes twice as long on a CPU."""
        if not self.training or not self.dropout:
            return h
        return h * torch.rand_like(h).ge_(self.dropout).div_(1 - self.dropout)


class RelationNorm(nn.Module):
    """Batch normalisation over the regions, separately for each relation, with one scale and shift for all.

    The running averages used after training mix the relations, as in the authors' code, which passes the relations
    one after the other through a single `BatchNorm1d`.
    """

    running_mean: Tensor
    running_var: Tensor
    momenta: Tensor

    def __init__(self, dim: int, order: tuple[int, ...], momentum: float = 0.1) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(dim)), nn.Parameter(torch.zeros(dim))
        self.register_buffer("running_mean", torch.zeros(dim))
        self.register_buffer("running_var", torch.ones(dim))
        # The weights of the old averages and of each relation after one update per relation, in `order`.
        self.decay = (1 - momentum) ** len(order)
        momenta = [momentum * (1 - momentum) ** (len(order) - 1 - order.index(r)) for r in range(len(order))]
        self.register_buffer("momenta", torch.tensor(momenta), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` [N, R, dim] with mean `bias` and standard deviation `weight` over the regions of a relation."""
        _, count, dim = x.shape
        mean, var, weight, bias = (
            values.repeat(count) for values in (self.running_mean, self.running_var, self.weight, self.bias)
        )
        # With momentum 1, `mean` and `var` are overwritten by those of this step.
        normalised = F.batch_norm(x.flatten(1), mean, var, weight, bias, self.training, momentum=1.0)
        if self.training:
            for average, batch in ((self.running_mean, mean), (self.running_var, var)):
                average.mul_(self.decay).add_(self.momenta @ batch.view(count, dim))
        return normalised.view_as(x)


class RelationAttention(nn.Module):
    """Multi-head self-attention among the relations of one region, with the initial weights of torch.

    It computes what `nn.MultiheadAttention` does, whose kernels are slow for sequences of four.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.project, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.project.weight)
        nn.init.zeros_(self.project.bias)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, R, dim] for `x` [N, R, dim]."""
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
        """Return [N, dim] for `f` [N, R, dim]."""
        scores = (F.leaky_relu(self.linear(f)) @ self.query).mean(dim=0)
        return (f * scores.softmax(dim=0).unsqueeze(1)).sum(dim=1)


def relation_graph(adjacencies: list[scipy.sparse.csr_array]) -> Graph:
    """Return one graph with the edges of R relations over N regions, all of weight 1.

    Node `i R + r` is region i in relation r; nodes of different relations have no edge.
    """
    one_hot = np.eye(len(adjacencies), dtype=np.float32)
    blocks = [scipy.sparse.kron(a != 0, np.diag(row), "csr") for a, row in zip(adjacencies, one_hot, strict=True)]
    return Graph.from_scipy(sum(blocks[1:], blocks[0]))
