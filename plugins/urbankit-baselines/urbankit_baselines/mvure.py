"""MVURE: Zhang et al., "Multi-View Joint Graph Representation Learning for Urban Region Embedding", IJCAI 2020.

In the order of the paper: region graphs of several views, graph attention in each, cross-view information sharing,
adaptive fusion, and the objectives of mobility and of points of interest. All of them are as in the authors' code, by
which the published numbers were made: both views of mobility have the same edges, the strongest flows, and in the
sharing a region attends to all regions of the same view.

Where this departs from that code:
- The view and the loss of check-ins are left out, as in the UrbanMMCL paper: check-ins are a target there.
- There weak edges are cut region by region, so that which of them stay depends on the order of the regions. Here an
  edge stays if it is among the strongest of both its regions.
- There the embedding is taken with dropout. Here dropout ends with training.
"""

from __future__ import annotations

import scipy.sparse
import torch
from pydantic import Field
from pydantic.config import JsonDict
from torch import Tensor, nn
from torch.nn import functional as F

from urbankit.graph.graph import Graph
from urbankit.methods.base import MethodInputs
from urbankit_baselines.region_graphs import RegionGraphMethod, side_by_side

SOURCE: JsonDict = {"source": "the authors' code"}


class MVURE(RegionGraphMethod):
    """Graph attention over views of mobility and of points of interest, sharing between views, and adaptive fusion.

    Needs the views `flows` and `poi_similarity`; the strongest of them are the edges of its graphs, which count alike
    whatever their weights.
    """

    class Params(RegionGraphMethod.Params):
        flow_edges: int = Field(
            20,
            ge=1,
            description="A flow is an edge if it is among the so many largest both out of its origin and into its"
            " destination.",
            json_schema_extra=SOURCE,
        )
        poi_edges: int = Field(
            15,
            ge=1,
            description="Two regions have an edge if each is among the so many most alike in points of interest to the"
            " other, a region being most alike to itself.",
            json_schema_extra=SOURCE,
        )
        features: int = Field(
            250,
            ge=2,
            description="Width of the random features that regions start from.",
            json_schema_extra=SOURCE,
        )
        heads: int = Field(12, ge=1, description="Heads of graph attention, side by side.", json_schema_extra=SOURCE)
        head_width: int = Field(12, ge=1, description="Width of one head.", json_schema_extra=SOURCE)
        dropout: float = Field(
            0.2, ge=0, lt=1, description="Dropout of attention coefficients.", json_schema_extra=SOURCE
        )
        sharing_heads: int = Field(
            4, ge=1, description="Heads of the attention between regions, averaged.", json_schema_extra=SOURCE
        )
        sharing_width: int = Field(48, ge=1, description="Width of its queries and keys.", json_schema_extra=SOURCE)
        shared: float = Field(
            0.8,
            ge=0,
            le=1,
            description="Share of what a region hears from all regions in its embedding; the rest is its own.",
            json_schema_extra=SOURCE,
        )
        own_share: float = Field(
            0.5,
            ge=0,
            le=1,
            description="Share of a view's own embedding in what its loss sees; the rest is the fused one.",
            json_schema_extra=SOURCE,
        )

    params: Params
    features: Tensor

    def __init__(self, params: Params, inputs: MethodInputs) -> None:
        super().__init__(params, inputs)
        p = params
        self.dim = p.heads * p.head_width
        edges = strongest(self.flows, p.flow_edges)
        alike = torch.zeros_like(self.flows).index_copy(1, self.compared, self.similarity)
        self.graph = side_by_side([edges, edges, strongest(alike, p.poi_edges)])
        # Drawn once and not trained.
        features = torch.empty(inputs.n_regions, p.features).uniform_(-1, 1)
        variance, mean = torch.var_mean(features, dim=1, correction=0, keepdim=True)
        self.register_buffer("features", (features - mean) * variance.rsqrt())
        self.attention = GraphAttention(3, p.features, p.heads, p.head_width, p.dropout)
        self.sharing = RegionSharing(self.dim, p.sharing_heads, p.sharing_width)
        self.fusion = AdaptiveFusion(self.dim)

    def encode(self) -> tuple[Tensor, Tensor]:
        """The fused embeddings [N, dim], and those of each view [V, N, dim]."""
        views = self.attention(self.graph, self.features)
        views = self.params.shared * self.sharing(views) + (1 - self.params.shared) * views
        return self.fusion(views), views

    def embed(self) -> Tensor:
        return self.encode()[0]

    def loss(self, regions: Tensor) -> dict[str, Tensor]:
        """Flow and points of interest, told by each view's embedding together with the fused one."""
        fused, views = self.encode()
        own = self.params.own_share
        outflow, inflow, poi = own * views + (1 - own) * fused
        flow, similar = self.flow_loss(outflow, inflow, self.flows.T, regions), self.poi_loss(poi, regions)
        return {"total": flow + similar, "flow": flow, "poi": similar}

    def parts(self) -> dict[str, list[nn.Parameter]]:
        fusion = [*self.sharing.parameters(), *self.fusion.parameters()]
        return {"graph_encoder": list(self.attention.parameters()), "fusion": fusion}


