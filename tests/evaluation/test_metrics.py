import math
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

from urbankit import RunError, testing
from urbankit.evaluation.floors import evaluate_floors
from urbankit.evaluation.folds import Folds, evaluate_folds
from urbankit.evaluation.metrics import (
    Metric,
    failed_metrics,
    has_direction,
    has_fold_mean,
    main_metrics,
    metrics,
    recorded_names,
    score,
    suite_columns,
)
from urbankit.evaluation.splits import random_split
from urbankit.tables.results import ResultsTable
from urbankit.testing import ConformanceError


def test_regression_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(1e6, 10, 200)
    prediction = truth + rng.normal(0, 3, 200)
    scores = score("regression", truth, prediction)
    assert scores["r2"] == pytest.approx(r2_score(truth, prediction))
    assert scores["mae"] == pytest.approx(mean_absolute_error(truth, prediction))
    assert scores["mse"] == pytest.approx(mean_squared_error(truth, prediction))
    assert scores["rmse"] == pytest.approx(math.sqrt(scores["mse"]))


def test_r2_of_a_constant_truth_is_undefined() -> None:
    assert math.isnan(score("regression", np.full(5, 0.1), np.arange(5.0))["r2"])
    assert math.isnan(score("regression", np.array([2.0]), np.array([2.0]))["r2"])


def f1_of_class(c: int, truth: np.ndarray, prediction: np.ndarray) -> tuple[float, float]:
    both = ((truth == c) & (prediction == c)).sum()
    return 2 * both / ((truth == c).sum() + (prediction == c).sum()), both / max((truth == c).sum(), 1)


def test_classification_metrics_average_over_classes_in_truth_or_prediction() -> None:
    truth = np.array([0, 0, 0, 1, 1, 3])
    prediction = np.array([0, 0, 1, 1, 2, 3])
    by_class = {c: f1_of_class(c, truth, prediction) for c in (0, 1, 2, 3)}
    scores = score("classification", truth, prediction)
    assert scores["macro_f1"] == pytest.approx(np.mean([f1 for f1, _ in by_class.values()]))
    assert scores["macro_recall"] == pytest.approx(np.mean([recall for _, recall in by_class.values()]))
    assert scores["weighted_f1"] == pytest.approx((3 * by_class[0][0] + 2 * by_class[1][0] + by_class[3][0]) / 6)
    assert scores["accuracy"] == pytest.approx(4 / 6)


def test_built_in_metrics_keep_their_order() -> None:
    assert list(score("regression", np.arange(3), np.arange(3))) == ["r2", "mae", "rmse", "mse"]
    names = ["macro_f1", "weighted_f1", "macro_recall", "accuracy"]
    assert list(score("classification", np.arange(3), np.arange(3))) == names
    shares = np.eye(3)
    assert list(score("distribution", shares, shares)) == ["kl", "js", "mae"]
    assert list(score("clustering", np.arange(3), np.arange(3))) == ["nmi", "ari"]
    assert recorded_names() == [
        "r2", "r2_fold_mean", "r2_area", "kl", "kl_area", "js", "mae", "rmse", "mse", "coverage", "width",
        "macro_f1", "macro_f1_area", *names[1:], "ece", "nmi", "ari",
    ]  # fmt: skip
    assert suite_columns() == ["mae", "mse", "r2", "macro_f1", "macro_recall", "kl", "js"]
    assert main_metrics() == ["r2", "r2_fold_mean", "r2_area", "kl", "kl_area", "macro_f1", "macro_f1_area", "nmi"]


Plugin = Callable[[str, type], None]


class Worst(Metric):
    """The largest absolute error."""

    kinds = ("regression",)
    label = "worst error"
    higher_is_better = False
    fold_mean = True

    def compute(self, truth: np.ndarray, prediction: np.ndarray) -> float:
        return float(np.abs(prediction - truth).max())


