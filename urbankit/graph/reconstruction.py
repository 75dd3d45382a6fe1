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


def squared_error(graph: Graph, z: Tensor, rows: Tensor) -> Tensor:
    """Return the mean of `(A_ij - Softplus(zᵢᵀ zⱼ))²` (eq. 19 and 20) over i in `rows` and all n nodes j.

    `z` is [n, d], `rows` int64 [B]. The rows are computed in blocks, each with its gradient: memory is O(n),
    never n² or B · n.
    """
    with torch.autocast(z.device.type, enabled=False):
        return _SquaredError.apply(graph, z.float(), rows)


class _SquaredError(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, graph: Graph, z: Tensor, rows: Tensor) -> Tensor:
        pairs = max(len(rows) * graph.n, 1)
        total = z.new_zeros((), dtype=torch.float64)
        gradient = torch.zeros_like(z) if ctx.needs_input_grad[1] else None
        for block in rows.split(max(1, BLOCK // max(graph.n, 1))):
            z_block = z.index_select(0, block)
            products = z_block @ z.T
            error = _minus_rows(F.softplus(products), graph, block)
            total += error.flatten() @ error.flatten()
            if gradient is not None:
                # d/ds (softplus(s) - a)² = 2 (softplus(s) - a) · sigmoid(s)
                slope = products.sigmoid_().mul_(error)
                gradient.addmm_(slope.T, z_block)
                gradient.index_add_(0, block, slope @ z)
        ctx.save_for_backward(None if gradient is None else gradient.mul_(2 / pairs))
        return (total / pairs).to(z.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return None, grad * gradient, None


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
