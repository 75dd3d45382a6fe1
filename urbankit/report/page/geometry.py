"""The outlines of regions for a page: simplified together, rounded to a grid of integers, stored as differences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray

from urbankit.report.page.packing import pack_counts, pack_varints

GRID = 32_767
"""Grid steps along the longer side of the city; one step is about one screen pixel at 30-fold zoom."""

MOST_POINTS = 400_000
"""Outlines with more points are simplified further; at four bytes each, this many take about 2 MB of the page."""


@dataclass(frozen=True)
class Grid:
    """The grid of a page: `left` and `high` are its corner in metres, `unit` the metres of a step."""

    left: float
    high: float
    unit: float

    def steps(self, points: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return points [P, 2] in steps, y downwards."""
        return np.rint(np.column_stack([points[:, 0] - self.left, self.high - points[:, 1]]) / self.unit).astype(
            np.int64
        )


def grid_of(regions: gpd.GeoDataFrame) -> Grid | None:
    """Return the grid of the `regions`; None if they have no shapes."""
    shapes = _shapes(regions)
    present = shapes[shapes != None]  # noqa: E711  elementwise
    if not len(present):
        return None
    left, low, right, high = shapely.total_bounds(present).tolist()
    return Grid(left, high, max(right - left, high - low, 1e-9) / GRID)


def _shapes(regions: gpd.GeoDataFrame) -> NDArray:
    return np.array([None if shape is None or shape.is_empty else shape for shape in regions.geometry], object)


def outlines(regions: gpd.GeoDataFrame) -> dict[str, Any]:
    """The polygons of `regions`, in metres, as the page draws them.

    `unit` is the metres of a grid step, `width` and `height` the city's in steps, y downwards. `rings` counts the rings
    of each region, `points` the points of each ring, `steps` are x and y of all points, each less the one before it.
    Outer rings and holes turn in opposite directions, and a ring does not repeat its first point. Borders that regions
    share stay shared. A region too small for the grid is a triangle of one step.
    """
    shapes, area = _shapes(regions), grid_of(regions)
    present = np.flatnonzero(shapes != None)  # noqa: E711  elementwise
    if area is None:
        return _packed(np.zeros(len(shapes), np.int64), np.zeros(0, np.int64), np.zeros((0, 2), np.int64), 1.0)
    polygons, of = shapely.get_parts(_simplified(shapes[present], area.unit), return_index=True)
    areal = shapely.get_type_id(polygons) == 3
    polygons, of = polygons[areal], of[areal]
    rings, polygon_of = shapely.get_rings(polygons, return_index=True)
    outer = np.r_[True, polygon_of[1:] != polygon_of[:-1]] if len(rings) else np.zeros(0, bool)
    xy, ring_of = shapely.get_coordinates(rings, return_index=True)
    grid, counts, ring_ids = _cleaned(area.steps(xy), ring_of, outer)
    rings_of_region = np.bincount(present[of[polygon_of[ring_ids]]], minlength=len(shapes))
    return _packed(rings_of_region, counts, grid, area.unit)


def _simplified(shapes: NDArray, unit: float) -> NDArray:
    """Simplified as one coverage (Visvalingam-Whyatt), so that what neighbours share is simplified in one way."""
    tolerance = 2 * unit
    simplified = shapely.coverage_simplify(shapes, tolerance)
    while shapely.get_num_coordinates(simplified).sum() > MOST_POINTS and tolerance < GRID / 100 * unit:
        tolerance *= 2
        simplified = shapely.coverage_simplify(shapes, tolerance)
    return simplified


def _cleaned(
    grid: NDArray[np.int64], ring_of: NDArray[np.int64], outer: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Points [P, 2], points of each ring, and which rings were kept: no point twice in a row, holes turned around."""
    first = np.r_[True, ring_of[1:] != ring_of[:-1]]
    same = np.r_[False, (grid[1:] == grid[:-1]).all(axis=1)]
    keep = first | ~same
    grid, ring_of = grid[keep], ring_of[keep]
    # The last point repeats the first, unless nothing but one point is left of the ring.
    last = np.r_[ring_of[1:] != ring_of[:-1], True]
    alone = np.bincount(ring_of, minlength=len(outer))[ring_of] == 1
    grid, ring_of = grid[~last | alone], ring_of[~last | alone]
    counts = np.bincount(ring_of, minlength=len(outer))
    grid, ring_of = _with_triangles(grid, ring_of, counts, outer)
    counts = np.bincount(ring_of, minlength=len(outer))
    ring_ids = np.flatnonzero(counts)
    return _turned(grid, ring_of, counts, outer), counts[ring_ids], ring_ids


def _with_triangles(
    grid: NDArray[np.int64], ring_of: NDArray[np.int64], counts: NDArray[np.int64], outer: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rings of fewer than three points: outer ones become a triangle at their first point, holes vanish."""
    flat = counts < 3
    valid = ~flat[ring_of]
    lost = np.flatnonzero(flat & outer & (counts > 0))
    starts = np.searchsorted(ring_of, lost)
    corners = grid[starts][:, None, :] + np.array([[0, 0], [1, 0], [0, 1]])
    points = np.concatenate([grid[valid], corners.reshape(-1, 2)])
    rings = np.concatenate([ring_of[valid], np.repeat(lost, 3)])
    order = np.argsort(rings, kind="stable")
    return points[order], rings[order]


def _turned(
    grid: NDArray[np.int64], ring_of: NDArray[np.int64], counts: NDArray[np.int64], outer: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """The points with outer rings of positive area and holes of negative, so that overlapping regions stay filled."""
    start = np.cumsum(counts) - counts
    position = np.arange(len(grid)) - start[ring_of]
    following = start[ring_of] + (position + 1) % np.maximum(counts[ring_of], 1)
    cross = grid[:, 0] * grid[following, 1] - grid[following, 0] * grid[:, 1]
    area = np.bincount(ring_of, weights=cross, minlength=len(counts))
    wrong = ((area > 0) != outer)[ring_of]
    back = start[ring_of] + counts[ring_of] - 1 - position
    return grid[np.where(wrong, back, np.arange(len(grid)))]


def _packed(
    rings: NDArray[np.int64], points: NDArray[np.int64], grid: NDArray[np.int64], unit: float
) -> dict[str, Any]:
    width, height = grid.max(axis=0, initial=1).tolist()
    steps = np.diff(grid, axis=0, prepend=np.zeros((1, 2), np.int64))
    return {
        "unit": unit,
        "width": width,
        "height": height,
        "rings": pack_counts(rings),
        "points": pack_counts(points),
        "steps": pack_varints(steps.ravel()),
    }
