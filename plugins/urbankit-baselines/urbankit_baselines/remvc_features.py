"""What ReMVC learns from: distributions of points of interest, and of flows by place and time; and their variants."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

if TYPE_CHECKING:
    import pandas as pd

    from urbankit.city.city import City

# Hours of a working day and of a day of the weekend, as in the authors' flow matrices.
SLOTS = 48


class FlowProfiles:
    """Where the flows of a region go to or come from, and when: rows of N places and, with times, 48 hours.

    Each row is the region's distribution over places followed by that over hours, both summing to 1, or to 0 where
    there is nothing to distribute. Kept sparse, as they are read by `sparse`; a call makes a mini-batch of rows dense.

    Args:
        flows: [N, N] with the region itself as row.
        hours: [N, 48] weights of the same flows by hour, or None.
    """

    def __init__(self, flows: sparse.csr_array, hours: sparse.csr_array | None) -> None:
        blocks = [_distribution(flows)] + ([] if hours is None else [_distribution(hours)])
        self._rows = sparse.csr_array(sparse.hstack(blocks, format="csr"), dtype=np.float32)
        self.width = self._rows.shape[1]

    def __call__(self, regions: Tensor) -> Tensor:
        """Float32 Tensor[B, width] of region indices int64 [B], on their device."""
        return torch.from_numpy(self._rows[regions.cpu().numpy()].toarray()).to(regions.device)

    def sparse(self, regions: Tensor) -> Tensor:
        """The same as a sparse COO tensor, whose memory goes with the flows of the regions and not with the city."""
        rows = self._rows[regions.cpu().numpy()].tocoo()
        places = torch.from_numpy(np.stack([rows.row, rows.col]).astype(np.int64))
        values = torch.from_numpy(rows.data)
        return torch.sparse_coo_tensor(places, values, rows.shape, check_invariants=False).to(regions.device)


def flow_profiles(city: City, hours: bool) -> tuple[FlowProfiles, FlowProfiles, np.ndarray]:
    """Profiles of what leaves and of what reaches the regions, and which regions have either (bool [N]).

    With `hours`, and where the city's flows have times, these are part of the profiles. The city must have flows.
    """
    flows = city.flows()
    assert flows is not None
    times = city.flow_times() if hours else None
    leaving, reaching = (None, None) if times is None else (_by_hour(times, end, city.n_regions) for end in ENDS)
    present = (np.asarray(flows.sum(axis=0)) + np.asarray(flows.sum(axis=1))).ravel() > 0
    return FlowProfiles(flows, leaving), FlowProfiles(flows.T.tocsr(), reaching), present


ENDS = ("origin", "destination")


def _by_hour(times: pd.DataFrame, end: str, n_regions: int) -> sparse.csr_array:
    """Weights float64 [N, 48] of the flows of a region by hour of a working day, then of the weekend."""
    slot = times["hour"].to_numpy(np.int64) + 24 * (times["weekday"].to_numpy() >= 5)
    entries = (times["weight"].to_numpy(np.float64), (times[end].to_numpy(np.int64), slot))
    return sparse.coo_array(entries, shape=(n_regions, SLOTS)).tocsr()


def _distribution(matrix: sparse.csr_array) -> sparse.csr_array:
    """Rows divided by their sums."""
    matrix = sparse.csr_array(matrix, dtype=np.float64, copy=True)
    sums = np.asarray(matrix.sum(axis=1)).ravel()
    matrix.data /= np.repeat(np.where(sums > 0, sums, 1.0), np.diff(matrix.indptr))
    return matrix


def distribution(counts: Tensor) -> Tensor:
    """Rows [..., C] divided by their sums; zero rows stay zero."""
    return counts / counts.sum(dim=-1, keepdim=True).clamp(min=1e-12)


def noisy(profiles: Tensor, sigma: float, count: int) -> list[Tensor]:
    """`count` variants of profiles [B, W], each the one before with Gaussian noise, cut at 0 and 1."""
    variants = []
    for _ in range(count):
        noise = sigma * torch.randn(profiles.shape).to(profiles.device)
        profiles = (profiles + noise).clamp(0.0, 1.0)
        variants.append(profiles)
    return variants


def changed(counts: Tensor, share: float) -> list[Tensor]:
    """Three variants of counts of points by category [B, C]: points deleted, added again, and replaced.

    Each point is deleted (doubled, moved to a category drawn evenly) with probability `share`. A region that would
    lose its last point keeps all.
    """
    less = counts - _some_of(counts, share)
    less = torch.where(less.sum(dim=1, keepdim=True) > 0, less, counts)
    more = counts + _some_of(counts, share)
    moved = _some_of(counts, share)
    region = torch.repeat_interleave(moved.sum(dim=1).long())
    category = torch.randint(counts.shape[1], (len(region),)).to(counts.device)
    ones = torch.ones(len(region), device=counts.device)
    replaced = (counts - moved).index_put((region, category), ones, accumulate=True)
    return [less, more, replaced]


def _some_of(counts: Tensor, share: float) -> Tensor:
    """Of each count of points how many are drawn, each with probability `share`."""
    counts = counts.cpu()
    return torch.binomial(counts, torch.full_like(counts, share)).to(counts.device)
