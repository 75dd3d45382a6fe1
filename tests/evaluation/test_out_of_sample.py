"""One value a region out of the test parts of several seeds."""

import numpy as np
import pandas as pd
import pytest

from urbankit.evaluation.out_of_sample import by_region, out_of_sample, rows_of_test_parts


def table(*rows: tuple[str, float, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["region_id", "prediction", "fold"])


def test_regression_prediction_is_the_median_over_test_parts() -> None:
    seen = table(("r1", 5, "test"), ("r1", 1, "test"), ("r1", 3, "test"), ("r1", 99, "train"), ("r2", 7, "test"))
    seen = pd.concat([seen, table(("r2", 99, "validation"), ("r9", 99, "train"))])
    by_id = by_region(seen, classified=False)
    assert by_id.index.tolist() == ["r1", "r2"] and by_id["seeds"].tolist() == [3, 1]
    np.testing.assert_array_equal(by_id["prediction"], [3, 7])
    assert by_id.loc["r1", "std"] == pytest.approx(2) and np.isnan(by_id.loc["r2", "std"])
    np.testing.assert_array_equal(out_of_sample(seen, np.array(["r3", "r2", "r1"]), False), [np.nan, 7, 3])
    assert set(rows_of_test_parts(seen)["fold"]) == {"test"}


def test_class_prediction_is_the_most_frequent_and_ties_give_the_lowest_code() -> None:
    votes = table(*(("r1", code, "test") for code in (2, 0, 2)), ("r2", 1, "test"), ("r2", 0, "test"))
    by_id = by_region(votes, classified=True)
    np.testing.assert_array_equal(by_id["prediction"], [2, 0])
    np.testing.assert_allclose(by_id["agreement"], [2 / 3, 1 / 2])
    np.testing.assert_array_equal(out_of_sample(votes, np.array(["r2", "r4"]), True), [0, np.nan])


def test_regions_in_no_test_part_have_no_prediction() -> None:
    nothing = table(("r1", 1, "train"))
    for classified in (False, True):
        np.testing.assert_array_equal(out_of_sample(nothing, np.array(["r1"]), classified), [np.nan])
