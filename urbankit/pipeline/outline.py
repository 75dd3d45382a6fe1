"""The outline of the regions that a model was trained on, so that nobody tests it on their labels."""

from __future__ import annotations

import geopandas as gpd
import shapely

TOLERANCE = 5e-4
"""Degrees, about 50 m, that the outline may be off."""


def outline(regions: gpd.GeoSeries) -> str:
    """Return the union of regions with few corners, as WKT in longitude and latitude."""
    shapes = shapely.make_valid(regions.to_crs("EPSG:4326").to_numpy())
    simple = shapely.simplify(shapely.union_all(shapes), TOLERANCE)
    return str(shapely.to_wkt(simple, rounding_precision=4))


def count_inside(outline_wkt: str, regions: gpd.GeoSeries) -> int:
    """Return how many regions lie in an outline; neighbours at its edge do not."""
    inner = shapely.buffer(shapely.make_valid(shapely.from_wkt(outline_wkt)), -2 * TOLERANCE)
    points = regions.to_crs("EPSG:4326").representative_point().to_numpy()
    shapely.prepare(inner)
    return int(shapely.contains(inner, points).sum())