class GraphAttention(nn.Module):
    """Graph attention (Veličković et al., 2018) over several views, each with weights of its own.

    `h_i = ReLU(Σ_j α_ij W x_j + b)`, j the neighbours of i and i itself, with
    `α_ij = softmax_j LeakyReLU(a · W x_i + a' · W x_j)`; the heads are side by side.
    """

    def __init__(self, views: int, in_dim: int, heads: int, width: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.width, self.dropout = heads, width, nn.Dropout(dropout)
        self.weight = nn.Parameter(_glorot((views, heads, in_dim, width), in_dim + width))
        self.asks, self.tells = (nn.Parameter(_glorot((views, heads, width, 1), width + 1)) for _ in range(2))
        self.bias = nn.Parameter(torch.zeros(views, 1, heads * width))

    def forward(self, graph: Graph, x: Tensor) -> Tensor:
        """[V, N, heads * width] of `x` [N, in_dim]; `graph` holds the graphs of the V views side by side."""
        mapped = x @ self.weight
        asks, tells = ((mapped @ a).squeeze(-1).transpose(1, 2).flatten(0, 1) for a in (self.asks, self.tells))
        mapped = mapped.transpose(1, 2).flatten(0, 1)
        every = torch.arange(graph.n, device=graph.device)
        i, j = torch.cat([graph.src, every]), torch.cat([graph.dst, every])
        coefficients = self.dropout(softmax_by_row(F.leaky_relu(asks[i] + tells[j], 0.2), i, graph.n))
        messages = coefficients.unsqueeze(-1) * mapped.index_select(0, j)
        gathered = torch.zeros_like(mapped).index_add(0, i, messages)
        return F.relu(gathered.view(len(self.weight), -1, self.heads * self.width) + self.bias)


class RegionSharing(nn.Module):
    """`Σ_j softmax_j(q_i · k_j / √d) e_j` over all regions j of a view, the mean over several heads.

    Queries and keys are maps that all views share.
    """

    def __init__(self, dim: int, heads: int, width: int) -> None:
        super().__init__()
        self.heads, self.width = heads, width
        self.query, self.key = nn.Linear(dim, heads * width), nn.Linear(dim, heads * width)
        for linear in (self.query, self.key):
            # Every head is a map of its own.
            nn.init.uniform_(linear.weight, *_range(dim + width))
            nn.init.zeros_(linear.bias)

    def forward(self, views: Tensor) -> Tensor:
        """[V, N, dim] of `views` [V, N, dim]."""
        query, key = (
            part(views).unflatten(-1, (self.heads, self.width)).transpose(1, 2) for part in (self.query, self.key)
        )
        scores = query / self.width**0.5 @ key.mT
        # All heads hear the same vectors: the mean of what they hear is what their mean weights hear.
        return scores.softmax(dim=-1).mean(dim=1) @ views


class AdaptiveFusion(nn.Module):
    """`Σ_v σ(W e_v + b) ⊙ e_v`, W and b the same for all views."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gate = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.gate.weight)
        nn.init.uniform_(self.gate.bias, -0.05, 0.05)

    def forward(self, views: Tensor) -> Tensor:
        """[N, dim] of `views` [V, N, dim]."""
        return (torch.sigmoid(self.gate(views)) * views).sum(dim=0)


def strongest(weights: Tensor, k: int) -> scipy.sparse.csr_array:
    """The pairs of `weights` [N, N] that are among the `k` largest of their row and of their column, and above 0.

    A region's weight to itself counts among them, but makes no edge.
    """
    k = min(k, len(weights))
    none = torch.zeros_like(weights, dtype=torch.bool)
    of_row = none.scatter(1, weights.topk(k, dim=1).indices, True)
    of_column = none.scatter(0, weights.topk(k, dim=0).indices, True)
    kept = of_row & of_column & (weights > 0)
    return scipy.sparse.csr_array(kept.fill_diagonal_(False).numpy())


def softmax_by_row(scores: Tensor, row: Tensor, n: int) -> Tensor:
    """The softmax of `scores` [E, heads] over all entries of one of the `n` rows; `row` is int64 [E]."""
    index = row.unsqueeze(1).expand_as(scores)
    top = scores.new_zeros(n, scores.shape[1]).scatter_reduce(0, index, scores.detach(), "amax", include_self=False)
    raised = (scores - top[row]).exp()
    return raised / torch.zeros_like(top).index_add(0, row, raised)[row]


def _glorot(shape: tuple[int, ...], fans: int) -> Tensor:
    return torch.empty(shape).uniform_(*_range(fans))


def _range(fans: int) -> tuple[float, float]:
    """Bounds of Glorot's uniform initial weights, of the sum of widths in and out."""
    bound = (6 / fans) ** 0.5
    return -bound, bound
