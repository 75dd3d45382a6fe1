"""How many observations the regions have."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import scipy.sparse

from urbankit.analysis.coverage import observations


def test_observations_are_counted_by_region() -> None:
    points = scipy.sparse.csr_array(np.array([[1.0, 2], [0, 0], [0, 4]]))
    trips = scipy.sparse.csr_array(np.array([[5.0, 1, 0], [2, 0, 0], [0, 0, 0]]))
    city = SimpleNamespace(
        members={"": SimpleNamespace(manifest={})},
        n_regions=3, image_sources=["rsi"], caption_sources=["rsi"], tables=["census"],
        images=lambda name: SimpleNamespace(region=np.array([0, 2, 2])),
        captions=lambda name: pd.DataFrame({"region": [1]}),
        poi_counts=lambda: (points, ["shop", "park"]), flows=lambda: trips,
        table=lambda name: (np.array([[1.0, np.nan], [np.nan, np.nan], [3, 4]]), ["a", "b"]),
    )  # fmt: skip
    counts = {key: number.tolist() for key, _, number in observations(city)}
    # The five trips within the first region are counted once.
    assert counts == {
        "rsi": [1, 0, 2], "captions.rsi": [0, 1, 0], "poi": [3, 0, 4], "flows": [8, 3, 0], "tables.census": [1, 0, 2],
    }  # fmt: skip
