"""Paired tests against numbers worked out by hand or by another way."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from urbankit.bench.significance import compare, corrected_t, holm, wilcoxon


def values(cells: dict[tuple[int | None, int], float]) -> pd.DataFrame:
    rows = [{"run_seed": run, "seed": split, "value": value} for (run, split), value in cells.items()]
    return pd.DataFrame(rows).astype({"run_seed": "Int64", "seed": "Int64"})


def test_corrected_t_by_hand():
    """Of 1 to 5 the mean is 3 and the variance 2.5: t = 3 / sqrt(2.5 * (1/5 + 1/3)), with 4 degrees of freedom."""
    test = corrected_t(np.array([1.0, 2, 3, 4, 5]), 1 / 3)
    assert test.difference == 3 and test.n == 5
    assert test.p == pytest.approx(2 * stats.t.sf(3 / math.sqrt(2.5 * (0.2 + 1 / 3)), 4))
    assert test.p == pytest.approx(0.0602, abs=1e-4)


def test_without_overlap_it_is_the_paired_t_test():
    differences = np.random.default_rng(0).normal(0.3, 1, 9)
    assert corrected_t(differences, 0.0).p == pytest.approx(stats.ttest_1samp(differences, 0).pvalue)
    assert corrected_t(differences, 0.25).p > corrected_t(differences, 0.0).p


def test_too_few_and_without_spread():
    assert math.isnan(corrected_t(np.array([1.0, 2]), 1 / 3).p)
    assert corrected_t(np.zeros(4), 1 / 3).p == 1.0
    assert wilcoxon(np.zeros(4)).p == 1.0
    assert wilcoxon(np.array([1.0, 2, 3, 4, 5])).p == pytest.approx(2 / 2**5)


def test_holm_by_hand():
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


def test_only_seeds_that_both_have_count():
    one = values({(0, 0): 1, (0, 1): 2, (0, 2): 4, (1, 0): 100, (1, 1): 100, (1, 2): 100})
    other = values({(0, 0): 0, (0, 1): 0, (0, 2): 0, (0, 3): 50})
    assert compare(one, other, 1 / 3) == corrected_t(np.array([1.0, 2, 4]), 1 / 3)


def test_floors_have_no_seed_of_pre_training():
    one = values({(run, split): split for run in (0, 1) for split in range(4)})
    floor = values({(None, split): 0.0 for split in range(4)})
    assert compare(one, floor, 1 / 3).difference == 1.5


def test_on_one_split_seeds_of_pre_training_are_the_sample():
    one = values({(run, 0): 1.0 + run for run in range(4)})
    other = values({(run, 0): 0.5 for run in range(4)})
    expected = stats.ttest_1samp([0.5, 1.5, 2.5, 3.5], 0).pvalue
    assert compare(one, other, 1 / 3).p == pytest.approx(expected)
    assert compare(one, values({(None, 0): 0.5}), 1 / 3).p == pytest.approx(expected)


def test_a_protocol_without_a_known_correction():
    one, other = (values({(0, split): at * (split + 1) for split in range(5)}) for at in (2.0, 1.0))
    assert compare(one, other, None).name == "Wilcoxon"
