"""Points of interest and recorded trips of the synthetic city."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from urbankit.datasets.synthetic.model import CityModel

# Expected points of interest per km² of land, by land-use class (columns as in `model.CLASSES`).
_POI = {
    #                  towers low-rise commerce industry park farm
    "apartment":       (5.0, 1.2, 1.6, 0.1, 0.1, 0.0),
    "bank":            (0.8, 0.4, 3.2, 0.5, 0.1, 0.0),
    "cafe":            (1.8, 1.0, 4.5, 0.3, 0.7, 0.1),
    "clinic":          (1.4, 1.3, 1.2, 0.2, 0.1, 0.1),
    "factory":         (0.1, 0.6, 0.2, 6.0, 0.1, 0.3),
    "farm shop":       (0.0, 0.2, 0.0, 0.1, 0.2, 1.6),
    "logistics":       (0.2, 0.5, 0.6, 3.5, 0.1, 0.4),
    "market":          (0.7, 2.4, 1.0, 0.3, 0.1, 0.5),
    "office":          (1.0, 0.5, 7.0, 1.8, 0.1, 0.1),
    "parking":         (2.0, 0.6, 2.5, 1.4, 0.9, 0.1),
    "restaurant":      (2.6, 4.5, 6.0, 0.9, 0.5, 0.3),
    "school":          (1.4, 1.2, 0.5, 0.1, 0.1, 0.2),
    "shop":            (3.0, 5.0, 8.0, 0.6, 0.3, 0.4),
    "sports ground":   (0.9, 0.4, 0.4, 0.2, 1.8, 0.2),
    "viewpoint":       (0.1, 0.1, 0.2, 0.0, 2.2, 0.6),
}  # fmt: skip
POI_CATEGORIES = list(_POI)


def points_of_interest(model: CityModel, seed: int) -> pd.DataFrame:
    """Columns x, y (projected metres) and category.

    Poisson counts whose rate follows land use, compactness and how completely a region was mapped.
    """
    rng = np.random.default_rng([seed, 2])
    city = model.lattice.city
    mapped = np.exp(0.7 * rng.standard_normal(len(city)) - 0.245)
    busy = (0.5 + model.compactness[city]) * mapped * model.lattice.area_km2[city]
    rate = model.mixture[city] @ np.array([_POI[name] for name in POI_CATEGORIES]).T
    scatter = np.exp(0.6 * rng.standard_normal(rate.shape) - 0.18)
    count = rng.poisson(rate * scatter * busy[:, None])
    region, category = np.divmod(np.repeat(np.arange(count.size), count.ravel()), count.shape[1])
    x, y = model.lattice.points_in(city[region], rng).T
    frame = pd.DataFrame({"x": x.round(1), "y": y.round(1), "category": np.array(POI_CATEGORIES)[category]})
    return frame.iloc[rng.permutation(len(frame))].reset_index(drop=True)


def trips(model: CityModel, seed: int, per_region: float = 150.0) -> Iterator[pd.DataFrame]:
    """Recorded trips in blocks: x and y of origin and destination (projected metres) and time of departure.

    A Poisson sample of the gravity law among the regions: outward in the morning, return in the evening. The share of
    travellers that is recorded differs between regions.
    """
    rng = np.random.default_rng([seed, 3])
    city = model.lattice.city
    share = np.exp(0.7 * rng.standard_normal(len(city)))
    travel = model.travel[city][:, city].tocoo()
    rate = travel.data * np.sqrt(share[travel.row] * share[travel.col])
    count = rng.poisson(rate * (per_region * len(city) / max(rate.sum(), 1e-12)))
    pair = np.repeat(np.arange(len(count)), count)
    rng.shuffle(pair)
    for start in range(0, len(pair), 1 << 18):
        block = pair[start : start + (1 << 18)]
        yield _journeys(model, city[travel.row[block]], city[travel.col[block]], rng)


def _journeys(model: CityModel, home: np.ndarray, work: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    back = rng.random(len(home)) < 0.45
    start = model.lattice.points_in(np.where(back, work, home), rng).round(1)
    end = model.lattice.points_in(np.where(back, home, work), rng).round(1)
    day = rng.choice(7, len(home), p=[0.17, 0.17, 0.17, 0.17, 0.16, 0.09, 0.07])
    hour = np.where(back, rng.normal(18.0, 2.0, len(home)), rng.normal(8.2, 1.6, len(home))) % 24
    seconds = (day * 86_400 + hour * 3600).astype(np.int64)
    time = np.datetime64("2024-03-04T00:00:00", "s") + seconds.astype("timedelta64[s]")
    return pd.DataFrame(
        {
            "origin_x": start[:, 0], "origin_y": start[:, 1], "destination_x": end[:, 0], "destination_y": end[:, 1],
            "time": time,
        }
    )  # fmt: skip
