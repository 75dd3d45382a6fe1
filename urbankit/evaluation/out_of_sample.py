"""Predictions of test regions: one value per region from the test parts of several seeds."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

USED_FOR_FITTING = ("train", "validation")
"""Parts whose labels a model uses: it is fitted to the first and chosen on the second."""


def rows_of_test_parts(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `predictions` (as a run writes them) of test regions, whose labels the model did not use."""
    return predictions[~predictions["fold"].isin(USED_FOR_FITTING)]


def by_region(predictions: pd.DataFrame, classified: bool) -> pd.DataFrame:
    """Return one row per region that was in a test part, by `region_id`, for one task and one split protocol.

    Regression: `prediction` is the median over the seeds and `std` their sample standard deviation (NaN for one
    seed), both in the target's units. Classification: `prediction` is the code of the most frequent class (the lowest
    code if several are equally frequent), and `agreement` the share of the seeds that predict it. `seeds` is the number
    of seeds that tested the region.
    """
    test = rows_of_test_parts(predictions)
    of_region = test.groupby("region_id")["prediction"]
    seeds = of_region.size().astype(np.float64)
    if not classified:
        return pd.DataFrame({"prediction": of_region.median(), "std": of_region.std(ddof=1), "seeds": seeds})
    votes = test.groupby(["region_id", "prediction"]).size().reset_index(name="votes")
    # A stable sort: of classes with equal votes the first, with the lowest code, comes first.
    votes = votes.sort_values("votes", ascending=False, kind="stable").drop_duplicates("region_id")
    votes = votes.set_index("region_id").reindex(seeds.index)
    return pd.DataFrame({"prediction": votes["prediction"], "agreement": votes["votes"] / seeds, "seeds": seeds})


def out_of_sample(predictions: pd.DataFrame, region_ids: NDArray, classified: bool) -> NDArray[np.float64]:
    """Return the `prediction` of `by_region` for each of `region_ids` [N]; NaN for a region in no test part."""
    return by_region(predictions, classified)["prediction"].reindex(region_ids).to_numpy(np.float64)
