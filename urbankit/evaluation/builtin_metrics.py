"""The metrics of urbankit itself, in the target's own units."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import rel_entr
from scipy.stats import entropy
from sklearn.metrics import accuracy_score, adjusted_rand_score, f1_score, normalized_mutual_info_score, recall_score

from urbankit.evaluation.calibration import expected_calibration_error
from urbankit.evaluation.metrics import Metric
from urbankit.evaluation.shares import LEAST


class R2(Metric):
    """The coefficient of determination. NaN for a constant truth or fewer than two values: it is not defined."""

    kinds = ("regression",)
    label = "R²"
    higher_is_better = True
    order = 0
    suite_order = 20
    fold_mean = True

    def compute(self, truth: NDArray[Any], prediction: NDArray[Any]) -> float:
        variance = float(np.var(truth)) if truth.min() < truth.max() else 0.0
        return 1 - mean_squared_error(truth, prediction) / variance if variance > 0 else float("nan")

    def in_words(self, value: float, unit: str = "") -> str:
        if value < 0.005:
            return "explains none of the differences between regions"
        return f"explains {value:.0%} of the differences between regions"


class KL(Metric):
    """The mean Kullback-Leibler divergence of the predicted from the true shares, in nats.

    Predicted shares below 1e-6 count as 1e-6: without it one part that is predicted as absent, and is there, would make
    the divergence infinite.
    """

    kinds = ("distribution",)
    label = "KL divergence"
    higher_is_better = False
    order = 5
    suite_order = 50

    def compute(self, truth: NDArray[Any], prediction: NDArray[Any]) -> float:
        return float(np.mean(divergences(truth, prediction)))

    def in_words(self, value: float, unit: str = "") -> str:
        return f"diverges by {three_digits(value)} nats from the true shares"


class JensenShannon(Metric):
    """The mean Jensen-Shannon distance of true and predicted shares, the root of the divergence in bits: 0 to 1."""

    kinds = ("distribution",)
    label = "JS distance"
    higher_is_better = False
    order = 6
    suite_order = 60

    def compute(self, truth: NDArray[Any], prediction: NDArray[Any]) -> float:
        middle = (truth + prediction) / 2
        divergence = (rel_entr(truth, middle) + rel_entr(prediction, middle)).sum(axis=1) / (2 * np.log(2))
        return float(np.mean(np.sqrt(np.maximum(divergence, 0))))  # rounding makes it negative for equal shares


class MAE(Metric):
    """The mean absolute error; of a distribution, over all parts."""

    kinds = ("regression", "distribution")
    label = "MAE"
    higher_is_better = False
    order = 10
    suite_order = 0

    def compute(self, truth: NDArray[Any], prediction: NDArray[Any]) -> float:
        return float(np.mean(np.abs(prediction - truth)))

    def in_words(self, value: float, unit: str = "") -> str:
        return f"is off by {three_digits(value)}{f' {unit}' if unit else ''} on average"


class RMSE(Metric):
    """The root of the mean squared error."""

    kinds = ("regression",)
    label = "RMSE"
    higher_is_better = False
    order = 20
    suite_order = None

    def compute(self, truth: NDArray[Any], prediction: NDArray[Any]) -> float:
        return mean_squared_error(truth, prediction) ** 0.5


class MSE(Metric):
    """The mean squared error."""

    kinds = ("regression",)
    label = "MSE"
    higher_is_better = False
    order = 30
    in_run_table = False
    suite_order = 10

    def compute(self, truth: NDArray[Any], prediction: NDArray[Any]) -> float:
        return mean_squared_error(truth, prediction)


class MacroF1(Metric):
    """The mean of the F1 of the classes that occur in the truth or in the prediction (scikit-learn's default).

    A class that is predicted but never true counts as 0.
    """

    kinds = ("classification",)
    label = "macro-F1"
    higher_is_better = True
    order = 40
    suite_order = 30

    def compute(self, truth: NDArray[Any], prediction: NDArray[Any]) -> float:
        return float(f1_score(truth, prediction, average="macro", zero_division=0))


class WeightedF1(Metric):
    """The mean of the F1 of the classes, weighted by how often they are true."""

    kinds = ("classification",)
    label = "weighted F1"
    higher_is_better = True
    order = 50
    suite_order = None

    def compute(self, truth: NDArray[Any], prediction: NDArray[Any]) -> float:
        return float(f1_score(truth, prediction, average="weighted", zero_division=0))


class MacroRecall(Metric):
    """The mean of the recall of the classes that occur in the truth or in the prediction."""

    kinds = ("classification",)
    label = "macro recall"
    higher_is_better = True
    order = 60
    suite_order = 40

    def compute(self, truth: NDArray[Any], prediction: NDArray[Any]) -> float:
        return float(recall_score(truth, prediction, average="macro", zero_division=0))


class Accuracy(Metric):
    """The share of regions with the right class."""

    kinds = ("classification",)
    label = "accuracy"
    higher_is_better = True
    order = 70
    in_run_table = False
    suite_order = None

    def compute(self, truth: NDArray[Any], prediction: NDArray[Any]) -> float:
        return float(accuracy_score(truth, prediction))

    def in_words(self, value: float, unit: str = "") -> str:
        return f"names the right class for {value:.0%} of the regions"


class NMI(Metric):
    """The mutual information of clusters and classes, normalised by the mean of both entropies."""

    kinds = ("clustering",)
    label = "NMI"
    higher_is_better = True
    order = 80
    suite_order = None

    def compute(self, truth: NDArray[Any], prediction: NDArray[Any]) -> float:
        return float(normalized_mutual_info_score(truth, prediction))


class ARI(Metric):
    """The adjusted Rand index of clusters and classes."""

    kinds = ("clustering",)
    label = "ARI"
    higher_is_better = True
    order = 90
    suite_order = None

    def compute(self, truth: NDArray[Any], prediction: NDArray[Any]) -> float:
        return float(adjusted_rand_score(truth, prediction))


class Coverage(Metric):
    """The share of regions whose true value is inside the interval; it should be near the level of the interval."""

    kinds = ("interval",)
    label = "coverage"
    higher_is_better = None
    order = 35
    suite_order = None

    def compute(self, truth: NDArray[Any], prediction: NDArray[Any]) -> float:
        return float(np.mean((truth >= prediction[:, 0]) & (truth <= prediction[:, 1])))

    def in_words(self, value: float, unit: str = "") -> str:
        return f"intervals contain the true value for {value:.0%} of the regions"


class Width(Metric):
    """The mean width of the intervals, in the units of the target."""

    kinds = ("interval",)
    label = "interval width"
    higher_is_better = False
    order = 36
    suite_order = None

    def compute(self, truth: NDArray[Any], prediction: NDArray[Any]) -> float:
        return float(np.mean(prediction[:, 1] - prediction[:, 0]))


class ECE(Metric):
    """The expected calibration error of the likeliest class over ten equal bins (Guo et al., 2017, eq. 3)."""

    kinds = ("probabilities",)
    label = "ECE"
    higher_is_better = False
    order = 75
    suite_order = None

    def compute(self, truth: NDArray[Any], prediction: NDArray[Any]) -> float:
        return expected_calibration_error(prediction, truth)

    def in_words(self, value: float, unit: str = "") -> str:
        return f"the stated probability of a class is off by {value:.0%} on average"


def divergences(truth: NDArray[Any], prediction: NDArray[Any]) -> NDArray[np.float64]:
    """Return the Kullback-Leibler divergence of each row of shares [n, K] in nats, [n]; see `KL`."""
    of_rows = np.asarray(entropy(truth, np.maximum(prediction, LEAST), axis=1))
    return np.maximum(of_rows, 0)  # rounding makes it negative for equal shares


def three_digits(value: float) -> str:
    """Return a number with three significant digits, and without decimals from 100."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def mean_squared_error(truth: NDArray[Any], prediction: NDArray[Any]) -> float:
    """Return the mean of the squared differences."""
    return float(np.mean((prediction - truth) ** 2))
