"""The reconstruction loss of a view, over all pairs and in little memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from urbankit.graph.graph import Graph

# Pairs worked on at a time: five arrays of this many floats, 160 MB.
BLOCK = 1 << 23


def squared_error(graph: Graph, z: Tensor, rows: Tensor) -> Tensor:
    """Mean of `(A_ij - Softplus(z_i · z_j))²` over i in `rows` and all n nodes j: eq. 19 and 20, exactly.

    `z` is [n, d], `rows` int64 [B]. Rows are taken in blocks, and each block leaves its gradient as it goes: memory is
    O(n), never n² nor B · n.
    """
    with torch.autocast(z.device.type, enabled=False):
        return _SquaredError.apply(graph, z.float(), rows)


class _SquaredError(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, graph: Graph, z: Tensor, rows: Tensor) -> Tensor:
        wants_gradient = ctx.needs_input_grad[1]
        gradient = torch.zeros_like(z) if wants_gradient else None
        total = z.new_zeros((), dtype=torch.float64)
        pairs = max(len(rows) * graph.n, 1)
        for block in rows.split(max(1, BLOCK // max(graph.n, 1))):
            own = z.index_select(0, block)
            products = own @ z.T
            predicted = F.softplus(products)
            error = predicted - dense_rows(graph, block)
            total += error.square().sum(dtype=torch.float64)
            if gradient is not None:
                # d/ds (softplus(s) - a)² = 2 (softplus(s) - a) · sigmoid(s)
                slope = error.mul_(products.sigmoid_()).mul_(2 / pairs)
                gradient.addmm_(slope.T, own)
                gradient.index_add_(0, block, slope @ z)
        ctx.save_for_backward(gradient)
        return (total / pairs).to(z.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return None, grad * gradient, None


def dense_rows(graph: Graph, rows: Tensor) -> Tensor:
    """The rows A_i of the adjacency for i in `rows` (int64 [B]): [B, n]."""
    starts, counts = graph.indptr[rows], graph.indptr[rows + 1] - graph.indptr[rows]
    row = torch.repeat_interleave(torch.arange(len(rows), device=rows.device), counts)
    first = counts.cumsum(0) - counts
    edge = torch.arange(len(row), device=rows.device) + (starts - first).index_select(0, row)
    dense = graph.weight.new_zeros(len(rows) * graph.n)
    dense[row * graph.n + graph.dst.take(edge)] = graph.weight.detach().take(edge)
    return dense.view(len(rows), graph.n)
