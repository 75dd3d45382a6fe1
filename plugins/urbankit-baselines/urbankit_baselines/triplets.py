"""Triplets of a region, one of its neighbours and a region that is neither, drawn anew in every step."""

from __future__ import annotations

import numpy as np
import scipy.sparse
import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Triplets(nn.Module):
    """Draws a neighbour and a stranger for regions, each uniformly, from a graph (CSR [N, N]) without self-loops.

    Regions without a neighbour, or without a stranger, are no anchors.
    """

    def __init__(self, adjacency: scipy.sparse.csr_array) -> None:
        super().__init__()
        self.n = adjacency.shape[0]
        degree = np.diff(adjacency.indptr)
        known = scipy.sparse.csr_array(adjacency + scipy.sparse.eye_array(self.n))
        known.sort_indices()
        rows = np.repeat(np.arange(self.n), degree + 1)
        # How many strangers of a row come before each of its known regions, the rows one after the other.
        before = known.indices - (np.arange(len(rows)) - known.indptr[rows])
        self._keep("degree", degree)
        self._keep("first_neighbour", adjacency.indptr[:-1])
        self._keep("neighbours", adjacency.indices)
        self._keep("first_known", known.indptr[:-1])
        self._keep("strangers_before", rows * self.n + before)

    def draw(self, regions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Anchors among `regions` (int64 [B]), a neighbour and a stranger of each, all int64 [A]."""
        degree = self.degree[regions]
        anchors = regions[(degree > 0) & (degree < self.n - 1)]
        degree = self.degree[anchors]
        neighbour = self.neighbours[self.first_neighbour[anchors] + _below(degree)]
        # The r-th stranger is r plus the number of known regions that have at most r strangers before them.
        rank = _below(self.n - 1 - degree)
        passed = torch.searchsorted(self.strangers_before, anchors * self.n + rank, right=True)
        return anchors, neighbour, rank + passed - self.first_known[anchors]

    def loss(self, z: Tensor, regions: Tensor, margin: float) -> Tensor:
        """Mean of `max(0, |z_i - z_neighbour| - |z_i - z_stranger| + margin)` over anchors; `z` is [N, d]."""
        triplets = self.draw(regions)
        if not len(triplets[0]):
            return z.sum() * 0.0
        return F.triplet_margin_loss(*(z.index_select(0, drawn) for drawn in triplets), margin=margin)

    def _keep(self, name: str, values: np.ndarray) -> None:
        self.register_buffer(name, torch.as_tensor(values, dtype=torch.int64), persistent=False)


def _below(limit: Tensor) -> Tensor:
    """A random integer from 0 to `limit - 1` for each, from torch's global generator."""
    return torch.minimum((torch.rand(len(limit)).to(limit.device) * limit).long(), limit - 1)
