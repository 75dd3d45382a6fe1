"""What turns predictions of a target that is learned in logarithms into means."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from urbankit.evaluation.tasks import TaskData
from urbankit.evaluation.transforms import LOGARITHMS

LABELS_TO_LEAVE_ONE = 80
"""How many labels the expectation counts as that the factor is 1."""

LARGEST_FACTOR = math.e
"""The factor is at most this, and at least its inverse: one extreme label must not decide all predictions."""


@dataclass(frozen=True)
class Means:
    """What turns predictions of a target that is learned in logarithms into means.

    Attributes:
        factor: multiplies the predictions.
        largest: the largest label that the factor comes from. A prediction is not raised above it: where a model
            extrapolates it is too high already, and a factor would make that worse.
    """

    factor: float = 1.0
    largest: float = np.inf

    @classmethod
    def fit(cls, task: TaskData, held_out: NDArray[np.int64], prediction: NDArray[np.float64]) -> Means:
        """Fit the factor to labels of regions that the model was not fitted to.

        The exponential of a mean logarithm is nearer to a median than to a mean: in skewed targets it is too small, and
        R² and RMSE judge means. Let y be held-out labels and p the predictions for them. Least squares of y on p
        without an intercept, shrunk towards 1, gives

            c = 1 + n / (n + 80) · (Σ y p / Σ p² - 1), between 1 / e and e.

        The mean of y is assumed to be proportional to p, and nothing is assumed of the errors. The smearing estimator
        (Duan, 1983), which averages exp(log p + e) over the residuals e of logarithms, assumes that they are alike
        everywhere. They are not where a logarithm is uncertain for small values: in Singapore, where parks have no
        residents, it lowers R².

        Args:
            task: The labels, of N regions.
            held_out: Labelled regions that the model was not fitted to, [n].
            prediction: Predictions for them in the target's units, [n].

        Returns:
            The factor; 1 for a target that is not learned in logarithms, and without labels.
        """
        squares = float(np.square(prediction).sum()) if task.transform in LOGARITHMS else 0.0
        if squares == 0:
            return cls()
        y, n = task.y[held_out], len(held_out)
        least_squares = float((y * prediction).sum()) / squares
        factor = 1 + n / (n + LABELS_TO_LEAVE_ONE) * (least_squares - 1)
        return cls(float(np.clip(factor, 1 / LARGEST_FACTOR, LARGEST_FACTOR)), float(y.max()))

    def __call__(self, prediction: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the means of predictions in the target's units, [n]. Their order stays."""
        return np.minimum(prediction * self.factor, np.maximum(prediction, self.largest))
