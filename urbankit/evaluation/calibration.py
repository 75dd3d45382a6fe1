"""Class probabilities calibrated on regions whose labels the model did not see, and how well they are calibrated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

BINS = 10
PENALTY = 1e-3
"""Weight of the squared biases. Without it the bias of a class without any calibrating region has no bound."""


@dataclass(frozen=True)
class Calibration:
    """Probabilities `softmax(scale · output + bias)`: temperature scaling with biases (Guo et al., 2017).

    It serves heads whose outputs are logits and heads that regress class indicators.

    Attributes:
        scale: one number above 0, so that the order of classes changes by the biases alone.
        bias: one number for each class, [C].
        least: stands for outputs of minus infinity, which a forest gives to a class without votes.
    """

    scale: float
    bias: NDArray[np.float64]
    least: float = -1.0

    @classmethod
    def fit(cls, outputs: NDArray[np.float64], classes: NDArray[np.int64]) -> Calibration:
        """Maximise the likelihood of the true classes int64 [n] under the outputs [n, C] of a head.

        Outputs are of regions that the head was not fitted to.
        """
        least = float(outputs[np.isfinite(outputs)].min(initial=0.0)) - 1.0
        outputs = _finite(outputs, least)
        n, n_classes = outputs.shape
        one_hot = np.eye(n_classes)[classes]
        unit = float(outputs.std()) or 1.0

        def loss(theta: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            scale, bias = np.exp(theta[0]), theta[1:]
            logits = scale * outputs / unit + bias
            log_p = log_softmax(logits, axis=1)
            error = np.exp(log_p) - one_hot
            value = -(log_p * one_hot).sum() / n + PENALTY * (theta**2).sum()
            gradient = np.concatenate([[(error * outputs / unit).sum() * scale], error.sum(axis=0)]) / n
            return value, gradient + 2 * PENALTY * theta

        theta = minimize(loss, np.zeros(n_classes + 1), jac=True, method="L-BFGS-B").x
        return cls(float(np.exp(theta[0]) / unit), theta[1:], least)

    def probabilities(self, outputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probabilities [m, C] of outputs [m, C]; each row sums to 1."""
        return softmax(self.scale * _finite(outputs, self.least) + self.bias, axis=1)


def _finite(outputs: NDArray[np.float64], least: float) -> NDArray[np.float64]:
    return np.where(np.isneginf(outputs), least, outputs)


def expected_calibration_error(probabilities: NDArray[np.float64], classes: NDArray[np.int64]) -> float:
    """The expected calibration error of the likeliest class (Guo et al., 2017, eq. 3), over ten equal bins.

    It is the mean distance of confidence and accuracy, weighed by the regions in each bin.
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == classes
    bins = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    gaps = np.bincount(bins, weights=confidence - correct, minlength=BINS)
    return float(np.abs(gaps).sum() / len(classes))
