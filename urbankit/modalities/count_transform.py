"""The form in which counts (points of interest, trips) are used: logarithm, square root, or the count itself."""

from __future__ import annotations

from typing import Literal, TypeVar

import numpy as np
from scipy import sparse

CountTransform = Literal["log", "root", "count"]

DESCRIPTION = (
    "`log` is log(1 + count), which separates small counts and compresses large ones. `root` is the square root, which "
    "has the same deviation for Poisson counts of every size. `count` is the count itself, for targets that are "
    "proportional to it."
)

Counts = TypeVar("Counts", np.ndarray, sparse.csr_array)


def transform_counts(counts: Counts, form: CountTransform) -> Counts:
    """Counts of at least 0, an array or a sparse matrix of any shape, in `form`; 0 stays 0 in each."""
    if form == "count":
        return counts
    if isinstance(counts, np.ndarray):
        return np.log1p(counts) if form == "log" else np.sqrt(counts)
    return counts.log1p() if form == "log" else counts.sqrt()
