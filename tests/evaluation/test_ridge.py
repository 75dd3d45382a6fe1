"""Ridge regression on many small training sets, against scikit-learn."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge, RidgeCV

from urbankit.evaluation.ridge import ALPHAS, fit_ridge


def made(k: int, features: int, outputs: int = 1, sets: int = 3):
    rng = np.random.default_rng(k)
    x = rng.normal(size=(sets, k, features))
    y = 3 + x[..., :1] @ rng.normal(size=(1, outputs)) + rng.normal(size=(sets, k, outputs))
    return x, y, rng.uniform(0.5, 3, (sets, k)), rng.normal(size=(7, features))


@pytest.mark.parametrize(("k", "features"), [(30, 4), (6, 20), (2, 3)])
@pytest.mark.parametrize("weighted", [False, True])
def test_predictions_equal_scikit_learn_for_every_penalty(k, features, weighted):
    x, y, weights, new = made(k, features)
    fits = fit_ridge(x, y, weights if weighted else None)
    for draw in range(len(x)):
        weight = weights[draw] if weighted else None
        for index, alpha in enumerate(ALPHAS):
            expected = Ridge(alpha).fit(x[draw], y[draw, :, 0], sample_weight=weight).predict(new)
            np.testing.assert_allclose(fits.predict(new, draw, index)[:, 0], expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("weighted", [False, True])
def test_left_out_predictions_equal_fits_without_the_row(weighted):
    x, y, weights, _ = made(9, 5, outputs=2)
    fits = fit_ridge(x, y, weights if weighted else None)
    others = np.arange(1, 9)
    for index, alpha in enumerate(ALPHAS):
        weight = weights[1][others] if weighted else None
        expected = Ridge(alpha).fit(x[1][others], y[1][others], sample_weight=weight).predict(x[1][:1])
        np.testing.assert_allclose(fits.left_out[1, index, 0], expected[0], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(("k", "features"), [(40, 6), (10, 30)])
def test_penalty_is_that_of_ridge_cv(k, features):
    x, y, _, _ = made(k, features, sets=8)
    squared = np.square(fit_ridge(x, y).left_out - y[:, None]).sum(axis=(2, 3))
    for draw, errors in enumerate(squared):
        assert ALPHAS[errors.argmin()] == RidgeCV(alphas=ALPHAS).fit(x[draw], y[draw, :, 0]).alpha_


def test_constant_target_is_predicted_by_its_value():
    x, y, _, new = made(5, 3)
    fits = fit_ridge(x, np.full_like(y, 4.0))
    np.testing.assert_allclose(fits.predict(new, 0, 0), 4.0)
    np.testing.assert_allclose(fits.left_out, 4.0)
