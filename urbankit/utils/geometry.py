"""Positions and sizes of regions of any geometry and CRS."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
from numpy.typing import NDArray
from pyproj import CRS
from scipy.spatial import cKDTree


def lonlat(geometry: gpd.GeoSeries) -> NDArray[np.float64]:
    """Centroids [N, 2] in degrees, longitude first; NaN for an empty geometry, and everywhere without a CRS."""
    if geometry.crs is None:
        return np.full((len(geometry), 2), np.nan)
    centroid = in_plane(geometry).centroid.to_crs("EPSG:4326")
    return np.column_stack([centroid.x, centroid.y])


def side_m(geometry: gpd.GeoSeries) -> float:
    """The size of a region in metres: the side of a square of the median area.

    For points it is the median distance to the nearest other point; NaN for a single point.
    """
    plane = in_plane(geometry)
    metres = 1.0 if plane.crs is None else unit(plane.crs)
    plane = plane[~(plane.isna() | plane.is_empty)]
    area = plane.area.to_numpy()
    if len(area) and np.median(area) > 0:
        return float(np.sqrt(np.median(area))) * metres
    centre = np.unique(np.column_stack([plane.centroid.x, plane.centroid.y]), axis=0)
    if len(centre) < 2:
        return float("nan")
    return float(np.median(cKDTree(centre).query(centre, k=2)[0][:, 1])) * metres


def unit(crs: CRS) -> float:
    """The length of one unit of `crs`: in metres for a projected CRS, in radians for a geographic one."""
    return float(crs.axis_info[0].unit_conversion_factor)


def in_plane(geometry: gpd.GeoSeries) -> gpd.GeoSeries:
    """The geometry in a projected CRS: unchanged, or from degrees into a global equal-area CRS."""
    return geometry.to_crs("EPSG:6933") if geometry.crs is not None and geometry.crs.is_geographic else geometry
