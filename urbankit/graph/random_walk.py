"""Random-walk subgraphs on the learned weights, section 3.4.3 of the UrbanMMCL paper."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from urbankit.graph.graph import Graph
from urbankit.graph.subgraph import Subgraphs, SubgraphSampler
from urbankit.registry import component


class RandomWalk(SubgraphSampler):
    """One walk from every root; the regions it visits and all edges of the view between them are the subgraph.

    Every call draws new walks. A region visited twice leaves an unused node.
    """

    class Params(component.Params):
        length: int = Field(
            20, ge=1, le=1000, description="Steps of a walk; it ends early at a region without neighbours.",
            json_schema_extra={"source": "eq. 22, 4.2.3"},
        )  # fmt: skip

    params: Params

    def sample(
        self, graph: Graph, weight: Tensor, roots: Tensor, generator: torch.Generator | None = None
    ) -> Subgraphs:
        visited = walk(graph, weight, roots, self.params.length, generator)
        width = visited.shape[1]
        repeated = (visited.unsqueeze(2) == visited.unsqueeze(1)).tril_(-1).any(dim=2)
        positions, edges = _edges_between(graph, visited.masked_fill(repeated, graph.n))
        local = Graph.side_by_side(len(roots), width, positions, weight.index_select(0, edges))
        root = torch.arange(len(roots), device=roots.device) * width
        return Subgraphs(local, visited.flatten(), ~repeated.flatten(), root)


def walk(graph: Graph, weight: Tensor, roots: Tensor, length: int, generator: torch.Generator | None = None) -> Tensor:
    """Return the nodes visited from each of `roots` (int64 [B]) in `length` steps, int64 [B, length + 1].

    Eq. 22: `P(v_{t+1} | v_t) = Ã_{v_t, v_{t+1}} / Σ_{v_k ∈ N(v_t)} Ã_{v_t, v_k}`, with the edge weights [E] as Ã.
    The walk stays at a node that has no edge of positive weight. Many calls with the graph's own weights cost less than
    with others.
    """
    sums = graph.cached_with_weights("sums", lambda: _sums(weight)) if weight is graph.weight else _sums(weight)
    draws = torch.rand(
        (length, len(roots)), generator=generator, dtype=torch.float64, device=generator.device if generator else "cpu"
    ).to(graph.device)
    at, visited = roots, [roots]
    for draw in draws:
        first, end = graph.indptr.take(at), graph.indptr.take(at + 1)
        low, high = sums.take(first), sums.take(end)
        edge = torch.searchsorted(sums[1:], low + draw * (high - low), right=True)
        edge = torch.minimum(torch.maximum(edge, first), end - 1)
        at = torch.where(high > low, graph.dst.take(edge.clamp(min=0)), at) if graph.n_edges else at
        visited.append(at)
    return torch.stack(visited, dim=1)


def _sums(weight: Tensor) -> Tensor:
    """The running sum over the weights [E] of all edges, from 0, float64 [E + 1].

    A uniform number within a node's share of it finds the next edge by bisection. In float64 a share keeps nine digits
    among millions of edges.
    """
    return torch.cat([weight.new_zeros(1, dtype=torch.float64), weight.detach().double().cumsum(0)])


def _edges_between(graph: Graph, nodes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the edges of the view between the `nodes` [B, L] of each row, where `graph.n` stands for no node.

    Returns their positions in the flattened matrices [B, L, L], and their index in the view: int64 [E'] each.
    """
    edges = graph.edge_ids(nodes.unsqueeze(2), nodes.unsqueeze(1)).flatten()
    positions = (edges >= 0).nonzero().squeeze(1)
    return positions, edges.take(positions).to(torch.int64)
