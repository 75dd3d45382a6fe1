"""Random-walk subgraphs on the learned weights, section 3.4.3 of the UrbanMMCL paper."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from urbankit import component
from urbankit.graph.graph import Blocks, Graph
from urbankit.graph.subgraph import Subgraphs, SubgraphSampler


class RandomWalk(SubgraphSampler):
    """One walk from every root; the regions it visits and all edges of the view between them are the subgraph.

    Walks are drawn anew at every call, for all roots at once.
    """

    class Params(component.Params):
        length: int = Field(
            20, ge=1, le=1000, description="Steps of a walk; it ends early at a region without neighbours.",
            json_schema_extra={"source": "eq. 22, 4.2.3"},
        )  # fmt: skip

    def sample(
        self, graph: Graph, weight: Tensor, roots: Tensor, generator: torch.Generator | None = None
    ) -> Subgraphs:
        visited = walk(graph, weight, roots, self.params.length, generator)
        node, blocks, root = _distinct(visited)
        src, dst, edge = _edges_between(graph, node, blocks)
        local = Graph(len(node), src, dst, weight.index_select(0, edge), blocks)
        return Subgraphs(local, node, blocks.slot, root)


def walk(graph: Graph, weight: Tensor, roots: Tensor, length: int, generator: torch.Generator | None = None) -> Tensor:
    """The nodes visited from each of `roots` (int64 [B]) in `length` steps: int64 [B, length + 1].

    Eq. 22: from i to j with probability `weight_ij / Σₖ weight_ik` over the edges of i. At a node without edges, or
    with weights of zero alone, the walker stays where it is.
    """
    # One running sum over all edges: a uniform number within a node's share of it finds the next edge by bisection.
    # In float64, so that a share keeps nine digits among millions of edges.
    sums = torch.cat([weight.new_zeros(1, dtype=torch.float64), weight.detach().double().cumsum(0)])
    low, high = sums[graph.indptr[:-1]], sums[graph.indptr[1:]]
    first, last = graph.indptr[:-1], graph.indptr[1:] - 1
    draws = torch.rand(
        (length, len(roots)), generator=generator, dtype=torch.float64, device=generator.device if generator else "cpu"
    ).to(graph.device)
    at, visited = roots, [roots]
    for draw in draws:
        goal = low[at] + draw * (high - low)[at]
        edge = torch.searchsorted(sums[1:], goal, right=True)
        edge = torch.minimum(torch.maximum(edge, first[at]), last[at])
        moves = high[at] > low[at]
        at = torch.where(moves, graph.dst[edge.clamp(min=0)], at) if graph.n_edges else at
        visited.append(at)
    return torch.stack(visited, dim=1)


def _distinct(visited: Tensor) -> tuple[Tensor, Blocks, Tensor]:
    """The nodes of each walk once, ascending: their regions, their blocks, and where each root stands among them."""
    ordered = visited.sort(dim=1).values
    new = torch.ones_like(ordered, dtype=torch.bool)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    rank = new.cumsum(1) - 1
    sizes = rank[:, -1] + 1
    slot = torch.repeat_interleave(torch.arange(len(visited), device=visited.device), sizes)
    width = int(sizes.max()) if len(sizes) else 0
    root = sizes.cumsum(0) - sizes + (new & (ordered < visited[:, :1])).sum(1)
    return ordered[new], Blocks(len(visited), width, slot, rank[new]), root


def _edges_between(graph: Graph, node: Tensor, blocks: Blocks) -> tuple[Tensor, Tensor, Tensor]:
    """The edges of the view between the nodes of each block: local ends, and index in the view; sorted by both ends."""
    padded = torch.full((blocks.count, blocks.width), graph.n, dtype=torch.int64, device=node.device)
    padded.view(-1)[blocks.rows] = node
    found = graph.edge_ids(padded.unsqueeze(2), padded.unsqueeze(1))
    local = torch.zeros_like(padded)
    local.view(-1)[blocks.rows] = torch.arange(len(node), device=node.device)
    cell = (found.flatten() >= 0).nonzero().squeeze(1)
    row = cell // max(blocks.width, 1)
    column = row // max(blocks.width, 1) * blocks.width + cell % max(blocks.width, 1)
    return local.take(row), local.take(column), found.take(cell)
