"""A view as a graph of torch tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import scipy.sparse
import torch
from torch import Tensor

T = TypeVar("T")

# Up to this many nodes the edge of a pair is looked up in a table of all pairs: 4 bytes a pair, 100 MB at most.
TABLE_LIMIT = 5000


class Graph:
    """A weighted directed graph: `weight[e]` is A_ij for i = `src[e]`, j = `dst[e]`.

    A node gathers along its row: `out_i = Σⱼ A_ij x_j`. Edges are unique and sorted by (src, dst). `src` and `dst` are
    int64 [E], `weight` is float [E] and may carry gradients. The graph may consist of many small graphs of `width`
    nodes each, one after the other, without an edge between two of them.

    Attributes:
        cities: the number of nodes of each city, one after the other. Two nodes of different cities have no edge, and
            no loss compares them.
    """

    def __init__(
        self,
        n: int,
        src: Tensor,
        dst: Tensor,
        weight: Tensor,
        width: int | None = None,
        cities: Sequence[int] | None = None,
    ) -> None:
        self.n, self.src, self.dst, self.weight = n, src, dst, weight
        self.width = n if width is None else width
        self.cities: tuple[int, ...] = (n,) if cities is None else tuple(cities)
        self._cache: dict[str, Any] = {}
        self._cache_of_weights: dict[str, Any] = {}

    @classmethod
    def from_scipy(cls, adjacency: scipy.sparse.sparray, cities: Sequence[int] | None = None) -> Graph:
        """Return the graph of a square scipy matrix; zeros are no edges. Raises `ValueError` if it is not square.

        `cities` are the numbers of regions of the cities that the matrix joins; None for one city.
        """
        csr = adjacency.tocsr(copy=True)
        if csr.shape[0] != csr.shape[1]:
            raise ValueError(f"an adjacency matrix is square, this one is {csr.shape[0]} × {csr.shape[1]}")
        csr.sum_duplicates()
        csr.eliminate_zeros()
        coo = csr.tocoo()
        src, dst = (torch.as_tensor(index).to(torch.int64) for index in (coo.row, coo.col))
        return cls(csr.shape[0], src, dst, torch.as_tensor(coo.data).to(torch.float32), cities=cities)

    @classmethod
    def side_by_side(cls, count: int, width: int, positions: Tensor, weight: Tensor) -> Graph:
        """Return `count` graphs of `width` nodes each as one graph.

        `positions` (int64 [E], ascending) are those of the edges in the flattened adjacency matrices [count, width,
        width].
        """
        src = positions // width
        column = positions - src * width
        graph = cls(count * width, src, src - src % width + column, weight, width)
        graph._cache["positions"] = positions
        return graph

    def __repr__(self) -> str:
        return f"Graph({self.n} nodes, {self.n_edges} edges, {self.device})"

    @property
    def n_edges(self) -> int:
        return len(self.src)

    @property
    def device(self) -> torch.device:
        return self.src.device

    @property
    def n_pairs(self) -> int:
        """The number of ordered pairs of two nodes of one city."""
        return sum(n * (n - 1) for n in self.cities)

    @property
    def city_starts(self) -> Tensor:
        """int64 [cities + 1]: the nodes of city c are `city_starts[c]` to `city_starts[c + 1]`."""
        return self.cached("city_starts", lambda: torch.tensor([0, *self.cities], device=self.device).cumsum(0))

    def city_of(self, nodes: Tensor) -> Tensor:
        """The position in `cities` of the city of each of `nodes`, int64 of their shape."""
        return torch.searchsorted(self.city_starts, nodes.contiguous(), right=True) - 1

    @property
    def indptr(self) -> Tensor:
        """int64 [n + 1]: the edges of node i are `indptr[i]` to `indptr[i + 1]`."""
        return self.cached("indptr", lambda: _row_starts(self.src, self.n))

    @property
    def positions(self) -> Tensor:
        """int64 [E]: the position of each edge in the flattened adjacency matrices [n_blocks, width, width]."""
        return self.cached("positions", lambda: self.src * self.width + self.dst % self.width)

    @property
    def n_blocks(self) -> int:
        """How many graphs of `width` nodes the graph consists of."""
        return self.n // self.width if self.width else 0

    def to(self, device: torch.device | str) -> Graph:
        """Return the graph on a device; itself if it is on that device already."""
        if torch.device(device) == self.device:
            return self
        src, dst, weight = (tensor.to(device) for tensor in (self.src, self.dst, self.weight))
        return Graph(self.n, src, dst, weight, self.width, self.cities)

    def with_weight(self, weight: Tensor) -> Graph:
        """Return the same edges with other weights (float [E]); gradients flow into them."""
        if weight.shape != self.src.shape:
            raise ValueError(f"{tuple(weight.shape)} weights for {self.n_edges} edges")
        graph = Graph(self.n, self.src, self.dst, weight, self.width, self.cities)
        graph._cache = self._cache
        return graph

    def dense(self) -> Tensor:
        """The adjacency matrix A [n, n], differentiable in `weight`."""
        pairs = self.src * self.n + self.dst
        return self.weight.new_zeros(self.n * self.n).scatter(0, pairs, self.weight).view(self.n, self.n)

    def edge_ids(self, i: Tensor, j: Tensor) -> Tensor:
        """Return the index (integer) of the edge from `i` to `j`, -1 if there is none; their shapes broadcast.

        A node index of `n` stands for no node.
        """
        side = self.n + 1
        pairs = i * side + j
        if self.n_edges == 0:
            return torch.full_like(pairs, -1)
        if self.n <= TABLE_LIMIT:
            return self.cached("table", self._table).take(pairs)
        keys = self.cached("keys", lambda: self.src * side + self.dst)
        index = torch.searchsorted(keys, pairs).clamp_(max=self.n_edges - 1)
        return index.masked_fill_(keys.take(index) != pairs, -1)

    def edges_of(self, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """Return the edges from `nodes` (int64 [B]): the position of the start in `nodes`, and the index."""
        return row_entries(self.indptr, nodes)

    def edge_ids_among(self, nodes: Tensor) -> Tensor:
        """Return the index (integer [B, B]) of the edge between any two of `nodes`, -1 if there is none.

        `nodes` are distinct, int64 [B].
        """
        if self.n <= TABLE_LIMIT or not len(nodes):
            return self.edge_ids(nodes.unsqueeze(1), nodes)
        row, edges = self.edges_of(nodes)
        ascending, order = nodes.sort()
        column, listed = positions_in(ascending, self.dst.take(edges))
        ids = nodes.new_full((len(nodes), len(nodes)), -1)
        ids[row[listed], order.take(column[listed])] = edges[listed]
        return ids

    def transposed(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return row starts [n + 1] and columns [E] of the transpose, and the order [E] that sorts the edges so."""
        return self.cached("transposed", self._transposed)

    def cached(self, name: str, make: Callable[[], T]) -> T:
        """Return what `make` returns, computed once for all graphs with these edges; `make` must not use weights."""
        if name not in self._cache:
            self._cache[name] = make()
        return self._cache[name]

    def cached_with_weights(self, name: str, make: Callable[[], T]) -> T:
        """Like `cached`, for what depends on the weights: computed anew while gradients flow through them."""
        if self.weight.requires_grad:
            return make()
        if name not in self._cache_of_weights:
            self._cache_of_weights[name] = make()
        return self._cache_of_weights[name]

    def _transposed(self) -> tuple[Tensor, Tensor, Tensor]:
        order = torch.argsort(self.dst, stable=True)
        indptr = torch.searchsorted(self.dst.take(order), torch.arange(self.n + 1, device=self.device))
        return indptr, self.src.take(order), order

    def _table(self) -> Tensor:
        side = self.n + 1
        table = torch.full((side * side,), -1, dtype=torch.int32, device=self.device)
        table[self.src * side + self.dst] = torch.arange(self.n_edges, dtype=torch.int32, device=self.device)
        return table


def positions_in(nodes: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the position of each of `values` in `nodes`, which are distinct and sorted, and whether it is there.

    `nodes` are int64 [n], at least one; `values` are int64 [m]; the result is int64 [m] and bool [m].
    """
    position = torch.searchsorted(nodes, values).clamp_(max=len(nodes) - 1)
    return position, nodes.take(position) == values


def row_entries(indptr: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the entries in `rows` (int64 [B]) of a matrix in compressed rows.

    For each entry these are the position of its row in `rows`, and its index in the matrix: int64 each.
    """
    starts = indptr[rows]
    counts = indptr[rows + 1] - starts
    row = torch.repeat_interleave(torch.arange(len(rows), device=rows.device), counts)
    before = counts.cumsum(0) - counts
    return row, torch.arange(len(row), device=rows.device) + (starts - before).take(row)


def _row_starts(rows: Tensor, n: int) -> Tensor:
    starts = torch.zeros(n + 1, dtype=torch.int64, device=rows.device)
    torch.cumsum(torch.bincount(rows, minlength=n), 0, out=starts[1:])
    return starts
