"""Centring and scaling of vectors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def centred(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return `vectors` [N, dim] minus their mean, which is computed in float64."""
    z = np.asarray(vectors, np.float32)
    return z - z.mean(axis=0, dtype=np.float64).astype(np.float32)


def centred_unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return `vectors` [N, dim] minus their mean, scaled to length 1; a vector equal to the mean becomes 0."""
    z = centred(vectors)
    length = np.linalg.norm(z, axis=1, keepdims=True)
    return np.divide(z, length, out=np.zeros_like(z), where=length > 1e-12)


def standardised(values: NDArray, reference: NDArray | None = None, least: float = 1e-12) -> NDArray[np.float64]:
    """Return columns with mean 0 and standard deviation 1; a constant column becomes 0.

    Args:
        values: [N, F].
        reference: the rows [n, F] that mean and standard deviation are computed from; None for the rows of `values`
            that are finite, of which there must be one.
        least: a column with a standard deviation of at most this is constant.
    """
    z = np.asarray(values, np.float64)
    rows = z[np.isfinite(z).all(axis=1)] if reference is None else reference
    return np.asarray((z - rows.mean(axis=0)) / nonzero_std(rows, least))


def nonzero_std(values: NDArray[np.float64], least: float = 1e-12) -> NDArray[np.float64]:
    """Return the standard deviation of `values` over the first dimension, 1 where it is at most `least`."""
    std = np.asarray(values.std(axis=0))
    return np.where(std > least, std, 1.0)
