import math

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

from urbankit.evaluation.metrics import METRICS, classification, regression, score


def test_regression_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(1e6, 10, 200)
    prediction = truth + rng.normal(0, 3, 200)
    found = regression(truth, prediction)
    assert found["r2"] == pytest.approx(r2_score(truth, prediction))
    assert found["mae"] == pytest.approx(mean_absolute_error(truth, prediction))
    assert found["mse"] == pytest.approx(mean_squared_error(truth, prediction))
    assert found["rmse"] == pytest.approx(math.sqrt(found["mse"]))


def test_r2_of_a_constant_truth_is_not_defined() -> None:
    assert math.isnan(regression(np.full(5, 0.1), np.arange(5.0))["r2"])
    assert math.isnan(regression(np.array([2.0]), np.array([2.0]))["r2"])


def f1_of_class(c: int, truth: np.ndarray, prediction: np.ndarray) -> tuple[float, float]:
    both = ((truth == c) & (prediction == c)).sum()
    return 2 * both / ((truth == c).sum() + (prediction == c).sum()), both / max((truth == c).sum(), 1)


def test_classification_by_hand_over_classes_in_truth_or_prediction() -> None:
    truth = np.array([0, 0, 0, 1, 1, 3])
    prediction = np.array([0, 0, 1, 1, 2, 3])
    by_class = {c: f1_of_class(c, truth, prediction) for c in (0, 1, 2, 3)}
    found = classification(truth, prediction)
    assert found["macro_f1"] == pytest.approx(np.mean([f1 for f1, _ in by_class.values()]))
    assert found["macro_recall"] == pytest.approx(np.mean([recall for _, recall in by_class.values()]))
    assert found["weighted_f1"] == pytest.approx((3 * by_class[0][0] + 2 * by_class[1][0] + by_class[3][0]) / 6)
    assert found["accuracy"] == pytest.approx(4 / 6)


def test_every_kind_gives_its_metrics() -> None:
    for kind, metrics in METRICS.items():
        assert set(score(kind, np.array([0, 1, 1]), np.array([0, 1, 0]))) == set(metrics)
