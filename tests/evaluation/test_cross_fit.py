"""Predictions for every region from cross-fitted heads."""

import numpy as np
import pytest

from urbankit.evaluation.cross_fit import CrossFit
from urbankit.evaluation.means import Means
from urbankit.evaluation.splits import grid_blocks, make_folds
from urbankit.evaluation.tasks import make_task
from urbankit.evaluation.transforms import TargetTransform
from urbankit.utils.errors import UserError


def make_fit(n=300, labelled=200, transform="none", seed=0, shift=0.0):
    rng = np.random.default_rng(seed)
    truth = np.exp(rng.normal(size=n)) + shift
    values = np.where(np.arange(n) < labelled, truth, np.nan)
    task = make_task("income", "regression", values, transform=transform)
    fold = np.where(task.labelled, np.arange(n) % 5, -1)
    noise = np.exp(0.3 * rng.normal(size=n))
    by_fold = truth * noise * np.exp(0.02 * rng.normal(size=(5, n)))
    return CrossFit(task, fold, by_fold, truth * noise), truth


def test_labelled_regions_get_the_prediction_that_did_not_see_their_label():
    fit, _ = make_fit()
    for region in (0, 7, 199):
        assert fit.prediction[region] == fit.by_fold[region % 5, region]
    assert fit.prediction[200] == fit.full[200]


@pytest.mark.parametrize("transform", ["none", "log", "soft-log"])
def test_intervals_cover_regions_without_a_label(transform):
    covered = []
    for seed in range(20):
        fit, truth = make_fit(transform=transform, seed=seed)
        lower, upper = fit.interval(0.9)
        assert (lower <= fit.prediction).all()
        assert (fit.prediction <= upper).all()
        covered.append(np.mean((truth >= lower) & (truth <= upper)))
    assert 0.87 < np.mean(covered) < 0.94


def test_intervals_of_a_logarithm_are_wider_where_the_prediction_is_larger():
    fit, _ = make_fit(transform="log")
    lower, upper = fit.interval(0.9)
    order = fit.prediction.argsort()
    assert (upper - lower)[order[-30:]].mean() > 3 * (upper - lower)[order[:30]].mean()


def test_bounds_are_not_negative_if_no_label_is():
    assert make_fit()[0].interval(0.99).lower.min() == 0
    assert make_fit(shift=-1)[0].interval(0.99).lower.min() < 0


def test_probabilities_are_of_all_regions_and_sum_to_one():
    rng = np.random.default_rng(4)
    classes = rng.integers(0, 3, 90)
    task = make_task("use", "classification", np.array(["a", "b", "c"], dtype=object)[classes])
    outputs = np.eye(3)[classes] + 0.3 * rng.normal(size=(5, 90, 3))
    fit = CrossFit(task, np.arange(90) % 5, outputs, outputs[0])
    np.testing.assert_allclose(fit.probabilities().sum(axis=1), 1)
    assert fit.scores()["accuracy"] > 0.8


@pytest.mark.parametrize("protocol", ["random", "spatial"])
def test_folds_are_of_similar_size_and_repeat_with_the_seed(protocol):
    xy = np.random.default_rng(0).uniform(0, 1000, (400, 2))
    fold = make_folds(protocol, xy, 5, 3)
    sizes = np.bincount(fold, minlength=5)
    assert sizes.min() > 60
    assert sizes.max() < 100
    np.testing.assert_array_equal(fold, make_folds(protocol, xy, 5, 3))


def test_spatial_folds_are_whole_blocks():
    xy = np.random.default_rng(0).uniform(0, 1000, (400, 2))
    fold, block = make_folds("spatial", xy, 5, 0), grid_blocks(xy, 10)
    assert all(len(np.unique(fold[block == one])) == 1 for one in np.unique(block))


def test_too_few_blocks_for_spatial_folds_are_an_error_that_says_what_to_do():
    with pytest.raises(UserError, match="regions are in 1 groups; 5 folds of the protocol spatial"):
        make_folds("spatial", np.zeros((20, 2)), 5, 0)


def test_labelled_regions_get_the_mean_that_labels_of_other_folds_give():
    fit, _ = make_fit(transform="log")
    rows = np.arange(200)
    out_of_fold = fit.by_fold[rows % 5, rows]
    for region in (0, 7, 199):
        others = rows[rows % 5 != region % 5]
        means = Means.fit(fit.task, others, out_of_fold[others])
        assert fit.prediction[region] == pytest.approx(means(out_of_fold[region]))
    np.testing.assert_allclose(fit.prediction[200:], Means.fit(fit.task, rows, out_of_fold)(fit.full[200:]))


def test_means_do_not_move_the_bounds_of_an_interval():
    n = 400
    rng = np.random.default_rng(5)
    median = np.exp(rng.normal(size=n))
    task = make_task("income", "regression", median * np.exp(rng.normal(size=n)), transform="log")
    fit = CrossFit(task, np.arange(n) % 5, np.tile(median, (5, 1)), median)
    assert fit.prediction.sum() > 1.2 * median.sum()
    lower, upper = fit.interval(0.9)
    transform = TargetTransform.fit("log", task.y)
    z = transform.transform(median)
    radius = np.sort(np.abs(transform.transform(task.y) - z))[int(np.ceil(0.9 * (n + 1))) - 1]
    np.testing.assert_allclose(lower, transform.inverse(z - radius))
    np.testing.assert_allclose(upper, transform.inverse(z + radius))
