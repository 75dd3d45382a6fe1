"""What was predicted of regions whose label was not seen: one value a region out of the test parts of several seeds."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

SEEN = ("train", "validation")
"""Parts whose labels a model saw: it was fitted to the one and chosen by the other."""


def unseen(predictions: pd.DataFrame) -> pd.DataFrame:
    """The rows of `predictions` (as a run writes them) of regions whose label the model did not see."""
    return predictions[~predictions["fold"].isin(SEEN)]


def by_region(predictions: pd.DataFrame, classified: bool) -> pd.DataFrame:
    """One row a region that was in a test part, by `region_id`, of one task under one split protocol.

    Regression: `prediction` is the median over the seeds, `spread` their sample standard deviation (NaN of one), both
    in the target's units. Classification: `prediction` is the code of the commonest class, of equally common ones the
    lowest, and `agreement` the share of the seeds that say it. `seeds` is how many seeds tested the region.
    """
    test = unseen(predictions)
    of_region = test.groupby("region_id")["prediction"]
    seeds = of_region.size().astype(np.float64)
    if not classified:
        return pd.DataFrame({"prediction": of_region.median(), "spread": of_region.std(ddof=1), "seeds": seeds})
    votes = test.groupby(["region_id", "prediction"]).size().reset_index(name="votes")
    # Stable, so that of classes with as many votes the first, which has the lowest code, is kept.
    votes = votes.sort_values("votes", ascending=False, kind="stable").drop_duplicates("region_id")
    votes = votes.set_index("region_id").reindex(seeds.index)
    return pd.DataFrame({"prediction": votes["prediction"], "agreement": votes["votes"] / seeds, "seeds": seeds})


def out_of_sample(predictions: pd.DataFrame, region_ids: NDArray, classified: bool) -> NDArray[np.float64]:
    """The `prediction` of `by_region` for each of `region_ids` [N]; NaN for a region in no test part."""
    return by_region(predictions, classified)["prediction"].reindex(region_ids).to_numpy(np.float64)
