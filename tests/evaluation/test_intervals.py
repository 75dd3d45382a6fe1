"""Conformal intervals against the definition by a loop, and their coverage."""

import numpy as np
import pytest

from urbankit.evaluation.intervals import Interval, cv_plus, highest_level, split_conformal


def brute_force_cv_plus(residuals, fold, by_fold, level):
    """The definition of Barber et al. (2021, section 3), a region at a time."""
    n, bounds = len(residuals), []
    rank = int(np.ceil(round(level * (n + 1), 9)))
    for region in range(by_fold.shape[1]):
        centres = by_fold[fold, region]
        upper = np.sort(centres + residuals)[rank - 1]
        lower = -np.sort(-(centres - residuals))[rank - 1]
        bounds.append((lower, upper))
    return np.array(bounds).T


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9])
@pytest.mark.parametrize("n_folds", [2, 5])
def test_cv_plus_is_the_quantile_of_all_sums(level, n_folds):
    rng = np.random.default_rng(3)
    fold = rng.integers(0, n_folds, 60)
    residuals, by_fold = rng.exponential(size=60), rng.normal(size=(n_folds, 25))
    interval = cv_plus(residuals, fold, by_fold, level)
    np.testing.assert_allclose(interval, brute_force_cv_plus(residuals, fold, by_fold, level), atol=1e-9)


def test_cv_plus_accepts_a_fold_without_labels():
    fold = np.zeros(30, dtype=int)
    residuals, by_fold = np.linspace(0, 1, 30), np.array([[0.0, 1.0], [50.0, 50.0]])
    interval = cv_plus(residuals, fold, by_fold, 0.9)
    np.testing.assert_allclose(interval, brute_force_cv_plus(residuals, fold, by_fold, 0.9), atol=1e-9)


def test_the_radius_of_split_conformal_is_a_quantile_with_the_correction_of_finite_samples():
    interval = split_conformal(np.arange(1.0, 11.0), np.array([100.0]), 0.8)  # ceil(0.8 * 11) = the 9th of ten
    assert interval == Interval(np.array([91.0]), np.array([109.0]))


@pytest.mark.parametrize(("n", "level"), [(8, 0.9), (18, 0.95), (98, 0.99)])
def test_too_few_residuals_give_no_interval(n, level):
    residuals, fold = np.ones(n), np.zeros(n, dtype=int)
    assert split_conformal(residuals, np.zeros(3), level) is None
    assert cv_plus(residuals, fold, np.zeros((1, 3)), level) is None
    assert split_conformal(np.ones(n + 1), np.zeros(3), level) is not None
    assert highest_level(n) < level <= highest_level(n + 1)


def test_intervals_cover_their_share_of_new_regions():
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(200):
        residuals, truth = np.abs(rng.normal(size=100)), rng.normal(size=200)
        lower, upper = split_conformal(residuals, np.zeros(200), 0.9)
        covered.append(np.mean((truth >= lower) & (truth <= upper)))
    assert abs(np.mean(covered) - 0.9) < 0.01
