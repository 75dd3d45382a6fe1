"""Heads that predict in another city."""

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from urbankit.evaluation.carried_head import CarriedHead
from urbankit.evaluation.tasks import make_task
from urbankit.recipe.schema import Task

RNG = np.random.default_rng(0)
Z = RNG.normal(size=(300, 5)) * [1, 2, 3, 4, 0] + 7
FOLD = np.arange(300) % 5


def regression(values, transform="standard"):
    return make_task("co", "regression", values, unit="ppb", transform=transform)


def fitted(values, transform="standard"):
    task = regression(values, transform)
    return CarriedHead.fit(task, Task(), Z, FOLD[task.labelled])


def test_it_is_the_ridge_regression_of_scikit_learn():
    y = 3 * Z[:, 0] - Z[:, 2] + RNG.normal(size=300)
    head = fitted(y)
    x = (Z - Z.mean(axis=0)) / np.where(Z.std(axis=0) > 0, Z.std(axis=0), 1)
    learned = (y - y.mean()) / y.std()
    expected = Ridge(head.penalty).fit(x, learned).predict(x) * y.std() + y.mean()
    np.testing.assert_allclose(head.predict(Z).prediction, expected.clip(y.min(), y.max()), rtol=1e-6)
    assert head.score > 0.9


def test_intervals_cover_new_regions_at_their_level():
    y = Z[:, 1] + RNG.normal(size=300)
    head = fitted(y)
    new = RNG.normal(size=(4000, 5)) * [1, 2, 3, 4, 0] + 7
    truth = new[:, 1] + RNG.normal(size=4000)
    lower, upper = head.predict(new).interval(0.9)
    assert 0.86 < ((lower <= truth) & (truth <= upper)).mean() < 0.94
    assert head.predict(new).interval(0.9999) is None


def test_predictions_stay_within_the_labels_of_the_city():
    y = np.exp(Z[:, 0] - 7)
    head = fitted(y, "log")
    for shift in (-1e6, 1e6):
        prediction = head.predict(Z + shift).prediction
        assert y.min() * (1 - 1e-9) <= prediction.min() and prediction.max() <= y.max() * (1 + 1e-9)
    assert head.predict(Z).interval(0.9).lower.min() >= 0


def test_a_city_standardised_by_itself_may_have_another_level():
    head = fitted(Z[:, 0] + Z[:, 1])
    np.testing.assert_allclose(
        head.predict(10 * Z + 100, of_city=True).prediction, head.predict(Z).prediction, rtol=1e-6
    )


def test_classes_get_calibrated_probabilities():
    names = np.array(["low", "mid", "high"], dtype=object)[np.digitize(Z[:, 0], [6.5, 7.5])]
    head = CarriedHead.fit(make_task("use", "classification", names), Task(), Z, FOLD)
    carried = head.predict(Z)
    np.testing.assert_allclose(carried.probabilities().sum(axis=1), 1)
    assert (np.array(head.classes, dtype=object)[carried.prediction] == names).mean() > 0.7


def test_a_head_is_the_same_after_it_was_written():
    head = fitted(np.where(np.arange(300) % 3, Z[:, 0], np.nan))
    again = CarriedHead.load(json.loads(json.dumps(head.facts())), head.arrays())
    np.testing.assert_array_equal(again.predict(Z).prediction, head.predict(Z).prediction)
    assert replace(again, **head.arrays()).facts() == head.facts()
    with pytest.raises(KeyError):
        CarriedHead.load(head.facts(), {})


def test_the_level_of_another_city_is_that_of_its_features():
    """Ten cities whose levels differ by what their features say; within each the embedding explains the target."""
    member, sizes = np.arange(300) // 30, np.arange(10.0)
    cities = [{"size: 0": size} for size in sizes]
    y = 5 * sizes[member] + Z[:, 0] + 0.1 * RNG.normal(size=300)
    task = regression(y, "none")
    head = CarriedHead.fit(task, Task(), Z, member % 5, member, None, cities)
    new = RNG.normal(size=(40, 5)) * [1, 2, 3, 4, 0]
    predicted = head.predict(new, {"size: 0": 7.3}, of_city=True).prediction
    assert predicted.mean() == pytest.approx(5 * 7.3 + 7, abs=2)
    assert np.corrcoef(predicted, new[:, 0])[0, 1] > 0.95
    of_average = head.predict(new, of_city=True).prediction
    assert of_average.mean() == pytest.approx(5 * 4.5 + 7, abs=0.6)
    assert head.residuals.mean() < 2.0
    again = CarriedHead.load(json.loads(json.dumps(head.facts())), head.arrays())
    np.testing.assert_array_equal(again.predict(new, {"size: 0": 7.3}, of_city=True).prediction, predicted)
