"""What a head starts from: the predictions of a model that was trained on other cities."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from urbankit.heads.transform import Transform

Array = NDArray[np.float64]

STEEPEST = 0.7
"""Largest slope that is expected of labels on predictions, both in units of their standard deviations."""
EXPECTED_VARIANCES = {"level": (0.3, 2.0), "slope": (0.03, 1.0)}
"""Median and standard deviation of the logarithm of the variances of level and slope about what is expected of them.

Variances are in units of that of the labels.
"""


@dataclass(frozen=True)
class Prior:
    """Predictions of a model of other cities, standardised over all regions of this city.

    In the form that the task is learned in, the predictions are `level + size · columns`.

    Attributes:
        columns: [n, outputs]; over all regions of the city each column has mean 0, all together mean square 1.
        level: The mean prediction of each output, [outputs].
        size: The root of the mean square of the predictions about their level; 0 if they are the same everywhere.
    """

    columns: Array
    level: Array
    size: float

    @classmethod
    def of(cls, predictions: Array, transform: Transform | None) -> Prior:
        """Standardise predictions for the N regions of a city.

        Args:
            predictions: Of a regression, in the target's own units, [N]; of classes log-probabilities, [N, classes].
            transform: The form in which a regression target is learned; None for its own units, and for classes.
        """
        if predictions.ndim == 2:
            values = np.exp(predictions)
        else:
            values = (predictions if transform is None else transform.transform(predictions))[:, None]
        level = values.mean(axis=0)
        size = float(np.sqrt(np.square(values - level).mean()))
        if size <= 1e-9 * np.abs(values).max():
            return cls(np.zeros_like(values), level, 0.0)
        return cls((values - level) / size, level, size)

    def rows(self, index: NDArray[np.int64]) -> Prior:
        """Return the prior of the regions `index`."""
        return replace(self, columns=self.columns[index])


@dataclass(frozen=True)
class Start:
    """What is expected of labels before a head is fitted to them, with their unit.

    Attributes:
        size: The standard deviation of the labels, of all outputs together; what a head learns is in this unit.
        level: The expected level of each output, [outputs]: that of the prior, or the mean of the labels without one.
        slope: The expected slope of labels, in the unit, on the columns of the prior: as if the predictions were right
            but for noise. Predictions that vary more than the labels are shrunk; 0 without a prior.
    """

    size: float
    level: Array
    slope: float

    @classmethod
    def of(cls, y: Array, prior: Prior | None) -> Start:
        """Return the start of labels [n, outputs]."""
        mean = y.mean(axis=0)
        size = float(np.sqrt(np.square(y - mean).mean()))
        if prior is None:
            return cls(size or 1.0, mean, 0.0)
        size = size or 2 * prior.size or 1.0
        return cls(size, prior.level, min(prior.size / size, STEEPEST))

    def residuals(self, y: Array, prior: Prior | None) -> Array:
        """Return labels minus what is expected of them, [n, outputs], in the unit of `size`."""
        residuals = (y - self.level) / self.size
        return residuals if prior is None else residuals - self.slope * prior.columns

    @staticmethod
    def basis(y: Array, prior: Prior | None) -> Array:
        """Return what level and slope multiply, by output: [outputs, n, 2], or [outputs, n, 1] without a prior."""
        columns = [np.ones_like(y.T)] if prior is None else [np.ones_like(y.T), prior.columns.T]
        return np.stack(columns, axis=2)
