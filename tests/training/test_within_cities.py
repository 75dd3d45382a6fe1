"""Labels that are standardised within each city."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from urbankit.evaluation.tasks import TaskData, make_task
from urbankit.training.supervised import within_cities

CITY = np.repeat([0, 1], 12)


def shares(second: np.ndarray) -> TaskData:
    """Shares of three parts in two cities of twelve regions; `second` is those of the second."""
    values = np.concatenate([np.random.default_rng(0).dirichlet([3, 3, 3], 12), second])
    return make_task("age", "distribution", values, parts=("a", "b", "c"))


def test_a_constant_coordinate_leaves_the_others() -> None:
    rest = np.linspace(0.2, 0.7, 12)
    # The ratio of the first two parts is constant, so the first coordinate is, but for rounding.
    values = within_cities(shares(np.column_stack([0.3 * (1 - rest), 0.7 * (1 - rest), rest])), CITY)
    assert_array_equal(values[12:, 0], 0)
    assert_allclose([values[12:, 1].mean(), values[12:, 1].std()], [0, 1], atol=1e-6)
    assert np.isfinite(values).all()


def test_equal_shares_but_for_rounding_are_no_labels() -> None:
    rounded = np.array([[0.3, 0.5, 0.2]]) * (1 + np.random.default_rng(1).choice([-2e-16, 0, 2e-16], (12, 3)))
    values = within_cities(shares(rounded), CITY)
    assert np.isnan(values[12:]).all() and np.isfinite(values[:12]).all()


@pytest.mark.parametrize("factor", [1e-15, 1, 1e15])
def test_equal_numbers_are_no_labels_in_any_unit(factor: float) -> None:
    y = np.concatenate([np.arange(12.0), np.full(12, 0.1)]) * factor
    values = within_cities(make_task("co", "regression", y), CITY)
    assert np.isnan(values[12:]).all()
    assert_allclose([values[:12].mean(), values[:12].std()], [0, 1], atol=1e-6)
