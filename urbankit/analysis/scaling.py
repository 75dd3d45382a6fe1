"""Centring and scaling of vectors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def centred(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """`vectors` [N, dim] about their mean, which is taken in float64."""
    z = np.asarray(vectors, np.float32)
    return z - z.mean(axis=0, dtype=np.float64).astype(np.float32)


def centred_unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """`vectors` [N, dim] about their mean, scaled to length 1; those at the mean itself stay zero, like nothing."""
    z = centred(vectors)
    length = np.linalg.norm(z, axis=1, keepdims=True)
    return np.divide(z, length, out=np.zeros_like(z), where=length > 1e-12)


def standardised(features: NDArray) -> NDArray[np.float64]:
    """Columns of `features` [N, F] with mean 0 and deviation 1 over the rows that are finite, of which there must be
    some; a constant column becomes 0."""
    z = np.asarray(features, np.float64)
    finite = z[np.isfinite(z).all(axis=1)]
    std = finite.std(axis=0)
    return np.asarray((z - finite.mean(axis=0)) / np.where(std > 1e-9, std, 1))
