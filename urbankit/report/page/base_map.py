"""The base map of a page: water, main roads and names of places, in steps of the grid that the outlines have."""

from __future__ import annotations

from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray

from urbankit.report.page.geometry import Grid, grid_of
from urbankit.report.page.packing import pack_counts, pack_varints
from urbankit.utils.base_map import MAIN_ROADS, PLACES, WATER


def base_map_data(base: tuple[gpd.GeoDataFrame, str] | None, regions: gpd.GeoDataFrame) -> dict[str, Any] | None:
    """Return what the script draws below and above the regions; None if there is nothing.

    `water` and each of `roads`, motorways first, are lines: `points` counts the points of each, `steps` are x and y of
    all points, each less the one before it. The rings of water are closed. `places` are in the order of importance:
    `kinds` are their positions in PLACES.
    """
    grid = grid_of(regions)
    if base is None or grid is None or base[0].empty:
        return None
    frame, credit = base
    shapes = frame.to_crs(regions.crs)
    places = shapes[shapes["kind"].isin(PLACES)]
    points = shapely.get_coordinates(places.geometry.to_numpy())
    return {
        "credit": credit,
        "water": _lines(shapely.get_rings(shapes.geometry[shapes["kind"] == WATER].to_numpy()), grid),
        "roads": [
            _lines(shapely.get_parts(shapes.geometry[shapes["kind"] == kind].to_numpy()), grid) for kind in MAIN_ROADS
        ],
        "places": {
            "names": places["name"].tolist(),
            "kinds": pack_counts([PLACES.index(kind) for kind in places["kind"]]),
            "steps": _steps(grid.steps(points)),
        },
    }


def _lines(lines: NDArray, grid: Grid) -> dict[str, Any]:
    xy, line = shapely.get_coordinates(lines, return_index=True)
    steps = grid.steps(xy)
    new = np.r_[True, (steps[1:] != steps[:-1]).any(axis=1) | (line[1:] != line[:-1])][: len(steps)]
    return {"points": pack_counts(np.bincount(line[new], minlength=len(lines))), "steps": _steps(steps[new])}


def _steps(points: NDArray[np.int64]) -> dict[str, str]:
    return pack_varints(np.diff(points, axis=0, prepend=np.zeros((1, 2), np.int64)).ravel())
