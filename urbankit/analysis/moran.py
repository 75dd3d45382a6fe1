"""Spatial autocorrelation: Moran's I of values over regions, with a permutation test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.sparse
import shapely
from numpy.typing import NDArray
from scipy.spatial import cKDTree

NEIGHBOURS = 8
PERMUTATIONS = 999
FEWEST = 8
"""Values below which nothing is tested."""


class Moran(NamedTuple):
    """Moran's I, its one-sided pseudo p-value, and how many values it is of; NaN where it is not defined."""

    i: float
    p: float
    n: int


def contiguity(shapes: Sequence[object] | NDArray) -> scipy.sparse.csr_array:
    """Row-standardised weights [N, N] of regions that share a border or a corner (queen contiguity).

    Regions without areas, such as points, have their 8 nearest as neighbours. A region without neighbours has a row of
    zeros.
    """
    shapes = np.asarray(shapes)
    if len(shapes) < 2:
        return scipy.sparse.csr_array((len(shapes), len(shapes)))
    if (shapely.area(shapes) > 0).all():
        left, right = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    else:
        left, right = _nearest(shapely.get_coordinates(shapely.centroid(shapes)))
    apart = left != right
    left, right = left[apart], right[apart]
    share = 1 / np.bincount(left, minlength=len(shapes))[left]
    return scipy.sparse.csr_array((share, (left, right)), shape=(len(shapes), len(shapes)))


def moran(
    values: NDArray[np.float64], weights: scipy.sparse.csr_array, permutations: int = PERMUTATIONS, seed: int = 0
) -> Moran:
    """`I = n / S₀ · zᵀ W z / zᵀ z` of `values` [n] about their mean, S₀ being the sum of the weights [n, n].

    The p-value is the share of random permutations of the values, drawn from `seed`, with an I as far out on the same
    side. Not defined for constant values, no neighbours, or fewer than 8 values. Moran, Biometrika 37 (1950).
    """
    n, total = len(values), float(weights.sum())
    z = values - values.mean() if n else values
    square = float(z @ z)
    if n < FEWEST or total == 0 or square <= 1e-20 * max(1.0, float(np.abs(values).max()) ** 2):
        return Moran(np.nan, np.nan, n)
    observed = float(n / total * (z @ (weights @ z)) / square)
    rng, at_least = np.random.default_rng(seed), 0
    step = max(1, 2_000_000 // n)
    for begin in range(0, permutations, step):
        shuffled = rng.permuted(np.tile(z, (min(step, permutations - begin), 1)), axis=1)
        permuted = n / total * np.einsum("pn,pn->p", shuffled, (weights @ shuffled.T).T) / square
        at_least += int((permuted >= observed).sum())
    further = min(at_least, permutations - at_least)
    return Moran(observed, (further + 1) / (permutations + 1), n)


def _nearest(xy: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    k = min(NEIGHBOURS + 1, len(xy))
    neighbours = cKDTree(xy).query(xy, k)[1]
    return np.repeat(np.arange(len(xy)), k), neighbours.ravel()
