"""Lengths and areas of shapes in regions."""

from __future__ import annotations

from dataclasses import dataclass

import geopandas as gpd
import numpy as np
import shapely

from urbankit.utils.geometry import reproject


@dataclass(frozen=True)
class Overlay:
    """How much of every shape lies in every region, for the pairs that touch: `shape`, `region` int64[P].

    `measure` float64[P] is in metres for lines and in square metres for polygons, true on the ground.
    """

    shape: np.ndarray
    region: np.ndarray
    measure: np.ndarray

    def total(self, column: np.ndarray, n_regions: int, n_columns: int) -> np.ndarray:
        """Return the sums by region and by the `column` of each shape (int64[shapes]), float64[N, C]."""
        sums = np.zeros((n_regions, n_columns))
        np.add.at(sums, (self.region, column[self.shape]), self.measure)
        return sums


def overlay(shapes: np.ndarray, regions: gpd.GeoDataFrame, *, lines: bool) -> Overlay:
    """Return how much of each of the `shapes` lies in each region.

    Args:
        shapes: Lines or polygons in degrees (WGS 84), object[n].
        regions: `City.regions`. Lengths and areas in its CRS are scaled by the true area of each region, so that they
            are right on the ground to the accuracy of a conformal projection.
        lines: Whether lengths are measured instead of areas.
    """
    in_degrees = gpd.GeoSeries(shapes, crs="EPSG:4326")
    projected = (in_degrees.to_crs(regions.crs) if lines else reproject(in_degrees, regions.crs)).to_numpy()
    borders = regions.geometry.to_numpy()
    shapely.prepare(borders)
    shape, region = shapely.STRtree(borders).query(projected, predicate="intersects")
    parts = projected[shape]
    cut = ~shapely.covers(borders[region], parts)
    parts[cut] = shapely.intersection(parts[cut], borders[region[cut]])
    scale = regions["area_km2"].to_numpy() * 1e6 / shapely.area(borders)
    measure = shapely.length(parts) * np.sqrt(scale[region]) if lines else shapely.area(parts) * scale[region]
    return Overlay(shape, region, measure)
