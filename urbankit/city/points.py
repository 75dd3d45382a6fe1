"""The regions that contain points with longitude and latitude."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import shapely

from urbankit.utils.geometry import reproject

CHUNK = 1_000_000

NO_GEOMETRY = "have no geometry"
NEEDS_GEOMETRY = "needs the geometry of the regions, which have none: give their polygons as `regions` in the city file"


class PointIndex:
    """The regions that contain points; a point on a border lies in the regions on both sides.

    >>> rows, regions = PointIndex(city.regions).pairs(lon, lat)
    """

    def __init__(self, regions: gpd.GeoDataFrame) -> None:
        shapes = reproject(regions.geometry, "EPSG:4326")
        self._crosses_180 = bool(shapes.total_bounds[2] > 180)
        self._shapes = shapes.to_numpy()
        shapely.prepare(self._shapes)
        self._tree = shapely.STRtree(self._shapes)

    def pairs(self, lon: np.ndarray, lat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the points and regions that contain them, int64[P] each, by row and then by region.

        `lon`, `lat`: float64[n] in degrees (WGS 84); a point without finite coordinates lies in no region.
        """
        rows, regions = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for start in range(0, len(lon), CHUNK):
            x, y = self._turned(lon[start : start + CHUNK]), lat[start : start + CHUNK]
            point, shape = self._tree.query(shapely.points(x, y))
            inside = shapely.intersects_xy(self._shapes[shape], x[point], y[point])
            point, shape = point[inside] + start, shape[inside]
            order = np.lexsort((shape, point))
            rows.append(point[order])
            regions.append(shape[order])
        return np.concatenate(rows), np.concatenate(regions)

    def _turned(self, lon: np.ndarray) -> np.ndarray:
        """Longitudes of -180 to 360 in the turn that the regions have."""
        if self._crosses_180:
            return np.where(lon < 0, lon + 360, lon)
        return np.where(lon > 180, lon - 360, lon)

    def first(self, lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
        """int64[n]: the region of every point, the first in order if several contain it, -1 if none does."""
        first = np.full(len(lon), -1, np.int64)
        rows, regions = self.pairs(lon, lat)
        first[rows[::-1]] = regions[::-1]
        return first

    def explain_no_match(self, lon: np.ndarray, lat: np.ndarray) -> str:
        """A likely reason why no region contains any of the points."""
        valid = np.flatnonzero(np.isfinite(lon))[:CHUNK]
        if not len(valid):
            return "no row has a longitude of -180 to 360 and a latitude within ±90"
        x, y = lon[valid], lat[valid]
        swapped = np.abs(x) <= 90
        if len(self.pairs(y[swapped], x[swapped])[0]):
            return "no point lies in any region, but with lon and lat exchanged they would: exchange the two columns"
        return (
            f"no point lies in any region; they span lon {x.min():.4f} to {x.max():.4f} "
            f"and lat {y.min():.4f} to {y.max():.4f}"
        )


def usable(lon: np.ndarray, lat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates float64[n], both NaN where they are no longitude of -180 to 360 and no latitude within ±90."""
    valid = np.isfinite(lon) & np.isfinite(lat) & (lon >= -180) & (lon <= 360) & (np.abs(lat) <= 90)
    return np.where(valid, lon, np.nan), np.where(valid, lat, np.nan)
