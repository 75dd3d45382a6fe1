"""Files of points, and the regions that contain them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import geopandas as gpd
import numpy as np
import polars as pl
import shapely

from urbankit.city.io.access import Access
from urbankit.city.io.columns import from_pandas, number_matrix
from urbankit.city.io.tables import check_columns, read
from urbankit.city.io.vectors import is_vector, read_vector
from urbankit.city.points import PointIndex, usable
from urbankit.city.report import SourceReport
from urbankit.city.spec_base import PointFile
from urbankit.utils.errors import Problem, UserError
from urbankit.utils.geometry import reproject

_POINT, _MULTIPOINT = 0, 4


@dataclass
class Points:
    """`lon`, `lat` float64[n] in degrees, NaN for a row without a usable position, and the requested `columns`.

    `notes` are sentences for the user.
    """

    lon: np.ndarray
    lat: np.ndarray
    columns: pl.DataFrame
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.lon)


def read_points(path: Path, columns: Mapping[str, str], spec: PointFile, access: Access, key: str) -> Points:
    """Points of a vector file, or of a table with columns `lon` and `lat`, a row for each row of the file.

    `spec` says how to read the file. `columns` maps keys of the spec to column names; problems are reported under `key`
    and these.
    """
    names, lon, lat, notes = sorted(set(columns.values())), spec.lon, spec.lat, list[str]()
    if is_vector(path):
        frame = read_vector(path, key, layer=spec.layer, crs=spec.crs, access=access)
        check_columns(path, columns, frame.columns, key)
        notes = _note_other_shapes(frame.geometry, path)
        points = reproject(frame.geometry, "EPSG:4326").representative_point()
        x, y = points.x.to_numpy(), points.y.to_numpy()
        selected = pl.DataFrame({name: from_pandas(frame[name], path, key) for name in names})
    elif spec.layer is not None or spec.crs is not None:
        name = "layer" if spec.layer is not None else "crs"
        raise UserError(Problem("is for vector files; remove the key for a table", path, key=f"{key}.{name}"))
    elif lon is None or lat is None:
        raise UserError(Problem("a table of points needs the keys lon and lat", path, key=key))
    else:
        table = read(path, {**columns, "lon": lon, "lat": lat}, key)
        x, y = number_matrix(table, [lon, lat], path, f"{key}.lon", f"{key}.lat").T
        selected = table.select(names)
    return Points(*usable(x, y), selected, notes)


def _note_other_shapes(geometry: gpd.GeoSeries, path: Path) -> list[str]:
    shapes = np.asarray(geometry.array)
    other = ~np.isin(shapely.get_type_id(shapes), [-1, _POINT, _MULTIPOINT]) | (shapely.get_num_geometries(shapes) > 1)
    count = int((other & ~shapely.is_empty(shapes)).sum())
    return [f"features of {path.name} that are no points, each counted at one point of it: {count:,}"] if count else []


def locate_labelled(
    points: Points, labels: pl.Series, column: tuple[str, str], path: Path, index: PointIndex, report: SourceReport
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the points that have a label and the regions that contain them, as `PointIndex.pairs` returns them.

    `labels` are text, null if missing; `column` is their key in the spec (`category` or `label`) and the name of the
    column in the file `path`. Rows without a label, position or region are counted in `report`. Raises `UserError` if
    no point remains.
    """
    key, name = column
    unlabelled, unplaced = labels.is_null().to_numpy(), np.isnan(points.lon)
    if unlabelled.all():
        raise UserError(Problem(f"column '{name}' is empty in every row", path, key=f"{report.key}.{key}"))
    report.rows = len(points)
    report.notes += points.notes
    report.drop(unplaced.sum(), "without a usable lon and lat")
    report.drop((unlabelled & ~unplaced).sum(), f"without a {key}")
    row, region = index.pairs(np.where(unlabelled, np.nan, points.lon), points.lat)
    report.matched = len(np.unique(row))
    report.drop(int((~unplaced & ~unlabelled).sum()) - report.matched, "outside every region")
    if not len(row):
        raise UserError(Problem(index.explain_no_match(points.lon, points.lat), path, key=f"{report.key}.points"))
    if in_several(row):
        report.note(f"points in several regions, counted in each: {in_several(row)}")
    return row, region


def in_several(rows: Sequence[int] | np.ndarray) -> int:
    """How many points of `PointIndex.pairs` lie in more than one region."""
    return int((np.unique(rows, return_counts=True)[1] > 1).sum())
