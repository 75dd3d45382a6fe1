"""MVURE: Zhang et al., "Multi-View Joint Graph Representation Learning for Urban Region Embedding", IJCAI 2020.

In the order of the paper: region graphs of several views, graph attention in each, cross-view information sharing,
adaptive fusion, and the objectives of mobility and of points of interest. They follow the authors' code, which produced
the published numbers: both views of mobility have the same edges, the strongest flows, and in the sharing step a region
attends to all regions of the same view.

Departures from that code:
- The view and the loss of check-ins are left out, as in the UrbanMMCL paper, which predicts check-ins.
- The authors' code removes weak edges region by region, so the edges depend on the order of the regions. Here an edge
  stays if it is among the strongest of both its regions.
- The authors' code computes the embedding with dropout. Here dropout is active in training only.
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

    It needs the views `flows` and `poi_similarity`. The edges of its graphs are their strongest edges, all of weight 1.
    """

    class Params(RegionGraphMethod.Params):
        flow_edges: int = Field(
            20,
            ge=1,
            description="A flow is an edge if it is among this many largest flows out of its origin and into its"
            " destination.",
            json_schema_extra=SOURCE,
        )
        poi_edges: int = Field(
            15,
            ge=1,
            description="Two regions have an edge if each is among the other's most similar regions by points of"
            " interest, this many including the region itself.",
            json_schema_extra=SOURCE,
        )
        features: int = Field(
            250,
            ge=2,
            description="Width of the random features that are the input of graph attention.",
            json_schema_extra=SOURCE,
        )
        heads: int = Field(12, ge=1, description="Heads of graph attention, concatenated.", json_schema_extra=SOURCE)
        head_width: int = Field(12, ge=1, description="Width of one head.", json_schema_extra=SOURCE)
        dropout: float = Field(
            0.2, ge=0, lt=1, description="Dropout of attention coefficients.", json_schema_extra=SOURCE
        )
        sharing_heads: int = Field(
            4, ge=1, description="Heads of the attention between regions, averaged.", json_schema_extra=SOURCE
        )
        sharing_width: int = Field(48, ge=1, description="Width of the queries and keys.", json_schema_extra=SOURCE)
        shared: float = Field(
            0.8,
            ge=0,
            le=1,
            description="Weight of the attention over all regions in a region's embedding; the rest is the embedding"
            " before it.",
            json_schema_extra=SOURCE,
        )
        view_weight: float = Field(
            0.5,
            ge=0,
            le=1,
            description="Weight of a view's embedding in the loss of the view; the rest is the fused embedding.",
            json_schema_extra=SOURCE,
        )

    params: Params
    features: Tensor

    def __init__(self, params: Params, inputs: MethodInputs) -> None:
        super().__init__(params, inputs)
        p = params
        self.dim = p.heads * p.head_width
        edges = strongest(self.flows, p.flow_edges)
        similarity = torch.zeros_like(self.flows).index_copy(1, self.compared, self.similarity)
        self.graph = side_by_side([edges, edges, strongest(similarity, p.poi_edges)])
        # Random and fixed.
        features = torch.empty(inputs.n_regions, p.features).uniform_(-1, 1)
        variance, mean = torch.var_mean(features, dim=1, correction=0, keepdim=True)
        self.register_buffer("features", (features - mean) * variance.rsqrt())
        self.attention = GraphAttention(3, p.features, p.heads, p.head_width, p.dropout)
        self.sharing = RegionSharing(self.dim, p.sharing_heads, p.sharing_width)
        self.fusion = AdaptiveFusion(self.dim)

    def encode(self) -> tuple[Tensor, Tensor]:
        """Return the fused embeddings [N, dim] and those of each view [V, N, dim]."""
        views = self.attention(self.graph, self.features)
        views = self.params.shared * self.sharing(views) + (1 - self.params.shared) * views
        return self.fusion(views), views

    def embed(self) -> Tensor:
        return self.encode()[0]

    def loss(self, regions: Tensor) -> dict[str, Tensor]:
        """Return the losses of flows and points of interest, each computed from a view and the fused embedding."""
        fused, views = self.encode()
        share = self.params.view_weight
        outflow, inflow, poi = share * views + (1 - share) * fused
        flow, similar = self.flow_loss(outflow, inflow, self.flows.T, regions), self.poi_loss(poi, regions)
        return {"total": flow + similar, "flow": flow, "poi": similar}

    def parts(self) -> dict[str, list[nn.Parameter]]:
        fusion = [*self.sharing.parameters(), *self.fusion.parameters()]
        return {"graph_encoder": list(self.attention.parameters()), "fusion": fusion}


