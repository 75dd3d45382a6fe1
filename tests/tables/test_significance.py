"""Paired tests against numbers worked out by hand or by another way."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from urbankit.tables.significance import compare, corrected_t, holm


def values(cells: dict[tuple[int | None, int], float]) -> pd.DataFrame:
    rows = [{"run_seed": run, "seed": split, "value": value} for (run, split), value in cells.items()]
    return pd.DataFrame(rows).astype({"run_seed": "Int64", "seed": "Int64"})


def test_corrected_t_equals_a_direct_computation():
    """Of 1 to 5 the mean is 3 and the variance 2.5: t = 3 / sqrt(2.5 * (1/5 + 1/3)), with 4 degrees of freedom."""
    test = corrected_t(np.array([1.0, 2, 3, 4, 5]), 1 / 3)
    assert test.difference == 3 and test.n == 5
    assert test.p == pytest.approx(2 * stats.t.sf(3 / math.sqrt(2.5 * (0.2 + 1 / 3)), 4))
    assert test.p == pytest.approx(0.0602, abs=1e-4)


def test_corrected_t_without_overlap_is_the_paired_t_test():
    differences = np.random.default_rng(0).normal(0.3, 1, 9)
    assert corrected_t(differences, 0.0).p == pytest.approx(stats.ttest_1samp(differences, 0).pvalue)
    assert corrected_t(differences, 0.25).p > corrected_t(differences, 0.0).p


def test_corrected_t_is_undefined_for_few_values_and_one_for_zero_differences():
    assert math.isnan(corrected_t(np.array([1.0, 2]), 1 / 3).p)
    assert corrected_t(np.zeros(4), 1 / 3).p == 1.0


@pytest.mark.parametrize("ratio", [0.0, 1 / 3])
def test_equal_differences_are_not_tested(ratio):
    """Also where rounding makes it vary in the last digit: 0.1 + 0.2 - 0.2 and so on."""
    rounded = np.array([0.6, 0.7, 0.8, 0.9]) - np.array([0.5, 0.6, 0.7, 0.8])
    assert np.ptp(rounded) > 0
    for differences in (np.full(4, 0.1), rounded):
        assert math.isnan(corrected_t(differences, ratio).p)


def test_holm_equals_a_direct_computation():
    """0.01 * 4, then 0.02 * 3, 0.03 * 2 (not below the last), 0.6 * 1; what was not tested does not count."""
    adjusted = holm(np.array([0.02, math.nan, 0.01, 0.6, 0.03]))
    np.testing.assert_allclose(adjusted, [0.06, math.nan, 0.04, 0.6, 0.06])


def test_runs_that_share_a_split_are_one_observation():
    """Means over the two seeds of pre-training: 1.5, 2.5 and 3.5 against 1, so differences 0.5, 1.5 and 2.5."""
    one = values({(run, split): 1.0 + split + run for run in (0, 1) for split in (0, 1, 2)})
    other = values({(run, split): 1.0 for run in (0, 1) for split in (0, 1, 2)})
    test = compare(one, other, 1 / 3)
    assert (test.n, test.difference) == (3, 1.5)
    assert test == corrected_t(np.array([0.5, 1.5, 2.5]), 1 / 3)


def test_only_common_seeds_are_compared():
    one = values({(0, 0): 1, (0, 1): 2, (0, 2): 4, (1, 0): 100, (1, 1): 100, (1, 2): 100})
    other = values({(0, 0): 0, (0, 1): 0, (0, 2): 0, (0, 3): 50})
    assert compare(one, other, 1 / 3) == corrected_t(np.array([1.0, 2, 4]), 1 / 3)
    test = compare(values({(0, 0): 2.0}), values({(1, 0): 0.5}), None)
    assert (test.n, test.difference) == (0, 1.5) and math.isnan(test.p)


def test_floors_are_compared_without_a_seed_of_pre_training():
    one = values({(run, split): split for run in (0, 1) for split in range(4)})
    floor = values({(None, split): 0.0 for split in range(4)})
    assert compare(one, floor, 1 / 3).difference == 1.5


def test_on_one_split_seeds_of_pre_training_are_the_sample():
    one = values({(run, 0): 1.0 + run for run in range(4)})
    other = values({(run, 0): 0.5 for run in range(4)})
    expected = stats.ttest_1samp([0.5, 1.5, 2.5, 3.5], 0).pvalue
    assert compare(one, other, 1 / 3).p == pytest.approx(expected)
    assert compare(one, values({(None, 0): 0.5}), 1 / 3).p == pytest.approx(expected)


def test_seeds_of_k_means_are_averaged_and_few_runs_are_not_tested():
    """Of `folds` the seed is k-means' own: 5 of them are no sample; 4 seeds of pre-training are."""
    seed_means = [0.5, 1.5, 2.5, 3.5]
    one = values({(run, seed): 1.0 + run + 0.1 * (seed - 2) for run in range(4) for seed in range(5)})
    other = values({(run, seed): 0.5 for run in range(4) for seed in range(5)})
    test = compare(one, other, None)
    assert (test.name, test.n) == ("t", 4) and test.p == pytest.approx(stats.ttest_1samp(seed_means, 0).pvalue)
    floor = values({(None, seed): 0.5 for seed in range(5)})
    assert compare(one, floor, None).p == pytest.approx(test.p)
    one, other = (values({(run, seed): at + seed for run in (0, 1) for seed in range(5)}) for at in (2.0, 1.0))
    test = compare(one, other, None)
    assert (test.n, test.difference) == (2, 1.0) and math.isnan(test.p)
