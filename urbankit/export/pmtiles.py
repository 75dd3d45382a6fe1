"""PMTiles, one file of vector tiles that web maps read in parts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyogrio
from pyproj import CRS

from urbankit.export.tables import ExportTable
from urbankit.export.vector_file import VectorFile
from urbankit.utils.errors import UserError
from urbankit.utils.geometry import side_m
from urbankit.utils.text import list_some

EQUATOR_M, TILE_UNITS = 40_075_017, 4096
"""The length of the equator, which is the width of the tile of zoom 0, and the steps of coordinates across a tile."""

SIDE_UNITS = 256
"""The fewest steps of coordinates across a median region at the highest zoom: a tile then holds a few hundred."""

FINEST = 16
LARGEST_TILE = 10_000_000
"""Bytes from which on GDAL leaves regions out of a tile; only tiles of low zooms, which show a whole city, reach it."""


class PMTiles(VectorFile):
    """Vector tiles in one file, for web maps such as MapLibre, in web mercator."""

    files = ("{what}.pmtiles",)
    driver = "PMTiles"
    beside = ()

    def write(self, table: ExportTable, paths: Sequence[Path]) -> list[str]:
        """Write the tiles, and name the regions that the tiles of the highest zoom lack."""
        self.check(table)
        table = table.to_crs(CRS.from_epsg(4326))  # cut at 180 degrees
        super().write(table, paths)
        shown = pyogrio.read_dataframe(paths[0], columns=["region_id"], read_geometry=False)["region_id"]
        lost = list_some(sorted(set(table.region_ids) - set(shown)))
        notes = [f"zoom 0 to {_highest_zoom(table)}; low zooms leave out regions that are too small to see"]
        return notes + ([f"regions that no tile shows: {lost}"] if lost else [])

    def check(self, table: ExportTable) -> None:
        """Raise `UserError` without a CRS, and where GDAL does not know the format."""
        if table.frame.crs is None:
            raise UserError("the run's regions have no CRS, which vector tiles need; use --to geoparquet")
        if self.driver not in pyogrio.list_drivers(write=True):
            raise UserError("the installed GDAL cannot write PMTiles; run `pip install --upgrade pyogrio`")

    def options(self, table: ExportTable) -> dict[str, Any]:
        return {"MINZOOM": 0, "MAXZOOM": _highest_zoom(table), "MAX_SIZE": LARGEST_TILE, "NAME": table.what}


def _highest_zoom(table: ExportTable) -> int:
    """The zoom at which a median region is `SIDE_UNITS` wide or more; `FINEST` for regions without a size."""
    side = side_m(table.frame.geometry)
    _, south, _, north = table.frame.total_bounds  # in degrees
    if not side > 0:
        return FINEST
    equator_m = EQUATOR_M * math.cos(math.radians((south + north) / 2))  # web mercator stretches lengths
    zoom = math.log2(equator_m / TILE_UNITS * SIDE_UNITS / side)
    return min(max(math.ceil(zoom), 0), FINEST)
