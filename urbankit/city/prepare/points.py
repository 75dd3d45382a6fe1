"""Points: reading them with their longitude and latitude, and finding the regions they lie in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import polars as pl
import shapely

from urbankit.city.io.tables import check_columns, numbers, read
from urbankit.city.io.vectors import is_vector, read_vector
from urbankit.city.report import SourceReport
from urbankit.utils.errors import Problems

CHUNK = 1_000_000


class PointIndex:
    """The regions that contain points; a point on a border lies in the regions on both sides.

    >>> rows, regions = PointIndex(city.regions).pairs(lon, lat)
    """

    def __init__(self, regions: gpd.GeoDataFrame) -> None:
        self._shapes = regions.geometry.to_crs("EPSG:4326").to_numpy()
        shapely.prepare(self._shapes)
        self._tree = shapely.STRtree(self._shapes)

    def pairs(self, lon: np.ndarray, lat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the points and regions that contain them, int64[P] each, by row and then by region.

        `lon`, `lat`: float64[n] in degrees (WGS 84); a point without finite coordinates lies nowhere.
        """
        rows, regions = [], []
        for start in range(0, len(lon), CHUNK):
            x, y = lon[start : start + CHUNK], lat[start : start + CHUNK]
            point, shape = self._tree.query(shapely.points(x, y))
            inside = shapely.intersects_xy(self._shapes[shape], x[point], y[point])
            point, shape = point[inside] + start, shape[inside]
            order = np.lexsort((shape, point))
            rows.append(point[order])
            regions.append(shape[order])
        if not rows:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        return np.concatenate(rows).astype(np.int64), np.concatenate(regions).astype(np.int64)

    def first(self, lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
        """int64[n]: the region of every point, the first in order where several contain it, -1 where none does."""
        found = np.full(len(lon), -1, np.int64)
        rows, regions = self.pairs(lon, lat)
        found[rows[::-1]] = regions[::-1]
        return found


@dataclass
class Points:
    """`lon`, `lat` float64[n] in degrees, NaN where a row has no usable position, and the other `columns` asked for."""

    lon: np.ndarray
    lat: np.ndarray
    columns: pl.DataFrame

    def __len__(self) -> int:
        return len(self.lon)


def read_points(
    path: Path, columns: dict[str, str], lon: str | None, lat: str | None, problems: Problems, key: str
) -> Points | None:
    """Points of a vector file, or of a table with columns `lon` and `lat`. What is wrong goes to `problems`.

    `columns` maps keys of the spec to column names, for errors; rows of the result are the file's rows.
    """
    if is_vector(path):
        frame = read_vector(path, problems, key)
        if frame is None or not check_columns(path, columns, frame.columns, problems, key):
            return None
        spots = frame.geometry.to_crs("EPSG:4326").representative_point()
        rest = pl.DataFrame({name: pl.from_pandas(frame[name]) for name in set(columns.values())})
        return Points(*_usable(spots.x.to_numpy(), spots.y.to_numpy()), rest)
    if lon is None or lat is None:
        problems.add("a table of points needs the keys lon and lat", key=key, file=path)
        return None
    frame = read(path, columns | {"lon": lon, "lat": lat}, problems, key)
    if frame is None:
        return None
    x = numbers(frame, lon, path, problems, f"{key}.lon")
    y = numbers(frame, lat, path, problems, f"{key}.lat")
    return None if x is None or y is None else Points(*_usable(x, y), frame.select(sorted(set(columns.values()))))


def locate_named(
    points: Points,
    names: pl.Series,
    what: str,
    column: str,
    path: Path,
    regions: gpd.GeoDataFrame,
    problems: Problems,
    report: SourceReport,
) -> tuple[np.ndarray, np.ndarray] | None:
    """Rows of the points that have a name and the regions that contain them, as `PointIndex.pairs` gives them.

    `names` (text, null for none) are each point's `what`, a category or a label, from `column` of `path`. What is
    counted, dropped and noted goes to `report`; None where no point is left, which `problems` then says.
    """
    unnamed, lost = names.is_null().to_numpy(), np.isnan(points.lon)
    if unnamed.all():
        problems.add(f"column '{column}' is empty in every row", file=path, key=f"{report.key}.{what}")
        return None
    report.rows = len(points)
    report.drop(lost.sum(), "without a usable lon and lat")
    report.drop((unnamed & ~lost).sum(), f"without a {what}")
    index = PointIndex(regions)
    row, region = index.pairs(np.where(unnamed, np.nan, points.lon), points.lat)
    report.matched = len(np.unique(row))
    report.drop(int((~lost & ~unnamed).sum()) - report.matched, "outside every region")
    if not len(row):
        problems.add(explain_no_match(index, points.lon, points.lat), file=path, key=f"{report.key}.points")
        return None
    if in_several(row):
        report.note(f"points that lie in several regions, and count in each: {in_several(row)}")
    return row, region


def _usable(lon: np.ndarray, lat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    fine = np.isfinite(lon) & np.isfinite(lat) & (np.abs(lon) <= 180) & (np.abs(lat) <= 90)
    return np.where(fine, lon, np.nan), np.where(fine, lat, np.nan)


def explain_no_match(index: PointIndex, lon: np.ndarray, lat: np.ndarray) -> str:
    """Why no point lies in any region, as far as it shows."""
    here = np.flatnonzero(np.isfinite(lon))[:CHUNK]
    if not len(here):
        return "no row has a longitude within ±180 and a latitude within ±90"
    swapped = np.abs(lon[here]) <= 90
    if len(index.pairs(lat[here][swapped], lon[here][swapped])[0]):
        return "no point lies in any region, but with lon and lat exchanged they would: exchange the two columns"
    box = [f"{bound:.4f}" for bound in (lon[here].min(), lon[here].max(), lat[here].min(), lat[here].max())]
    return f"no point lies in any region; they span lon {box[0]} to {box[1]} and lat {box[2]} to {box[3]}"


def in_several(rows: Sequence[int] | np.ndarray) -> int:
    """How many points of `PointIndex.pairs` lie in more than one region."""
    return int((np.unique(rows, return_counts=True)[1] > 1).sum())
