"""Whether two rows differ by more than chance: paired t-tests, corrected for splits that overlap."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

FEWEST = 3
"""Fewer paired differences than this are not tested."""

LEVEL = 0.05

ROUNDING = 1e-9
"""Differences that spread by less than this share of their mean are equal but for rounding."""


class Test(NamedTuple):
    """A two-sided paired test of `n` differences, of mean `difference`; `p` is NaN where it was not tested."""

    name: str
    n: int
    difference: float
    p: float


def compare(one: pd.DataFrame, other: pd.DataFrame, test_to_train: float | None) -> Test:
    """Test two rows' values of one metric: tables with `run_seed`, `seed` and `value`.

    Where `seed` is that of a split, a split is one observation: the difference of the rows' means over the seeds of
    pre-training that both have, for runs that share their splits are not independent. `test_to_train` is as in
    `corrected_t`; None says that `seed` draws no regions (it is k-means' own, or that of splits of another city). Then,
    and where all is on one split, an observation is a seed of pre-training, averaged over `seed`.
    """
    shared = set(one["run_seed"].dropna()) & set(other["run_seed"].dropna())
    if shared:
        one, other = (table[table["run_seed"].isin(shared)] for table in (one, other))
    if test_to_train is not None:
        by_split = _differences(one, other, "seed")
        if len(by_split) > 1:
            return corrected_t(by_split, test_to_train)
    by_run = _differences(one, other, "run_seed")
    if len(by_run):
        return corrected_t(by_run, 0.0)
    return Test("t", 0, float(one["value"].mean() - other["value"].mean()), math.nan)


def corrected_t(differences: NDArray[np.float64], test_to_train: float) -> Test:
    """The corrected resampled t-test (Nadeau & Bengio 2003, Inference for the generalization error, eq. 9).

    Training parts of n random splits overlap, so the plain t-test takes their differences for more independent than
    they are. Its variance s²/n becomes s²·(1/n + `test_to_train`), the ratio of the sizes of test and training part;
    n - 1 degrees of freedom. With a ratio of 0 it is the plain paired t-test. Differences that are all the same have
    no spread to judge them by and are not tested; where all are 0, p is 1.
    """
    from scipy import stats

    n, mean = len(differences), _mean(differences)
    name = "corrected t" if test_to_train else "t"
    if n < FEWEST:
        return Test(name, n, mean, math.nan)
    if not differences.any():
        return Test(name, n, mean, 1.0)
    spread = float(np.std(differences, ddof=1))
    if spread <= ROUNDING * abs(mean):
        return Test(name, n, mean, math.nan)
    error = spread * math.sqrt(1 / n + test_to_train)
    return Test(name, n, mean, float(2 * stats.t.sf(abs(mean) / error, n - 1)))


def holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Holm's step-down adjustment of p-values [m]; NaN are no tests and stay NaN."""
    adjusted = np.full(len(p), np.nan)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    factors = len(order) - np.arange(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1.0)
    return adjusted


def _differences(one: pd.DataFrame, other: pd.DataFrame, key: str) -> NDArray[np.float64]:
    """Differences of means by `key`, where both have one; a row without the key (a floor) counts for every value."""
    means = [table.dropna(subset=[key]).groupby(key)["value"].mean() for table in (one, other)]
    if key == "run_seed" and means[1].empty and len(other):
        return (means[0] - other["value"].mean()).dropna().to_numpy(dtype=np.float64)
    return (means[0] - means[1]).dropna().to_numpy(dtype=np.float64)


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else math.nan
