"""Whether similarity in a view's block of the embedding orders pairs of regions as the view does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from urbankit.graph.view_ranks import symmetric
from urbankit.utils.standardise import centred_unit
from urbankit.views.base import ViewGraph

ALL_PAIRS = 2000
"""Up to this many regions all pairs are compared."""

SAMPLE = 1_000_000
"""Pairs that are drawn of more regions."""


@dataclass(frozen=True)
class ViewOrder:
    """How well a block of the embedding orders pairs of regions as a view does.

    The correlations are Spearman's, of the cosine similarity of two regions in the block about its mean with their
    weight in the view (the mean of both directions); NaN where either is constant.

    Attributes:
        spearman: over pairs of which at least half are related, that is, have a weight in the view. If fewer are, as
            many unrelated pairs are drawn as there are related ones. All unrelated pairs are one large tie: over all
            pairs even a perfect order does not reach 0.5 if a twelfth of them is related.
        spearman_all: over all pairs, or a random sample of them.
        related: the share of all pairs that are related.
    """

    spearman: float
    spearman_all: float
    related: float


def view_order(vectors: NDArray[np.float32], view: ViewGraph, seed: int = 0) -> ViewOrder:
    """Compare a block of the embedding with its view, over the regions that the view has.

    Args:
        vectors: the block, [N, width].
        view: the view of N regions.
        seed: of the sampled pairs.
    """
    rows = np.flatnonzero(view.present)
    both = symmetric(view.adjacency)[rows][:, rows].tocoo()
    n, rng = len(rows), np.random.default_rng(seed)
    upper = both.row < both.col
    related = both.row[upper].astype(np.int64) * n + both.col[upper]  # of the pair i < j, i * n + j
    total = n * (n - 1) // 2
    if not total:
        return ViewOrder(np.nan, np.nan, 0.0)
    unit = centred_unit(vectors[rows])
    order = np.argsort(related)
    related, weights = related[order], both.data[upper][order]
    pairs = _all_pairs(n) if n <= ALL_PAIRS else _random_pairs(n, SAMPLE, rng)

    def correlation(chosen: NDArray[np.int64]) -> float:
        return _spearman(_similarity(unit, chosen, n), _weight(related, weights, chosen))

    everything = correlation(pairs)
    share = len(related) / total
    if share >= 0.5:
        return ViewOrder(everything, everything, share)
    unrelated = pairs[_weight(related, weights, pairs) == 0]
    size = min(len(related), len(unrelated), SAMPLE // 2)
    chosen = [rng.choice(group, size, replace=False) for group in (related, unrelated)]
    return ViewOrder(correlation(np.concatenate(chosen)), everything, share)


def _all_pairs(n: int) -> NDArray[np.int64]:
    i, j = np.triu_indices(n, 1)
    return np.asarray(i * n + j, np.int64)


def _random_pairs(n: int, size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Distinct pairs i < j of n regions, at most `size`."""
    i, j = rng.integers(n, size=(2, size))
    low, high = np.minimum(i, j), np.maximum(i, j)
    return np.unique((low * n + high)[low < high])


def _similarity(unit: NDArray[np.float32], pairs: NDArray[np.int64], n: int) -> NDArray[np.float64]:
    i, j = np.divmod(pairs, n)
    step = 1 << 18  # rows of two blocks at a time
    return np.concatenate(
        [np.einsum("pd,pd->p", unit[i[k : k + step]], unit[j[k : k + step]]) for k in range(0, len(pairs), step)]
        or [np.empty(0)]
    ).astype(np.float64)


def _weight(related: NDArray[np.int64], weights: NDArray, pairs: NDArray[np.int64]) -> NDArray[np.float64]:
    """The weights of `pairs`: those of `related`, which are sorted, and 0."""
    if not len(related):
        return np.zeros(len(pairs))
    at = np.searchsorted(related, pairs).clip(max=len(related) - 1)
    return np.where(related[at] == pairs, weights[at], 0.0)


def _spearman(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(spearmanr(a, b).statistic)
