"""Calibrated class probabilities."""

import numpy as np
from scipy.special import softmax

from urbankit.evaluation.calibration import Calibration, expected_calibration_error


def draw_classes(probabilities, rng):
    return (probabilities.cumsum(axis=1) < rng.random((len(probabilities), 1))).sum(axis=1)


def test_calibration_finds_the_temperature_and_the_biases():
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(20_000, 3))
    truth = draw_classes(softmax(2 * logits + [0.5, 0, -0.5], axis=1), rng)
    fitted = Calibration.fit(logits, truth)
    assert abs(fitted.scale - 2) < 0.1
    np.testing.assert_allclose(fitted.bias - fitted.bias[1], [0.5, 0, -0.5], atol=0.1)


def test_overconfident_outputs_become_calibrated():
    rng = np.random.default_rng(2)
    logits = rng.normal(size=(5_000, 4))
    truth = draw_classes(softmax(logits, axis=1), rng)
    before = expected_calibration_error(softmax(5 * logits, axis=1), truth)
    after = expected_calibration_error(Calibration.fit(5 * logits, truth).probabilities(5 * logits), truth)
    assert before > 0.2
    assert after < 0.03


def test_outputs_that_are_all_equal_give_the_shares_of_the_classes():
    truth = np.repeat([0, 1], [30, 10])
    probabilities = Calibration.fit(np.zeros((40, 2)), truth).probabilities(np.zeros((1, 2)))
    np.testing.assert_allclose(probabilities, [[0.75, 0.25]], atol=0.01)


def test_a_class_without_any_region_gets_a_small_finite_probability():
    probabilities = Calibration.fit(np.zeros((40, 3)), np.repeat([0, 1], 20)).probabilities(np.zeros((1, 3)))
    assert 0 < probabilities[0, 2] < 0.05


def test_a_class_without_votes_gets_a_small_finite_probability():
    """A forest gives minus infinity, the logarithm of no votes. Some of these regions are of that class."""
    rng = np.random.default_rng(3)
    shares = rng.multinomial(20, [0.6, 0.35, 0.05], size=2_000) / 20
    truth = draw_classes(shares * 0.95 + 0.05 / 3, rng)
    with np.errstate(divide="ignore"):
        outputs = np.log(shares)
    calibration = Calibration.fit(outputs, truth)
    probabilities = calibration.probabilities(outputs)
    assert np.isfinite(probabilities).all() and (probabilities > 0).all()
    assert expected_calibration_error(probabilities, truth) < 0.05
    assert np.isfinite(calibration.probabilities(np.array([[-np.inf, -np.inf, 0.0]]))).all()


def test_the_calibration_error_is_the_gap_of_confidence_and_accuracy():
    probabilities = np.array([[0.95, 0.05]] * 4 + [[0.4, 0.6]] * 2)
    truth = np.array([0, 0, 0, 1, 1, 0])  # three of four right at 0.95, one of two right at 0.6
    expected = 4 / 6 * abs(0.95 - 0.75) + 2 / 6 * abs(0.6 - 0.5)
    assert np.isclose(expected_calibration_error(probabilities, truth), expected)
