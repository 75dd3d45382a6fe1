"""Whether two rows differ by more than chance: paired tests over splits, corrected for splits that overlap."""

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


class Test(NamedTuple):
    """A two-sided paired test of `n` differences, of mean `difference`; `p` is NaN where there were too few."""

    name: str
    n: int
    difference: float
    p: float


def compare(one: pd.DataFrame, other: pd.DataFrame, test_to_train: float | None) -> Test:
    """Test two rows' values of one metric: tables with `run_seed`, `seed` (of the split) and `value`.

    A split is one observation: the difference of the rows' means over the seeds of pre-training that both have, for
    runs that share their splits are not independent. Where all is on one split, an observation is a seed of
    pre-training. `test_to_train` as in `corrected_t`; None where it is not known.
    """
    shared = set(one["run_seed"].dropna()) & set(other["run_seed"].dropna())
    if shared:
        one, other = (table[table["run_seed"].isin(shared)] for table in (one, other))
    by_split = _differences(one, other, "seed")
    if len(by_split) > 1:
        return wilcoxon(by_split) if test_to_train is None else corrected_t(by_split, test_to_train)
    by_run = _differences(one, other, "run_seed")
    return corrected_t(by_run, 0.0) if len(by_run) > 1 else Test("none", len(by_split), _mean(by_split), math.nan)


def corrected_t(differences: NDArray[np.float64], test_to_train: float) -> Test:
    """The corrected resampled t-test (Nadeau & Bengio 2003, Inference for the generalization error, eq. 9).

    Training parts of n random splits overlap, so the plain t-test takes their differences for more independent than
    they are. Its variance s²/n becomes s²·(1/n + `test_to_train`), the ratio of the sizes of test and training part;
    n - 1 degrees of freedom. With a ratio of 0 it is the plain paired t-test.
    """
    from scipy import stats

    n, mean = len(differences), _mean(differences)
    name = "corrected t" if test_to_train else "t"
    if n < FEWEST:
        return Test(name, n, mean, math.nan)
    error = math.sqrt(float(np.var(differences, ddof=1)) * (1 / n + test_to_train))
    if error == 0:
        return Test(name, n, mean, 1.0 if mean == 0 else 0.0)
    return Test(name, n, mean, float(2 * stats.t.sf(abs(mean) / error, n - 1)))


def wilcoxon(differences: NDArray[np.float64]) -> Test:
    """Wilcoxon's signed-rank test, for protocols whose overlap has no known correction."""
    from scipy import stats

    n, mean = len(differences), _mean(differences)
    if n < FEWEST:
        return Test("Wilcoxon", n, mean, math.nan)
    if not differences.any():
        return Test("Wilcoxon", n, mean, 1.0)
    return Test("Wilcoxon", n, mean, float(stats.wilcoxon(differences).pvalue))


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