class GraphAttention(nn.Module):
    """Graph attention (Veličković et al., 2018) over several views with separate weights.

    `h_i = ReLU(Σ_j α_ij W x_j + b)` over i and its neighbours j, with
    `α_ij = softmax_j LeakyReLU(a · W x_i + a' · W x_j)`; a is `asks` and a' is `tells`. The heads are concatenated.
    """

    def __init__(self, views: int, in_dim: int, heads: int, width: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.width, self.dropout = heads, width, nn.Dropout(dropout)
        self.weight = nn.Parameter(_glorot((views, heads, in_dim, width), in_dim + width))
        self.asks, self.tells = (nn.Parameter(_glorot((views, heads, width, 1), width + 1)) for _ in range(2))
        self.bias = nn.Parameter(torch.zeros(views, 1, heads * width))

    def forward(self, graph: Graph, x: Tensor) -> Tensor:
        """Return [V, N, heads * width] for `x` [N, in_dim]; `graph` is the graph of V views from `side_by_side`."""
        mapped = x @ self.weight
        asks, tells = ((mapped @ a).squeeze(-1).transpose(1, 2).flatten(0, 1) for a in (self.asks, self.tells))
        mapped = mapped.transpose(1, 2).flatten(0, 1)
        nodes = torch.arange(graph.n, device=graph.device)
        i, j = torch.cat([graph.src, nodes]), torch.cat([graph.dst, nodes])
        coefficients = self.dropout(softmax_by_row(F.leaky_relu(asks[i] + tells[j], 0.2), i, graph.n))
        messages = coefficients.unsqueeze(-1) * mapped.index_select(0, j)
        gathered = torch.zeros_like(mapped).index_add(0, i, messages)
        return F.relu(gathered.view(len(self.weight), -1, self.heads * self.width) + self.bias)


class RegionSharing(nn.Module):
    """`Σ_j softmax_j(q_i · k_j / √d) e_j` over all regions j of a view, the mean over several heads.

    All views share the maps to queries and keys.
    """

    def __init__(self, dim: int, heads: int, width: int) -> None:
        super().__init__()
        self.heads, self.width = heads, width
        self.query, self.key = nn.Linear(dim, heads * width), nn.Linear(dim, heads * width)
        for linear in (self.query, self.key):
            # The bound of one head's map; one of all heads together would be smaller.
            nn.init.uniform_(linear.weight, *_glorot_bounds(dim + width))
            nn.init.zeros_(linear.bias)

    def forward(self, views: Tensor) -> Tensor:
        """Return [V, N, dim] for `views` [V, N, dim]."""
        query, key = (
            linear(views).unflatten(-1, (self.heads, self.width)).transpose(1, 2) for linear in (self.query, self.key)
        )
        scores = query / self.width**0.5 @ key.mT
        # All heads average the same vectors, so the mean over heads can be taken of the weights.
        return scores.softmax(dim=-1).mean(dim=1) @ views


class AdaptiveFusion(nn.Module):
    """`Σ_v σ(W e_v + b) ⊙ e_v`, W and b the same for all views."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gate = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.gate.weight)
        nn.init.uniform_(self.gate.bias, -0.05, 0.05)

    def forward(self, views: Tensor) -> Tensor:
        """Return [N, dim] for `views` [V, N, dim]."""
        return (torch.sigmoid(self.gate(views)) * views).sum(dim=0)


def strongest(weights: Tensor, k: int) -> scipy.sparse.csr_array:
    """Return the pairs of `weights` [N, N] above 0 that are among the `k` largest of their row and of their column.

    The diagonal counts among the largest, but is not returned.
    """
    k = min(k, len(weights))
    none = torch.zeros_like(weights, dtype=torch.bool)
    of_row = none.scatter(1, weights.topk(k, dim=1).indices, True)
    of_column = none.scatter(0, weights.topk(k, dim=0).indices, True)
    mask = of_row & of_column & (weights > 0)
    return scipy.sparse.csr_array(mask.fill_diagonal_(False).numpy())


def softmax_by_row(scores: Tensor, row: Tensor, n: int) -> Tensor:
    """Return the softmax of `scores` [E, heads] within each of the `n` rows; `row` is int64 [E]."""
    index = row.unsqueeze(1).expand_as(scores)
    top = scores.new_zeros(n, scores.shape[1]).scatter_reduce(0, index, scores.detach(), "amax", include_self=False)
    exponentials = (scores - top[row]).exp()
    return exponentials / torch.zeros_like(top).index_add(0, row, exponentials)[row]


def _glorot(shape: tuple[int, ...], fans: int) -> Tensor:
    return torch.empty(shape).uniform_(*_glorot_bounds(fans))


def _glorot_bounds(fans: int) -> tuple[float, float]:
    """Return the bounds of Glorot's uniform initial weights; `fans` is the sum of input and output widths."""
    bound = (6 / fans) ** 0.5
    return -bound, bound
