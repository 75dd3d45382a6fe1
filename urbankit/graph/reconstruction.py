"""The reconstruction loss of a view over all pairs of regions, in memory of O(n)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from urbankit.graph.graph import Graph
from urbankit.graph.torch_engine import blocks, nearly_dense

# Pairs worked on at a time: three arrays of this many floats, 100 MB.
BLOCK = 1 << 23


def squared_error(graph: Graph, left: Tensor, right: Tensor, rows: Tensor) -> Tensor:
    """Return the mean of `(A_ij - Softplus(leftᵢᵀ rightⱼ))²` (eq. 19 and 20) over i in `rows` and all nodes j.

    The nodes j are the n of the graph, or those of the city of i if it joins several. `left` and `right` are [n, d],
    both z for eq. 19; `rows` is int64 [B]. The rows are computed in blocks, each with its gradient: memory is O(n),
    never n² or B · n.
    """
    with torch.autocast(left.device.type, enabled=False):
        return _SquaredError.apply(graph, left.float(), right.float(), rows)


def mean_weight(graph: Graph) -> Tensor:
    """Return the mean of A_ij over all pairs of two nodes of one city; a pair without an edge has 0."""
    return graph.weight.sum() / max(graph.n_pairs, 1)


class _SquaredError(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, graph: Graph, left: Tensor, right: Tensor, rows: Tensor) -> Tensor:
        total, pairs = left.new_zeros((), dtype=torch.float64), 0
        needed = ctx.needs_input_grad[1] or ctx.needs_input_grad[2]
        of_left, of_right = (torch.zeros_like(left), torch.zeros_like(right)) if needed else (None, None)
        for of_city, start, end in _by_city(graph, rows):
            pairs += len(of_city) * (end - start)
            for block in of_city.split(max(1, BLOCK // max(end - start, 1))):
                left_block = left.index_select(0, block)
                products = left_block @ right[start:end].T
                error = _minus_rows(F.softplus(products), graph, block, start)
                total += error.flatten() @ error.flatten()
                if of_left is not None and of_right is not None:
                    # d/ds (softplus(s) - a)² = 2 (softplus(s) - a) · sigmoid(s)
                    slope = products.sigmoid_().mul_(error)
                    of_right[start:end].addmm_(slope.T, left_block)
                    of_left.index_add_(0, block, slope @ right[start:end])
        pairs = max(pairs, 1)
        gradients = [None if gradient is None else gradient.mul_(2 / pairs) for gradient in (of_left, of_right)]
        ctx.save_for_backward(*gradients)
        return (total / pairs).to(left.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, Tensor, None]:
        of_left, of_right = ctx.saved_tensors
        return None, grad * of_left, grad * of_right, None


def _by_city(graph: Graph, rows: Tensor) -> Iterator[tuple[Tensor, int, int]]:
    """The `rows` of each city that has any, and where the nodes of the city begin and end."""
    if len(graph.cities) == 1:
        yield rows, 0, graph.n
        return
    city, starts = graph.city_of(rows), graph.city_starts.tolist()
    for index in city.unique().tolist():
        yield rows[city == index], starts[index], starts[index + 1]


def _minus_rows(predicted: Tensor, graph: Graph, rows: Tensor, start: int) -> Tensor:
    """`Ã_i - A_i` in place of `predicted` [B, nodes of the city], for i in `rows` (int64 [B]) of one city.

    `start` is the first node of the city.
    """
    if nearly_dense(graph) and len(graph.cities) == 1:
        return predicted.sub_(blocks(graph)[0].index_select(0, rows))
    row, edges = graph.edges_of(rows)
    positions = row * predicted.shape[1] + graph.dst.take(edges) - start
    predicted.view(-1).scatter_add_(0, positions, -graph.weight.take(edges))
    return predicted
