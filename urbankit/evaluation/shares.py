"""Shares that sum to one as numbers without bounds, the form in which a distribution is learned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from urbankit.utils.standardise import nonzero_std

Array = NDArray[np.float64]

RAREST = 1 / 10
"""A share below this times the mean share of its part, and below `MOST`, counts as zero: the logarithm of a tiny share
is far below that of all others, and would decide the fit. Of 1/5, 1/10 and 1/20, without `MOST`, it has the smallest
divergence in the land use of three of four cities, where more than half of the shares are zero."""

ROUNDED = 0.65
"""What replaces a zero, as a part of the share below which it counts as one (Martín-Fernández et al., 2003)."""

MOST = 0.01
"""No share above this counts as zero: a tenth of the mean is no tiny share where a part has almost everything."""

LEAST = 1e-6
"""The least share that counts as zero, for a part that no training region has."""


@dataclass(frozen=True)
class ShareTransform:
    """Shares of K parts, rows that sum to one, as K - 1 isometric log-ratio coordinates (Egozcue et al., 2003).

    Coordinate j is `√(j / (j + 1)) · log(g(x_1 … x_j) / x_(j+1))`, g being the geometric mean, standardised by the
    training part. Shares that count as zero are first replaced, and the others scaled so that the sum stays one: the
    multiplicative replacement of rounded zeros (Martín-Fernández et al., 2003).

    Every head that predicts a number can predict a coordinate, heads of plugins too: a fitted head is fitted to one
    coordinate after another, and a head that is trained by gradient steps has an output for each. A softmax of K
    outputs with the Kullback-Leibler divergence would serve only the latter, which therefore use coordinates as well.

    Attributes:
        limit: the share of each part below which it counts as zero, [K].
        basis: the coordinates of the logarithms of shares, [K, K - 1], orthonormal columns that sum to zero.
        mean, std: mean and standard deviation of the coordinates of the training part, [K - 1].
    """

    limit: Array
    basis: Array
    mean: Array
    std: Array

    @classmethod
    def fit(cls, train: Array) -> ShareTransform:
        """Fit to the shares [n, K] of the training part only. A constant coordinate keeps std 1."""
        train = np.asarray(train, dtype=np.float64)
        limit = np.clip(RAREST * train.mean(axis=0), LEAST, MOST)
        plain = cls(limit, ilr_basis(train.shape[1]), np.zeros(1), np.ones(1))
        coordinates = plain.transform(train)
        return cls(limit, plain.basis, coordinates.mean(axis=0), np.asarray(nonzero_std(coordinates)))

    def transform(self, y: Array) -> Array:
        """Shares [..., K] to coordinates [..., K - 1]; NaN stays NaN."""
        return (np.log(self.positive(y)) @ self.basis - self.mean) / self.std

    def inverse(self, z: Array) -> Array:
        """Coordinates [..., K - 1] to shares [..., K]."""
        logarithms = (np.asarray(z, dtype=np.float64) * self.std + self.mean) @ self.basis.T
        shares = np.exp(logarithms - logarithms.max(axis=-1, keepdims=True))
        return shares / shares.sum(axis=-1, keepdims=True)

    def columns(self, y: Array) -> Array:
        """Shares [..., K] as the outputs of a model, which are the coordinates."""
        return self.transform(y)

    def predicted(self, outputs: Array) -> Array:
        """Shares [..., K] from the outputs [..., K - 1] of a model."""
        return self.inverse(outputs)

    def positive(self, y: Array, zero: NDArray[np.bool_] | None = None) -> Array:
        """Shares [..., K] of which none is zero; NaN stays NaN. `zero` [..., K] are those to replace."""
        y = np.asarray(y, dtype=np.float64)
        zero = y < self.limit if zero is None else zero
        left = 1 - np.where(zero, ROUNDED * self.limit, 0).sum(axis=-1, keepdims=True)
        others = np.where(zero, 0, y)
        return np.where(zero, ROUNDED * self.limit, others * left / others.sum(axis=-1, keepdims=True))


def ilr_basis(parts: int) -> Array:
    """Return the basis of `ShareTransform`, [K, K - 1]."""
    basis = np.zeros((parts, parts - 1))
    for j in range(1, parts):
        basis[:j, j - 1] = 1 / j
        basis[j, j - 1] = -1
        basis[:, j - 1] *= np.sqrt(j / (j + 1))
    return basis
