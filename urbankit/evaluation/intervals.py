"""Conformal prediction intervals, from the residuals of regions whose labels the model did not see.

No assumption on the model or on the distribution of its errors is needed. Regions must be exchangeable with those that
calibrate the interval; the split protocol decides which regions these are.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BISECTIONS = 60
"""Halvings of the range of a quantile. They leave less than a rounding error of it."""


class Interval(NamedTuple):
    """Lower and upper bounds, float64 [n], of a prediction."""

    lower: NDArray[np.float64]
    upper: NDArray[np.float64]


def highest_level(n: int) -> float:
    """The highest level, in hundredths, that `n` residuals can calibrate."""
    return math.floor(100 * n / (n + 1)) / 100


def split_conformal(residuals: NDArray[np.float64], prediction: NDArray[np.float64], level: float) -> Interval | None:
    """The split-conformal interval (Lei et al., 2018): the prediction, plus and minus a quantile of the residuals.

    Args:
        residuals: absolute residuals of regions that the model was not fitted to, [n].
        prediction: predictions, [m].
        level: the share of new regions that the interval should cover.

    Returns:
        The interval, [m]; None if `n` is too small for the level.
    """
    rank = _rank(level, len(residuals))
    if rank > len(residuals):
        return None
    radius = np.partition(residuals, rank - 1)[rank - 1]
    return Interval(prediction - radius, prediction + radius)


def cv_plus(
    residuals: NDArray[np.float64], fold: NDArray[np.int64], by_fold: NDArray[np.float64], level: float
) -> Interval | None:
    """The CV+ interval, the jackknife+ over folds (Barber et al., 2021, section 3).

    The lower bound is the quantile over labelled regions i of (prediction of the model fitted without the fold of i)
    minus residual i; the upper bound likewise. Cost grows with (n + m) K log n, not with n m.

    Args:
        residuals: absolute out-of-fold residuals of the labelled regions, [n].
        fold: the fold of each labelled region, [n], from 0 to K - 1.
        by_fold: predictions of the model fitted without each fold, [K, m].
        level: the share of new regions that the interval should cover.

    Returns:
        The interval, [m]; None if `n` is too small for the level.
    """
    rank = _rank(level, len(residuals))
    if rank > len(residuals):
        return None
    of_folds = [np.sort(residuals[fold == k]) for k in range(len(by_fold))]
    upper = _shifted_quantile(of_folds, by_fold, rank)
    return Interval(-_shifted_quantile(of_folds, -by_fold, rank), upper)


def _shifted_quantile(
    residuals: list[NDArray[np.float64]], by_fold: NDArray[np.float64], rank: int
) -> NDArray[np.float64]:
    """The `rank`-th smallest, [m], of all sums of `by_fold[k]` [m] and one of the sorted `residuals[k]`."""
    ends = np.array([[values[0], values[-1]] if len(values) else [np.inf, -np.inf] for values in residuals])
    low, high = (by_fold + ends[:, :1]).min(axis=0), (by_fold + ends[:, 1:]).max(axis=0)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        counts = sum(
            np.searchsorted(values, middle - shift, side="right")
            for values, shift in zip(residuals, by_fold, strict=True)
        )
        enough = counts >= rank
        high, low = np.where(enough, middle, high), np.where(enough, low, middle)
    return high


def _rank(level: float, n: int) -> int:
    """Which of `n` sorted residuals bounds the interval; more than `n` if they are too few."""
    return math.ceil(round(level * (n + 1), 9))
