from __future__ import annotations

import numpy as np
import pandas as pd

from urbankit.evaluation.tasks import make_task
from urbankit.report.maps import out_of_sample


def test_a_map_shows_the_median_or_commonest_prediction_of_the_test_parts(make_run) -> None:
    run, _ = make_run()
    row = run.predictions.iloc[:1]
    regression, classification = (
        make_task("t", kind, np.array(values)) if kind == "regression" else make_task("t", kind, values)
        for kind, values in (("regression", np.arange(20.0)), ("classification", np.array(list("ab") * 10, object)))
    )
    seen = [("r1", 5.0, "test"), ("r1", 1.0, "test"), ("r1", 2.0, "test"), ("r1", 99.0, "train"), ("r2", 7.0, "test")]
    table = pd.concat([row.assign(region_id=r, prediction=p, fold=f) for r, p, f in seen])
    ids = np.array(["r1", "r2", "r3"])
    np.testing.assert_array_equal(out_of_sample(table, ids, regression), [2.0, 7.0, np.nan])
    votes = pd.concat([row.assign(region_id="r1", prediction=p, fold="test") for p in (1.0, 0.0, 1.0)])
    np.testing.assert_array_equal(out_of_sample(votes, ids[:1], classification), [1.0])
