"""The factor that turns predictions of a target learned in logarithms into means."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from sklearn.linear_model import Ridge

from urbankit.city.raw_features import RawFeatures
from urbankit.evaluation.floors import Candidate, Case, Inputs, evaluate_floors
from urbankit.evaluation.means import Means
from urbankit.evaluation.splits import make_split
from urbankit.evaluation.tasks import make_task


def skewed(n, seed=0, noise=0.8):
    """Labels whose logarithm is linear in the features, and the exponential of its mean."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    median = np.exp(3 + x[:, 0])
    return x, median, median * np.exp(noise * rng.normal(size=n))


def test_factor_minimises_the_squared_error_with_eighty_labels_for_no_change():
    _, p, y = skewed(70)
    factor = Means.fit(make_task("t", "regression", y, transform="log"), np.arange(70), p).factor
    penalty = 80 * np.square(p).mean()
    expected = minimize_scalar(lambda c: np.square(y - c * p).sum() + penalty * (c - 1) ** 2)
    assert factor == pytest.approx(expected.x, rel=1e-6)


def test_factor_of_many_labels_is_that_of_a_lognormal_mean():
    _, p, y = skewed(200_000, noise=0.5)
    task = make_task("t", "regression", y, transform="soft-log")
    assert Means.fit(task, np.arange(len(y)), p).factor == pytest.approx(np.exp(0.5**2 / 2), rel=0.01)


def test_factor_reads_only_the_held_out_regions():
    _, p, y = skewed(100)
    held_out = np.arange(30)
    other = np.where(np.arange(100) < 30, y, 1e6)
    factors = [Means.fit(make_task("t", "regression", v, transform="log"), held_out, p[:30]).factor for v in (y, other)]
    assert factors[0] == factors[1] > 0


@pytest.mark.parametrize("transform", ["none", "standard"])
def test_predictions_of_other_forms_do_not_change(transform):
    _, p, y = skewed(50)
    assert Means.fit(make_task("t", "regression", y, transform=transform), np.arange(50), p).factor == 1


def test_factor_is_one_without_labels_or_with_predictions_of_zero():
    _, p, y = skewed(50)
    task = make_task("t", "regression", y, transform="log")
    assert Means.fit(task, np.arange(0), p[:0]).factor == 1
    assert Means.fit(task, np.arange(50), np.zeros(50)).factor == 1


@pytest.mark.parametrize("floor", ["raw-gp", "raw-stack"])
def test_floors_predict_means_with_labels_of_the_validation_part_alone(floor):
    x, _, y = skewed(300)
    xy, split = x, make_split("random", x, 0)
    changed = y.copy()
    changed[split.validation] *= 1.5
    changed[split.test] = 7.0
    predicted = []
    for values in (y, changed):
        task = make_task("t", "regression", values, transform="log")
        raw = RawFeatures(x, ("a", "b"))
        scored = evaluate_floors({"t": task}, raw, xy, {("random", 0): split}, [floor])
        predicted.append(scored.predictions["prediction"].to_numpy())
    ratios = predicted[1] / np.maximum(predicted[0], 1e-9)
    below = (predicted[0] > 0) & (predicted[1] < y[split.validation].max())
    assert below.sum() > 20 and ratios[below].min() > 1.05
    np.testing.assert_allclose(ratios[below], ratios[below][0], rtol=1e-9)


@pytest.mark.parametrize(("form", "changes"), [("log", True), ("none", False)])
def test_a_candidate_in_logarithms_predicts_means(form, changes):
    x, _, y = skewed(300)
    split = make_split("random", x, 0)
    task = make_task("t", "regression", y, transform="log")
    case = Case(task, split, Inputs(RawFeatures(x, ("a", "b")), None, split))
    candidate = Candidate(Ridge(1.0), form)
    case.fit(candidate)
    own_units = [
        case.fitted(form).inverse(candidate.model.predict(case.inputs.scaled[part]))
        for part in (split.validation, split.test)
    ]
    means = Means.fit(task, split.validation, own_units[0]) if changes else Means()
    np.testing.assert_allclose(case.predict(candidate), means(own_units[1]))


def test_one_extreme_label_changes_predictions_by_a_factor_of_e_at_most():
    y, p = np.arange(1.0, 21.0), np.arange(1.0, 21.0)
    y[19] = 1e6
    means = Means.fit(make_task("t", "regression", y, transform="log"), np.arange(20), p)
    assert means.factor == pytest.approx(np.e)
    many = make_task("t", "regression", np.zeros(4000), transform="log")
    assert Means.fit(many, np.arange(4000), np.ones(4000)).factor == pytest.approx(1 / np.e)


def test_extrapolations_are_not_raised_and_the_order_of_predictions_stays():
    means = Means(factor=1.5, largest=10.0)
    np.testing.assert_allclose(means(np.array([2.0, 6.0, 8.0, 10.0, 30.0])), [3.0, 9.0, 10.0, 10.0, 30.0])
    np.testing.assert_allclose(Means(factor=0.5, largest=10.0)(np.array([2.0, 30.0])), [1.0, 15.0])
