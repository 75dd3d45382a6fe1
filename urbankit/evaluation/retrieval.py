"""Held-out retrieval: how often the vector of a region in one block is among the nearest to its vector in another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST_REGIONS = 500
"""Regions that are compared with each other at most; the others are left out by a draw."""

FEWEST_REGIONS = 20
"""With fewer regions nothing is measured: chance alone would explain almost every result."""

MOST_NEAREST = 10
"""The k of recall@k is a tenth of the candidates of a region, from 1 to this."""

STANDARD_ERRORS = 2
"""By how many standard errors the recall of a block that learned something exceeds both references."""

_EQUAL = 1e-6
"""Cosines closer than this are ties, as are those of a block that is the same for all regions."""


@dataclass(frozen=True)
class Recalled:
    """The result of one retrieval.

    Attributes:
        k: how many nearest candidates of a region are looked at.
        hits: by region, the probability that its own candidate is among them, in [0, 1]; ties are broken at random.
        chance: the mean of `hits` for vectors that say nothing.
    """

    k: int
    hits: NDArray[np.float64]
    chance: float

    def beside(self, before: Recalled) -> tuple[float, float, float, float, int, int]:
        """Return the recall, the recall `before` training, chance, the error of the difference, k and n.

        The error is the standard error of the difference to the larger of the two references. Both results are of the
        same n regions.
        """
        recall, untrained = float(self.hits.mean()), float(before.hits.mean())
        n = len(self.hits)
        if untrained > self.chance:
            error = float((self.hits - before.hits).std(ddof=1)) / n**0.5
        else:
            error = (self.chance * (1 - self.chance) / n) ** 0.5
        return recall, untrained, self.chance, error, self.k, n


def retrieve(
    queries: NDArray[np.floating], candidates: NDArray[np.floating], city: NDArray[np.int64]
) -> Recalled | None:
    """Look up each region's row of `candidates` by its row of `queries`, by cosine, within its city.

    Args:
        queries: the vectors of n regions in one block, [n, d].
        candidates: their vectors in another block, [n, d].
        city: the city of each region, [n]. Regions of other cities are no candidates: telling cities apart is no merit.

    Returns:
        The result; None with fewer than `FEWEST_REGIONS` regions.
    """
    if len(queries) < FEWEST_REGIONS:
        return None
    compared = city[:, None] == city
    cosine = np.where(compared, _unit(queries) @ _unit(candidates).T, -np.inf)
    match = cosine.diagonal()[:, None]
    equal = (np.abs(cosine - match) <= _EQUAL).sum(axis=1)
    nearer = len(cosine) - (cosine < match - _EQUAL).sum(axis=1) - equal
    n_candidates = compared.sum(axis=1)
    k = int(np.clip(n_candidates.mean() // 10, 1, MOST_NEAREST))
    hits = np.clip((k - nearer) / np.maximum(equal, 1), 0, 1)
    return Recalled(k, hits, float((np.minimum(k, n_candidates) / n_candidates).mean()))


def _unit(vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    vectors = vectors.astype(np.float64)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
