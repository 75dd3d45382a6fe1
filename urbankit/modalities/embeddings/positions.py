"""Embeddings in a vector file without ids of regions: image chips or points, placed by their geometry.

The embeddings of Clay and Prithvi are published so: one row for each chip, with its outline and a list of numbers.
"""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import polars as pl
import shapely
from scipy import sparse

from urbankit.city.city import City
from urbankit.city.datasets.overlay import overlay
from urbankit.city.io.codes import decode
from urbankit.city.io.columns import data_columns
from urbankit.city.io.source import reading
from urbankit.city.io.vectors import read_vector
from urbankit.city.points import NEEDS_GEOMETRY, PointIndex
from urbankit.modalities.embeddings.rules import EmbeddingTable, Rules, select_names, without_empty
from urbankit.modalities.embeddings.vectors import is_list, vectors
from urbankit.modalities.embeddings.years import DATES, choose_year, years_of_rows
from urbankit.utils.errors import Problems
from urbankit.utils.geometry import reproject
from urbankit.utils.text import list_some


def read_positions(path: Path, city: City, rules: Rules, problems: Problems, key: str) -> EmbeddingTable | None:
    """Return the mean of the vectors in each region; None with problems added.

    A polygon counts by its area within the region, a point by lying in it.
    """
    if not city.has_geometry:
        problems.add(NEEDS_GEOMETRY, key=f"{key}.file")
        return None
    features = read_vector(path, f"{key}.file")
    features = features[~(features.geometry.isna() | features.geometry.is_empty)].reset_index(drop=True)
    kinds = sorted(set(features.geom_type))
    is_point = kinds == ["Point"]
    if not is_point and not {"Polygon", "MultiPolygon"}.issuperset(kinds):
        message = f"has geometries of the types {', '.join(kinds)}; only points, or only polygons, can be averaged"
        problems.add(message, key=f"{key}.file")
        return None
    with reading(path, f"{key}.file"):
        frame = pl.from_pandas(pd.DataFrame(features.drop(columns=features.geometry.name)))
    frame = frame.with_row_index("__row", offset=1)
    rows, dated = _of_year(frame, path, rules, key)
    frame, features = frame.filter(rows), features[rows.to_numpy()]
    names, notes = _columns(frame, dated, path, rules, problems, key)
    parsed = vectors(frame, names, path, problems, f"{key}.columns")
    if parsed is None:
        return None
    values, columns, has = parsed
    with reading(path, f"{key}.file"):
        values, decoded = decode(values, columns, rules.codes)
    geometry = features.geometry[has]
    weights = _in_regions(geometry, city.regions, is_point)
    if not weights.nnz:
        problems.add(_explain_outside(geometry, city.regions), key=f"{key}.file")
        return None
    valid = np.isfinite(values)
    with np.errstate(divide="ignore", invalid="ignore"):
        means = (weights @ np.where(valid, values, 0.0)) / (weights @ valid.astype(np.float64))
    inside = len(np.unique(weights.indices))
    what = "points" if is_point else "polygons, weighted by their area in the region"
    notes += [*decoded, f"the vectors are means over {inside:,} {what}"]
    return without_empty(EmbeddingTable(means, np.arange(city.n_regions), columns, notes), city, rules, problems, key)


def _of_year(frame: pl.DataFrame, path: Path, rules: Rules, key: str) -> tuple[pl.Series, str | None]:
    """Return which rows are of the year, bool[rows], and the column that says it."""
    dated = years_of_rows(frame)
    years = set() if dated is None else set(dated[1].drop_nulls())
    year = choose_year(years, rules.year, path, key, "has rows")
    if dated is None or year is None:
        return pl.Series([True] * len(frame), dtype=pl.Boolean), None if dated is None else dated[0]
    return (dated[1] == year).fill_null(len(years) == 1), dated[0]


def _columns(
    frame: pl.DataFrame, dated: str | None, path: Path, rules: Rules, problems: Problems, key: str
) -> tuple[list[str], list[str]]:
    """Return the columns with the vectors, by default the only one of lists, else those of numbers; and notes."""
    available = [name for name in frame.columns if name != "__row"]
    if rules.columns is not None:
        return select_names(rules.columns, available, "column", problems, key), []
    lists = [name for name in available if is_list(frame[name])]
    if len(lists) == 1:
        return lists, []
    if lists:
        problems.add(f"has several columns of lists: {list_some(lists)}; name one by `columns`", key=f"{key}.columns")
        return [], []
    others = {"__row", *(name for name in available if name.lower() in DATES or name == dated)}
    numeric = [name for name in available if frame.schema[name].is_numeric() and name not in others]
    data = data_columns(frame.select(numeric), set(), path, f"{key}.columns")
    aside = [name for name in available if name not in numeric]
    return data.names, data.notes + ([f"columns that are left aside: {list_some(aside)}"] if aside else [])


def _in_regions(shapes: gpd.GeoSeries, regions: gpd.GeoDataFrame, is_point: bool) -> sparse.csr_array:
    """Return the weight of each shape in each region, [N, shapes]."""
    degrees = np.array(reproject(shapes, "EPSG:4326"), dtype=object)
    if is_point:
        shape, region = PointIndex(regions).pairs(shapely.get_x(degrees), shapely.get_y(degrees))
        measure = np.ones(len(shape))
    else:
        invalid = ~shapely.is_valid(degrees)
        degrees[invalid] = shapely.make_valid(degrees[invalid], method="structure", keep_collapsed=False)
        laid = overlay(degrees, regions, lines=False)
        shape, region, measure = laid.shape, laid.region, laid.measure
    positive = measure > 0
    pairs = (region[positive], shape[positive])
    return sparse.csr_array((measure[positive], pairs), (len(regions), len(shapes)))


def _explain_outside(shapes: gpd.GeoSeries, regions: gpd.GeoDataFrame) -> str:
    boxes = [
        "lon {:.4f} to {:.4f}, lat {:.4f} to {:.4f}".format(*reproject(one, "EPSG:4326").total_bounds[[0, 2, 1, 3]])
        for one in (shapes, regions.geometry)
    ]
    return f"no geometry lies in a region; they span {boxes[0]}, the regions {boxes[1]}"
