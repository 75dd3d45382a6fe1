"""What the base map of a city is: water, main roads and places, as `prepare` writes them and maps draw them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import geopandas as gpd

FILE = "base_map.parquet"
WATER = "water"
MAIN_ROADS = ("motorway", "trunk", "primary")
PLACES = ("city", "town", "suburb", "quarter", "neighbourhood")
"""Kinds of places, the most important first."""


def base_map_frame(
    kinds: Sequence[str], names: Sequence[str | None], shapes: Sequence[Any], crs: Any
) -> gpd.GeoDataFrame:
    """Return the columns of a base map: `kind`, `name` (None for shapes) and `geometry`."""
    columns = {"kind": [str(kind) for kind in kinds], "name": [None if name is None else str(name) for name in names]}
    frame = gpd.GeoDataFrame(columns, geometry=list(shapes), crs=crs)
    return frame.astype({"kind": object, "name": object})
