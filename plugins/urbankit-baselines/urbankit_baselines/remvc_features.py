"""Features of ReMVC, which are distributions of points of interest and of flows, and their random variants."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

if TYPE_CHECKING:
    import pandas as pd

    from urbankit.city.city import City

# Hours of a working day and of a weekend day, as in the authors' flow matrices.
SLOTS = 48


class FlowProfiles:
    """The distribution of each region's flows over the N regions at the other end and, with times, over 48 hours.

    A row concatenates the two distributions; each sums to 1, or to 0 for a region without flows. The rows are stored
    sparse; a call returns a mini-batch of dense rows.

    Args:
        flows: [N, N]; row i has the flows of region i.
        hours: [N, 48], the weights of the same flows by hour, or None.
    """

    def __init__(self, flows: sparse.csr_array, hours: sparse.csr_array | None) -> None:
        blocks = [_distribution(flows)] + ([] if hours is None else [_distribution(hours)])
        self._rows = sparse.csr_array(sparse.hstack(blocks, format="csr"), dtype=np.float32)
        self.width = self._rows.shape[1]

    def __call__(self, regions: Tensor) -> Tensor:
        """Return the rows of region indices int64 [B], float32 [B, width] on their device."""
        return torch.from_numpy(self._rows[regions.cpu().numpy()].toarray()).to(regions.device)

    def sparse(self, regions: Tensor) -> Tensor:
        """Return the same rows as a sparse COO tensor; its size depends on the number of flows, not of regions."""
        rows = self._rows[regions.cpu().numpy()].tocoo()
        indices = torch.from_numpy(np.stack([rows.row, rows.col]).astype(np.int64))
        values = torch.from_numpy(rows.data)
        return torch.sparse_coo_tensor(indices, values, rows.shape, check_invariants=False).to(regions.device)


def flow_profiles(city: City, hours: bool) -> tuple[FlowProfiles, FlowProfiles, np.ndarray]:
    """Return the profiles of outgoing and of incoming flows, and which regions have any flow (bool [N]).

    With `hours`, the profiles have hours if the city's flows have times. The city must have flows.
    """
    flows = city.flows()
    assert flows is not None
    times = city.flow_times() if hours else None
    outgoing, incoming = (None, None) if times is None else (_by_hour(times, end, city.n_regions) for end in ENDS)
    present = (np.asarray(flows.sum(axis=0)) + np.asarray(flows.sum(axis=1))).ravel() > 0
    return FlowProfiles(flows, outgoing), FlowProfiles(flows.T.tocsr(), incoming), present


ENDS = ("origin", "destination")


def _by_hour(times: pd.DataFrame, end: str, n_regions: int) -> sparse.csr_array:
    """Return the weights of a region's flows by hour of working days, then of weekend days, float64 [N, 48]."""
    slot = times["hour"].to_numpy(np.int64) + 24 * (times["weekday"].to_numpy() >= 5)
    entries = (times["weight"].to_numpy(np.float64), (times[end].to_numpy(np.int64), slot))
    return sparse.coo_array(entries, shape=(n_regions, SLOTS)).tocsr()


def _distribution(matrix: sparse.csr_array) -> sparse.csr_array:
    """Return the rows divided by their sums."""
    matrix = sparse.csr_array(matrix, dtype=np.float64, copy=True)
    sums = np.asarray(matrix.sum(axis=1)).ravel()
    matrix.data /= np.repeat(np.where(sums > 0, sums, 1.0), np.diff(matrix.indptr))
    return matrix


def distribution(counts: Tensor) -> Tensor:
    """Return the rows [..., C] divided by their sums; zero rows stay zero."""
    return counts / counts.sum(dim=-1, keepdim=True).clamp(min=1e-12)


def noisy(profiles: Tensor, sigma: float, count: int) -> list[Tensor]:
    """Return `count` variants of profiles [B, W]; each adds Gaussian noise to the previous one, clipped to [0, 1]."""
    variants = []
    for _ in range(count):
        noise = sigma * torch.randn(profiles.shape).to(profiles.device)
        profiles = (profiles + noise).clamp(0.0, 1.0)
        variants.append(profiles)
    return variants


def changed_counts(counts: Tensor, share: float) -> list[Tensor]:
    """Return three variants of counts of points by category [B, C]: points deleted, duplicated, and replaced.

    Each point is deleted, duplicated, or moved to a uniformly random category with probability `share`. A region that
    would lose all points keeps all.
    """
    less = counts - _sample(counts, share)
    less = torch.where(less.sum(dim=1, keepdim=True) > 0, less, counts)
    more = counts + _sample(counts, share)
    moved = _sample(counts, share)
    region = torch.repeat_interleave(moved.sum(dim=1).long())
    category = torch.randint(counts.shape[1], (len(region),)).to(counts.device)
    ones = torch.ones(len(region), device=counts.device)
    replaced = (counts - moved).index_put((region, category), ones, accumulate=True)
    return [less, more, replaced]


def _sample(counts: Tensor, share: float) -> Tensor:
    """Return how many of each count of points are drawn, each with probability `share`."""
    counts = counts.cpu()
    return torch.binomial(counts, torch.full_like(counts, share)).to(counts.device)
