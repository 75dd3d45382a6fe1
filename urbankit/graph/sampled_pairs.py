"""Pairs of nodes from which the squared error over all pairs is estimated without bias."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from urbankit.graph.graph import Graph, positions_in

MOST_EDGES = 8
"""Edges of a node that are drawn at most; a node with more edges is a hub or has a nearly dense row."""

COLUMNS = 256
"""Nodes that are drawn for the pairs without an edge."""


@dataclass(frozen=True)
class SampledPairs:
    """A sample of the pairs of `rows` with all nodes of their city.

    Attributes:
        rows: int64 [B].
        edge_row: for each drawn edge the position of its start in `rows`, int64 [E'].
        edge_end: its end, int64 [E'].
        edge_weight: its weight A_ij, [E'].
        edge_count: for how many edges of its start it stands, [E'].
        columns: nodes, distinct and sorted, int64 [S].
        pair_count: for how many pairs without an edge each pair of `rows` and `columns` stands, [B, S]; 0 for a pair
            with an edge and for one of two cities.
        n_pairs: the number of all pairs.
    """

    rows: Tensor
    edge_row: Tensor
    edge_end: Tensor
    edge_weight: Tensor
    edge_count: Tensor
    columns: Tensor
    pair_count: Tensor
    n_pairs: int

    @property
    def nodes(self) -> Tensor:
        """The nodes of all pairs, int64; one may occur several times."""
        return torch.cat([self.rows, self.edge_end, self.columns])

    def squared_error(self, left: Tensor, right: Tensor, nodes: Tensor) -> Tensor:
        """Return an unbiased estimate of the mean of `(A_ij - Softplus(leftᵢᵀ rightⱼ))²` over the pairs.

        `left` and `right` are [n, d], the vectors of `nodes`, which are sorted and include those of the pairs.
        """
        rows, ends, columns = (torch.searchsorted(nodes, at) for at in (self.rows, self.edge_end, self.columns))
        left, right = left.float(), right.float()
        of_rows = left.index_select(0, rows)
        with torch.autocast(left.device.type, enabled=False):
            without = F.softplus(of_rows @ right.index_select(0, columns).T).square()
            products = (of_rows.index_select(0, self.edge_row) * right.index_select(0, ends)).sum(dim=1)
            errors = (self.edge_weight - F.softplus(products)).square()
            total = (self.pair_count * without).sum() + (self.edge_count * errors).sum()
        return total / max(self.n_pairs, 1)


def sample_pairs(graph: Graph, rows: Tensor) -> SampledPairs:
    """Draw pairs of `rows`, distinct int64 [B], at least one.

    They are up to `MOST_EDGES` edges of each, and the pairs with about `COLUMNS` nodes; the nodes of a city are drawn
    in proportion to its rows.
    """
    edge_row, edges, edge_count = _edges(graph, rows)
    city, sizes = graph.city_of(rows), torch.tensor(graph.cities, device=rows.device)
    rows_of_city = torch.bincount(city, minlength=len(graph.cities))
    draws = (rows_of_city * COLUMNS / max(len(rows), 1)).ceil().to(torch.int64)
    of_draw = torch.repeat_interleave(torch.arange(len(draws), device=rows.device), draws)
    uniform = torch.rand(len(of_draw), dtype=torch.float64).to(rows.device)
    drawn = (uniform * sizes.take(of_draw)).to(torch.int64) + graph.city_starts.take(of_draw)
    # Nodes drawn twice count once: given their number, the others are as likely in any combination.
    columns = drawn.unique()
    column_city = graph.city_of(columns)
    share = sizes / torch.bincount(column_city, minlength=len(sizes)).clamp(min=1)
    pair_count = (city.unsqueeze(1) == column_city).float() * share.float().take(city).unsqueeze(1)
    row, all_edges = graph.edges_of(rows)
    end = graph.dst.take(all_edges)
    position, listed = positions_in(columns, end)
    pair_count[row[listed], position[listed]] = 0.0
    n_pairs = int((rows_of_city * sizes).sum())
    ends, weights = graph.dst.take(edges), graph.weight.take(edges)
    return SampledPairs(rows, edge_row, ends, weights, edge_count, columns, pair_count, n_pairs)


def _edges(graph: Graph, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Edges of `rows` [B], drawn at equal distances in a row of more than `MOST_EDGES`.

    Returns the position in `rows` and the index of each, and for how many edges it stands.
    """
    starts = graph.indptr[rows]
    degree = graph.indptr[rows + 1] - starts
    drawn = degree.clamp(max=MOST_EDGES)
    row = torch.repeat_interleave(torch.arange(len(rows), device=rows.device), drawn)
    within = torch.arange(len(row), device=rows.device) - (drawn.cumsum(0) - drawn).take(row)
    of_row = degree.take(row)
    uniform = torch.rand(len(row), dtype=torch.float64).to(rows.device)
    stratum = ((within + uniform) * of_row / MOST_EDGES).to(torch.int64).clamp(max=of_row - 1)
    chosen = torch.where(of_row > MOST_EDGES, stratum, within)
    return row, starts.take(row) + chosen, (degree / drawn.clamp(min=1)).float().take(row)
