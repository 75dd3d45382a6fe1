"""The reconstruction loss of a view over all pairs of regions, in memory of O(n)."""

from __future__ import annotations

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
    """Return the mean of `(A_ij - Softplus(leftᵢᵀ rightⱼ))²` (eq. 19 and 20) over i in `rows` and all n nodes j.

    `left` and `right` are [n, d], both z for eq. 19; `rows` is int64 [B]. The rows are computed in blocks, each with
    its gradient: memory is O(n), never n² or B · n.
    """
    with torch.autocast(left.device.type, enabled=False):
        return _SquaredError.apply(graph, left.float(), right.float(), rows)


def mean_weight(graph: Graph) -> Tensor:
    """Return the mean of A_ij over all pairs of two nodes; a pair without an edge has 0."""
    return graph.weight.sum() / max(graph.n * (graph.n - 1), 1)


class _SquaredError(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, graph: Graph, left: Tensor, right: Tensor, rows: Tensor) -> Tensor:
        pairs = max(len(rows) * graph.n, 1)
        total = left.new_zeros((), dtype=torch.float64)
        needed = ctx.needs_input_grad[1] or ctx.needs_input_grad[2]
        of_left, of_right = (torch.zeros_like(left), torch.zeros_like(right)) if needed else (None, None)
        for block in rows.split(max(1, BLOCK // max(graph.n, 1))):
            left_block = left.index_select(0, block)
            products = left_block @ right.T
            error = _minus_rows(F.softplus(products), graph, block)
            total += error.flatten() @ error.flatten()
            if of_left is not None and of_right is not None:
                # d/ds (softplus(s) - a)² = 2 (softplus(s) - a) · sigmoid(s)
                slope = products.sigmoid_().mul_(error)
                of_right.addmm_(slope.T, left_block)
                of_left.index_add_(0, block, slope @ right)
        gradients = [None if gradient is None else gradient.mul_(2 / pairs) for gradient in (of_left, of_right)]
        ctx.save_for_backward(*gradients)
        return (total / pairs).to(left.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, Tensor, None]:
        of_left, of_right = ctx.saved_tensors
        return None, grad * of_left, grad * of_right, None


def _minus_rows(predicted: Tensor, graph: Graph, rows: Tensor) -> Tensor:
    """`Ã_i - A_i` in place of `predicted` [B, n], for i in `rows` (int64 [B])."""
    if nearly_dense(graph):
        return predicted.sub_(blocks(graph)[0].index_select(0, rows))
    positions, edges = _edges_of(graph, rows)
    predicted.view(-1).scatter_add_(0, positions, -graph.weight.take(edges))
    return predicted


def _edges_of(graph: Graph, rows: Tensor) -> tuple[Tensor, Tensor]:
    """The edges from `rows` (int64 [B]): positions in the flattened rows [B, n], and indices in the graph."""
    starts = graph.indptr[rows]
    counts = graph.indptr[rows + 1] - starts
    row = torch.repeat_interleave(torch.arange(len(rows), device=rows.device), counts)
    before = counts.cumsum(0) - counts
    edges = torch.arange(len(row), device=rows.device) + (starts - before).take(row)
    return row * graph.n + graph.dst.take(edges), edges
