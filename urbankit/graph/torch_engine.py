"""Message passing in plain torch: dense products where a graph is nearly dense, sparse ones elsewhere.

Autograd over gathered messages would keep E × d numbers a layer. These products keep only their inputs: the gradient of
one sparse product is two others.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from urbankit.graph.graph import Graph

# A dense product is cheaper while it has at most so many cells an edge (957 nodes, d = 128, one core: equal at 5).
CELLS_PER_EDGE = 8


def propagate(graph: Graph, x: Tensor, weight: Tensor) -> Tensor:
    """`out_i = Σⱼ A_ij x_j` for `x` [n, d] and the A_ij of all edges, `weight` [E]; differentiable in both."""
    if nearly_dense(graph):
        return _unpadded(torch.bmm(_blocks(graph, weight), _padded(graph, x)), graph)
    return _Propagate.apply(graph, weight, x)


def edge_dot(graph: Graph, a: Tensor, b: Tensor) -> Tensor:
    """`a_i · b_j` on every edge (i, j): [E], for `a` and `b` [n, d]; differentiable in both."""
    if nearly_dense(graph):
        products = torch.bmm(_padded(graph, a), _padded(graph, b).mT)
        return products.flatten().gather(0, graph.keep("cells", lambda: _cells(graph)))
    return _EdgeDot.apply(graph, a, b)


def nearly_dense(graph: Graph) -> bool:
    """Whether the blocks of the graph are so full that dense products are the cheaper ones."""
    return graph.layout.cells <= CELLS_PER_EDGE * graph.n_edges


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
        _, wants_weight, wants_x = ctx.needs_input_grad
        return (
            None,
            _dots(ctx.graph, grad, x) if wants_weight else None,
            _matmul_transposed(ctx.graph, weight, grad) if wants_x else None,
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
        _, wants_a, wants_b = ctx.needs_input_grad
        return (
            None,
            _matmul(ctx.graph, grad, b) if wants_a else None,
            _matmul_transposed(ctx.graph, grad, a) if wants_b else None,
        )


def _matmul(graph: Graph, weight: Tensor, x: Tensor) -> Tensor:
    return _csr(graph.indptr, graph.dst, weight, graph.n) @ x


def _matmul_transposed(graph: Graph, weight: Tensor, x: Tensor) -> Tensor:
    indptr, src, order = graph.keep("transposed", lambda: _transposed(graph))
    return _csr(indptr, src, weight.take(order), graph.n) @ x


def _dots(graph: Graph, a: Tensor, b: Tensor) -> Tensor:
    pattern = _csr(graph.indptr, graph.dst, a.new_zeros(graph.n_edges), graph.n)
    return torch.sparse.sampled_addmm(pattern, a.contiguous(), b.contiguous().mT, beta=0.0).values()


def _csr(indptr: Tensor, columns: Tensor, values: Tensor, n: int) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse (CSR tensor support|invariant checks)")
        return torch.sparse_csr_tensor(indptr, columns, values, (n, n), check_invariants=False)


def _transposed(graph: Graph) -> tuple[Tensor, Tensor, Tensor]:
    """Row starts and columns of the transpose, and the order that sorts the edges so."""
    order = torch.argsort(graph.dst, stable=True)
    indptr = torch.searchsorted(graph.dst.take(order), torch.arange(graph.n + 1, device=graph.device))
    return indptr, graph.src.take(order), order


def _blocks(graph: Graph, weight: Tensor) -> Tensor:
    """The adjacency matrices of the blocks, [count, width, width]."""
    layout = graph.layout
    cells = graph.keep("cells", lambda: _cells(graph))
    return weight.new_zeros(layout.cells).scatter(0, cells, weight).view(layout.count, layout.width, layout.width)


def _cells(graph: Graph) -> Tensor:
    layout = graph.layout
    return layout.rows.take(graph.src) * layout.width + layout.position.take(graph.dst)


def _padded(graph: Graph, x: Tensor) -> Tensor:
    layout = graph.layout
    if graph.n != layout.count * layout.width:
        x = x.new_zeros(layout.count * layout.width, x.shape[1]).index_copy(0, layout.rows, x)
    return x.view(layout.count, layout.width, x.shape[1])


def _unpadded(x: Tensor, graph: Graph) -> Tensor:
    x = x.flatten(0, 1)
    return x if len(x) == graph.n else x.index_select(0, graph.layout.rows)
