"""A city of twelve squares in a row, and the features of a file over it."""

from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import torch
import yaml
from shapely import box

from urbankit import City
from urbankit.modalities.pooling import RegionEncoder
from urbankit.modalities.precomputed import Precomputed

IDS = [f"{i:02d}" for i in range(12)]


def prepare_twelve(folder: Path, ids: list[str] = IDS) -> City:
    """Prepare a city of squares of 100 m, from west to east."""
    squares = [box(500000 + 100 * i, 4500000, 500100 + 100 * i, 4500100) for i in range(len(ids))]
    gpd.GeoDataFrame({"id": ids}, geometry=squares, crs=32618).to_file(folder / "regions.gpkg")
    spec = {"name": "twelve", "regions": {"file": "regions.gpkg", "id": "id"}}
    (folder / "city.yaml").write_text(yaml.safe_dump(spec))
    return City.prepare(folder / "city.yaml", out=folder / "prepared")


def encoder(city: City, file: Path, **params: Any) -> Precomputed:
    return Precomputed(Precomputed.Params(file=file, **params), city, "alpha", 4)


def rows(city: City, file: Path, **params: Any) -> np.ndarray:
    """The vectors as they are, in the order of the regions; NaN where a region is absent."""
    pooled = RegionEncoder(encoder(city, file, standardise=False, **params))
    vectors, mask = pooled.encode(torch.arange(city.n_regions))
    return np.where(mask[:, None], vectors, np.nan)
