"""Whether two rows differ by more than chance: paired t-tests, corrected for splits that overlap."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

FEWEST = 3
"""Fewer paired differences than this are not tested."""

LEVEL = 0.05

ROUNDING = 1e-9
"""Differences with a standard deviation below this share of their mean are equal up to rounding."""


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
    a, b = _Sample.of(one), _Sample.of(other)
    shared = np.intersect1d(a.run_seed, b.run_seed)  # NaN is equal to nothing
    if len(shared):
        a, b = (sample.of_runs(shared) for sample in (a, b))
    if test_to_train is not None:
        by_split = _differences(a.by(a.seed), b.by(b.seed))
        if len(by_split) > 1:
            return corrected_t(by_split, test_to_train)
    by_run = _by_run(a, b)
    if len(by_run):
        return corrected_t(by_run, 0.0)
    return Test("t", 0, _nanmean(a.value) - _nanmean(b.value), math.nan)


def corrected_t(differences: NDArray[np.float64], test_to_train: float) -> Test:
    """The corrected resampled t-test (Nadeau & Bengio 2003, Inference for the generalization error, eq. 9).

    Training parts of n random splits overlap, so the plain t-test takes their differences for more independent than
    they are. Its variance s²/n becomes s²·(1/n + `test_to_train`), the ratio of the sizes of test and training part;
    n - 1 degrees of freedom. With a ratio of 0 it is the plain paired t-test. Differences that are all equal are not
    tested, because they have no variance; if all are 0, p is 1.
    """
    n, mean = len(differences), _mean(differences)
    name = "corrected t" if test_to_train else "t"
    if n < FEWEST:
        return Test(name, n, mean, math.nan)
    if not differences.any():
        return Test(name, n, mean, 1.0)
    std = float(np.std(differences, ddof=1))
    if std <= ROUNDING * abs(mean):
        return Test(name, n, mean, math.nan)
    error = std * math.sqrt(1 / n + test_to_train)
    return Test(name, n, mean, float(2 * stats.t.sf(abs(mean) / error, n - 1)))


def holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Holm's step-down adjustment of p-values [m]; NaN are no tests and stay NaN."""
    adjusted = np.full(len(p), np.nan)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    factors = len(order) - np.arange(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1.0)
    return adjusted


class _Sample(NamedTuple):
    """Values [n] with the seeds that they were measured with; NaN where there is none."""

    run_seed: NDArray[np.float64]
    seed: NDArray[np.float64]
    value: NDArray[np.float64]

    @classmethod
    def of(cls, table: pd.DataFrame) -> _Sample:
        return cls(*(table[name].to_numpy(np.float64, na_value=np.nan) for name in cls._fields))

    def of_runs(self, run_seeds: NDArray[np.float64]) -> _Sample:
        selected = np.isin(self.run_seed, run_seeds)
        return _Sample(*(column[selected] for column in self))

    def by(self, key: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The values of `key` without NaN, ascending, and the mean of the values with each, ignoring NaN."""
        valid = ~np.isnan(key)
        keys, index = np.unique(key[valid], return_inverse=True)
        values = self.value[valid]
        defined = ~np.isnan(values)
        with np.errstate(invalid="ignore"):
            means = np.bincount(index, np.where(defined, values, 0.0)) / np.bincount(index, defined)
        return keys, means


def _by_run(one: _Sample, other: _Sample) -> NDArray[np.float64]:
    """Differences by seed of pre-training; of a row that has none (a floor) the mean counts for every one."""
    by_seed = other.by(other.run_seed)
    if not len(by_seed[0]) and len(other.value):
        differences = one.by(one.run_seed)[1] - _nanmean(other.value)
        return differences[~np.isnan(differences)]
    return _differences(one.by(one.run_seed), by_seed)


def _differences(
    one: tuple[NDArray[np.float64], NDArray[np.float64]], other: tuple[NDArray[np.float64], NDArray[np.float64]]
) -> NDArray[np.float64]:
    """Differences of the means where both have one."""
    _, in_one, in_other = np.intersect1d(one[0], other[0], assume_unique=True, return_indices=True)
    differences = one[1][in_one] - other[1][in_other]
    return differences[~np.isnan(differences)]


def _nanmean(values: NDArray[np.float64]) -> float:
    return _mean(values[~np.isnan(values)])


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else math.nan