def test_a_metric_of_a_plugin_is_recorded_and_has_a_column(plugin: Plugin, small: SimpleNamespace) -> None:
    plugin("metric", Worst)
    testing.check_component("metric", "mine")
    splits = {("random", seed): random_split(150, seed) for seed in (0, 1)}
    scored = evaluate_floors(small.tasks, small.raw, small.xy, splits, ["mean", "location"])
    records = pd.DataFrame(scored.records)
    rows = scored.predictions
    for model in ("floor:mean", "floor:location"):
        selected = rows[(rows["task"] == "y") & (rows["model"] == model) & (rows["seed"] == 1)].dropna(subset="truth")
        value = records[(records["metric"] == "mine") & (records["model"] == model) & (records["seed"] == 1)]["value"]
        assert value.item() == np.abs(selected["prediction"] - selected["truth"]).max()
    assert "mine" not in set(records.loc[records["task"] == "c", "metric"])
    [table, _] = ResultsTable(records).tables
    column = [column.heading for column in table.columns].index("worst error ↓")
    ranks = {row.name: row.cells[column] for row in table.floors}
    best = min(ranks, key=lambda name: ranks[name].mean)
    assert [name for name, cell in ranks.items() if cell.rank == 1] == [best]


def test_a_fold_mean_of_a_plugins_metric_is_recorded_beside_the_pooled_value(
    plugin: Plugin, small: SimpleNamespace
) -> None:
    plugin("metric", Worst)
    records = evaluate_folds("m", small.raw.values[:, :4], {"y": small.tasks["y"]}, Folds(number=5), [0]).records
    values = {record["metric"]: record["value"] for record in records}
    assert list(values) == ["r2", "mae", "rmse", "mse", "mine", "r2_fold_mean", "mine_fold_mean"]
    assert values["mine_fold_mean"] < values["mine"]
    [table] = ResultsTable(pd.DataFrame(records)).tables
    headings = [column.heading for column in table.columns]
    assert headings == [
        "pooled R² ↑", "fold-mean R² ↑", "MAE ↓", "RMSE ↓", "pooled worst error ↓", "fold-mean worst error ↓"
    ]  # fmt: skip


def test_a_metric_that_does_not_load_is_noted_and_the_others_are_computed(plugin: Plugin) -> None:
    plugin("metric", type("Unfinished", (Metric,), {"kinds": ("regression",)}))
    assert list(score("regression", np.arange(3), np.arange(3))) == ["r2", "mae", "rmse", "mse"]
    [reason] = failed_metrics()
    assert reason.startswith("metric mine is left out:") and "lacks what every metric has: compute" in reason
    assert not has_fold_mean("mine")


def test_metrics_are_created_once_until_a_plugin_is_added(plugin: Plugin) -> None:
    before = metrics()
    assert all(metrics()[name] is metric for name, metric in before.items())
    plugin("metric", Worst)
    assert set(metrics()) == {*before, "mine"}


def test_failing_metric_is_named_in_the_error(plugin: Plugin) -> None:
    plugin("metric", type("Failing", (Worst,), {"compute": lambda self, truth, prediction: 1 / 0}))
    with pytest.raises(RunError, match=r"metric 'mine' failed: ZeroDivisionError.*Correct or remove"):
        score("regression", np.arange(3), np.arange(3))


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"kinds": ("ranking",)}, "give a tuple of some of regression, classification, distribution"),
        ({"label": ""}, "`label` is ''; give a text"),
        ({"higher_is_better": True}, "higher values are better by `higher_is_better`"),
        ({"order": -1}, "`order` is -1"),
        ({"compute": lambda self, truth, prediction: abs(prediction[1] - truth[1])}, "in another order"),
        ({"compute": lambda self, truth, prediction: prediction - truth}, "expected a finite number"),
    ],
)
def test_checks_of_a_metric_report_each_fault(plugin: Plugin, attributes: dict, message: str) -> None:
    plugin("metric", type("Wrong", (Worst,), {"__doc__": "Wrong.", **attributes}))
    with pytest.raises(ConformanceError, match=message):
        testing.check_component("metric", "mine")


def test_coverage_and_width_of_intervals_equal_direct_computations():
    bounds = np.array([[0.0, 1.0], [0.0, 3.0]])
    assert score("interval", [1.0, 4.0], bounds) == {"coverage": 0.5, "width": 2.0}
    assert not has_direction("coverage")
    assert has_direction("width")


def test_calibration_error_equals_a_direct_computation():
    assert score("probabilities", [0, 0], np.array([[0.75, 0.25], [0.25, 0.75]])) == {"ece": 0.25}
