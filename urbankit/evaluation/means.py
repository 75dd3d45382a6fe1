"""What turns predictions of a target that is learned in logarithms into means."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from urbankit.evaluation.tasks import TaskData
from urbankit.evaluation.transforms import LOGARITHMS

LABELS_TO_LEAVE_ONE = 80
"""How many labels the expectation counts as that the factor is 1."""


def mean_factor(task: TaskData, held_out: NDArray[np.int64], prediction: NDArray[np.float64]) -> float:
    """Return the factor c by which predictions of a target that is learned in logarithms become means.

    The exponential of a mean logarithm is nearer to a median than to a mean: in skewed targets it is too small, and R²
    and RMSE judge means. Let y be labels of regions that the model was not fitted to and p its predictions for them.
    Least squares of y on p without an intercept, shrunk towards 1, gives

        c = 1 + n / (n + 80) · (Σ y p / Σ p² - 1).

    It is above 0, so that the order of predictions stays. It assumes that the mean of y is proportional to p, and
    nothing on the errors. The smearing estimator (Duan, 1983), which averages exp(log p + e) over the residuals e of
    logarithms, assumes that they are alike everywhere. They are not where a logarithm is uncertain for small values: in
    Singapore, where parks have no residents, it lowers R².

    Args:
        task: The labels, of N regions.
        held_out: Labelled regions that the model was not fitted to, [n].
        prediction: Predictions for them in the target's units, [n].

    Returns:
        The factor; 1 for a target that is not learned in logarithms, and without labels.
    """
    squares = float(np.square(prediction).sum()) if task.transform in LOGARITHMS else 0.0
    if squares == 0:
        return 1.0
    least_squares = float((task.y[held_out] * prediction).sum()) / squares
    n = len(held_out)
    return 1 + n / (n + LABELS_TO_LEAVE_ONE) * (least_squares - 1)
