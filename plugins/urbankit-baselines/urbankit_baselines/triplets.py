"""Random triplets of a region, a neighbour and a region that is not a neighbour, new in every step."""

from __future__ import annotations

import numpy as np
import scipy.sparse
import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Triplets(nn.Module):
    """Draws a neighbour and a negative for each region, both uniformly, from a graph (CSR [N, N]) without self-loops.

    A negative is a region that is neither the region nor a neighbour. Regions without neighbours or without negatives
    are skipped.
    """

    degree: Tensor
    first_neighbour: Tensor
    neighbours: Tensor
    first_linked: Tensor
    negatives_before: Tensor

    def __init__(self, adjacency: scipy.sparse.csr_array) -> None:
        super().__init__()
        self.n = adjacency.shape[0]
        degree = np.diff(adjacency.indptr)
        linked = scipy.sparse.csr_array(adjacency + scipy.sparse.eye_array(self.n))
        linked.sort_indices()
        rows = np.repeat(np.arange(self.n), degree + 1)
        # The number of negatives of a row that precede each of its linked regions, row by row.
        before = linked.indices - (np.arange(len(rows)) - linked.indptr[rows])
        self._register("degree", degree)
        self._register("first_neighbour", adjacency.indptr[:-1])
        self._register("neighbours", adjacency.indices)
        self._register("first_linked", linked.indptr[:-1])
        self._register("negatives_before", rows * self.n + before)

    def draw(self, regions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the anchors among `regions` (int64 [B]), and a neighbour and a negative of each, all int64 [A]."""
        degree = self.degree[regions]
        anchors = regions[(degree > 0) & (degree < self.n - 1)]
        degree = self.degree[anchors]
        neighbour = self.neighbours[self.first_neighbour[anchors] + _random_integers(degree)]
        # The r-th negative is region r plus the number of linked regions preceded by at most r negatives.
        rank = _random_integers(self.n - 1 - degree)
        skipped = torch.searchsorted(self.negatives_before, anchors * self.n + rank, right=True)
        return anchors, neighbour, rank + skipped - self.first_linked[anchors]

    def loss(self, z: Tensor, regions: Tensor, margin: float) -> Tensor:
        """Return the mean of `max(0, |z_i - z_neighbour| - |z_i - z_negative| + margin)` over anchors; `z` [N, d]."""
        anchors, neighbours, negatives = self.draw(regions)
        if not len(anchors):
            return z.sum() * 0.0
        a, b, c = (z.index_select(0, rows) for rows in (anchors, neighbours, negatives))
        return F.triplet_margin_loss(a, b, c, margin=margin)

    def _register(self, name: str, values: np.ndarray) -> None:
        self.register_buffer(name, torch.as_tensor(values, dtype=torch.int64), persistent=False)


def _random_integers(limit: Tensor) -> Tensor:
    """Return a random integer in 0 to `limit - 1` for each limit, from torch's global generator."""
    return torch.minimum((torch.rand(len(limit)).to(limit.device) * limit).long(), limit - 1)
