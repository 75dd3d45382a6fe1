"""Message passing in plain torch: dense products where a graph is nearly dense, sparse ones elsewhere.

Autograd over gathered messages would store E × d numbers per layer. These products store only their arguments, as the
gradient of a sparse product is two other sparse products.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from urbankit.graph.graph import Graph

# A dense product is cheaper while it has at most so many entries an edge (957 nodes, d = 128, one core: equal at 5).
ENTRIES_PER_EDGE = 8


def propagate(graph: Graph, x: Tensor, self_weight: Tensor | None = None) -> Tensor:
    """`out_i = s_i x_i + Σⱼ A_ij x_j`, for `x` [n, d] and the s_i in `self_weight` [n].

    Differentiable in both and in the weights of the graph.
    """
    if not nearly_dense(graph):
        out = _Propagate.apply(graph, graph.weight, x)
    elif self_weight is not None and graph.width < x.shape[1]:
        # On small matrices a diagonal costs less than another pass over the vectors.
        diagonal = torch.diag_embed(self_weight.view(graph.n_blocks, graph.width))
        return torch.bmm(blocks(graph) + diagonal, _by_block(graph, x)).flatten(0, 1)
    else:
        out = torch.bmm(blocks(graph), _by_block(graph, x)).flatten(0, 1)
    return out if self_weight is None else torch.addcmul(out, x, self_weight.unsqueeze(1))


def edge_dot(graph: Graph, a: Tensor, b: Tensor) -> Tensor:
    """`a_i · b_j` on every edge (i, j): [E], for `a` and `b` [n, d]; differentiable in both."""
    if not nearly_dense(graph):
        return _EdgeDot.apply(graph, a, b)
    products = torch.bmm(_by_block(graph, a), _by_block(graph, b).mT)
    return products.flatten().gather(0, graph.positions)


def blocks(graph: Graph) -> Tensor:
    """Return the adjacency matrices [n_blocks, width, width] of the small graphs that the graph consists of."""
    return graph.cached_with_weights("blocks", lambda: _blocks(graph))


def nearly_dense(graph: Graph) -> bool:
    """Whether so many pairs of nodes have an edge that dense products are cheaper than sparse ones."""
    return graph.n * graph.width <= ENTRIES_PER_EDGE * graph.n_edges


class _Propagate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, graph: Graph, weight: Tensor, x: Tensor) -> Tensor:
        ctx.graph = graph
        ctx.save_for_backward(weight, x)
        return _matmul(graph, weight, x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor | None, Tensor | None]:
        weight, x = ctx.saved_tensors
        _, weight_needs_grad, x_needs_grad = ctx.needs_input_grad
        return (
            None,
            _dots(ctx.graph, grad, x) if weight_needs_grad else None,
            _matmul_transposed(ctx.graph, weight, grad) if x_needs_grad else None,
        )


class _EdgeDot(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, graph: Graph, a: Tensor, b: Tensor) -> Tensor:
        ctx.graph = graph
        ctx.save_for_backward(a, b)
        return _dots(graph, a, b)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor | None, Tensor | None]:
        a, b = ctx.saved_tensors
        _, a_needs_grad, b_needs_grad = ctx.needs_input_grad
        return (
            None,
            _matmul(ctx.graph, grad, b) if a_needs_grad else None,
            _matmul_transposed(ctx.graph, grad, a) if b_needs_grad else None,
        )


def _matmul(graph: Graph, weight: Tensor, x: Tensor) -> Tensor:
    return _csr(graph.indptr, graph.dst, weight, graph.n) @ x


def _matmul_transposed(graph: Graph, weight: Tensor, x: Tensor) -> Tensor:
    indptr, src, order = graph.transposed()
    return _csr(indptr, src, weight.take(order), graph.n) @ x


def _dots(graph: Graph, a: Tensor, b: Tensor) -> Tensor:
    pattern = _csr(graph.indptr, graph.dst, a.new_zeros(graph.n_edges), graph.n)
    return torch.sparse.sampled_addmm(pattern, a.contiguous(), b.contiguous().mT, beta=0.0).values()


def _csr(indptr: Tensor, columns: Tensor, values: Tensor, n: int) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse (CSR tensor support|invariant checks)")
        return torch.sparse_csr_tensor(indptr, columns, values, (n, n), check_invariants=False)


def _blocks(graph: Graph) -> Tensor:
    flat = graph.weight.new_zeros(graph.n * graph.width).scatter(0, graph.positions, graph.weight)
    return flat.view(graph.n_blocks, graph.width, graph.width)


def _by_block(graph: Graph, x: Tensor) -> Tensor:
    return x.view(graph.n_blocks, graph.width, x.shape[1])
