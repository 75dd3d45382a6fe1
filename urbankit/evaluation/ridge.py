"""Ridge regression with its penalty chosen by leave-one-out, of many small training sets at once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

ALPHAS = tuple(10.0 ** np.arange(-1, 5.5, 0.5))


class RidgeFits(NamedTuple):
    """Ridge regressions with an intercept, one for each of D training sets and each of A penalties.

    Attributes:
        left_out: predictions of each training row without its own label, [D, A, k, outputs].
        basis: right factor of the coefficients, [D, F, k].
        dual: left factor of the coefficients, [D, A, k, outputs].
        shift: weighted means of the features, [D, F].
        level: weighted means of the targets, [D, outputs].
    """

    left_out: Array
    basis: Array
    dual: Array
    shift: Array
    level: Array

    def predict(self, x: Array, draw: int, penalty: int) -> Array:
        """Return predictions [m, outputs] of one training set and penalty for rows [m, F]."""
        coefficients = self.basis[draw] @ self.dual[draw, penalty]
        return (x - self.shift[draw]) @ coefficients + self.level[draw]


def fit_ridge(x: Array, y: Array, weights: Array | None = None, alphas: tuple[float, ...] = ALPHAS) -> RidgeFits:
    """Fit ridge regressions by one eigendecomposition for each training set.

    With Xc the centred features and Xc Xcᵀ = V S Vᵀ, the fitted values are H y with
    H = 1 1ᵀ / k + V (S / (S + α)) Vᵀ, and the residual of row i without its label is (y - H y)_i / (1 - H_ii), which is
    exact (as in scikit-learn's `RidgeCV`). Weights multiply the rows by their roots.

    Args:
        x: features of the training rows, [D, k, F].
        y: targets, [D, k, outputs].
        weights: weights of the rows, positive, [D, k]; None for equal weights.
        alphas: penalties of the sum of squared errors.
    """
    share = np.full(x.shape[:2], 1 / x.shape[1]) if weights is None else weights / weights.sum(axis=1, keepdims=True)
    root = np.ones(x.shape[:2]) if weights is None else np.sqrt(weights)
    shift, level = (np.einsum("dk,dkf->df", share, values) for values in (x, y))
    scaled_x, scaled_y = root[..., None] * (x - shift[:, None]), root[..., None] * (y - level[:, None])
    values, vectors = np.linalg.eigh(scaled_x @ scaled_x.transpose(0, 2, 1))
    values = np.maximum(values, 0)[:, None]
    penalty = np.asarray(alphas)[None, :, None]
    rotated = vectors.transpose(0, 2, 1) @ scaled_y
    fitted = vectors[:, None] @ ((values / (values + penalty))[..., None] * rotated[:, None])
    leverage = share[:, None] + (values / (values + penalty)) @ np.square(vectors).transpose(0, 2, 1)
    residual = (scaled_y[:, None] - fitted) / np.maximum(1 - leverage, 1e-12)[..., None]
    dual = vectors[:, None] @ ((1 / (values + penalty))[..., None] * rotated[:, None])
    return RidgeFits(y[:, None] - residual / root[:, None, :, None], scaled_x.transpose(0, 2, 1), dual, shift, level)
