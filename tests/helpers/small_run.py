"""What small runs to export are made of: regions with awkward names, with a regression and a classification."""

from collections.abc import Sequence

import geopandas as gpd
import numpy as np
import pandas as pd
from shapely.geometry import box

ODD = ["007", "008", "a,b", 'q"q', "line\nbreak", "ü <b>x</b>", "=1+1", "x'y", " spaced ", "10", "11", "12"]


def squares(ids: Sequence[str] = ODD, side: float = 1000.0) -> gpd.GeoDataFrame:
    """Squares in four columns, in UTM zone 18."""
    row, column = np.divmod(np.arange(len(ids)), 4)
    x, y = 583_000 + column * side, 4_507_000 + row * side
    cells = [box(a, b, a + side, b + side) for a, b in zip(x, y, strict=True)]
    return gpd.GeoDataFrame({"region_id": list(ids)}, geometry=cells, crs="EPSG:32618")


def predicted(ids: Sequence[str], seeds: int = 3, tasks: Sequence[str] = ("density", "use")) -> pd.DataFrame:
    """Predictions of two splits: region i is tested by seed s where (i + s) is even, of the last region by none."""
    rows = []
    names = ["park", "shop", "x|y"]
    for task in tasks:
        for split in ("random", "spatial"):
            for seed in range(seeds):
                for i, region in enumerate(ids[:-1]):
                    if (i + seed) % 2:
                        continue
                    row = {"region_id": region, "task": task, "split": split, "seed": seed, "fold": "test"}
                    if task == "use":
                        true, guess = i % 3, (i + (seed == 2)) % 3
                        row |= {"truth": true, "prediction": guess}
                        row |= {"truth_class": names[true], "prediction_class": names[guess]}
                    else:
                        row |= {"truth": 10.0 * i, "prediction": 10.0 * i + seed + (split == "spatial")}
                        row |= {"truth_class": None, "prediction_class": None}
                    rows.append(row)
                rows.append({**rows[-1], "region_id": ids[-1], "fold": "train", "prediction": 999.0})
    return pd.DataFrame(rows)
