"""Points of interest, counted by region and category."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import polars as pl
import scipy.sparse

from urbankit.city.ids import RegionIds
from urbankit.city.prepare.match_regions import number_matrix, read_by_region, region_of
from urbankit.city.prepare.points import locate_named, read_points
from urbankit.city.report import SourceReport
from urbankit.city.spec import PoiCounts, PoiPoints, PoiSpec
from urbankit.utils.errors import Problems
from urbankit.utils.paths import resolve_inside
from urbankit.utils.text import list_some


@dataclass
class Poi:
    """`counts` float64 csr [N, C], their `categories` [C], and which regions were counted at all, bool[N]."""

    counts: scipy.sparse.csr_array
    categories: list[str]
    present: np.ndarray


def build_poi(
    spec: PoiSpec, regions: gpd.GeoDataFrame, data: Path, problems: Problems, report: SourceReport
) -> Poi | None:
    """POI counts; None when `problems` says why.

    A region with a row of counts was counted even if all are zero; of points, only regions with a point were.
    """
    build = _from_counts if isinstance(spec, PoiCounts) else _from_points
    poi = build(spec, regions, data, problems, report)
    if poi is not None:
        report.covers = ("poi", "poi", int(poi.present.sum()))
        empty = [name for name, total in zip(poi.categories, poi.counts.sum(axis=0), strict=True) if total == 0]
        if empty:
            report.note(f"categories without a point in any region: {list_some(empty)}")
    return poi


def _from_counts(
    spec: PoiCounts, regions: gpd.GeoDataFrame, data: Path, problems: Problems, report: SourceReport
) -> Poi | None:
    path = resolve_inside(data, spec.counts)
    frame = read_by_region(path, {"region": spec.region}, RegionIds(regions.region_id), problems, report)
    if frame is None:
        return None
    categories = [name for name in frame.columns if name not in (spec.region, "__region")]
    if not categories:
        problems.add("has no column but the region: every category is a column", file=path, key="poi.counts")
        return None
    counts = number_matrix(frame, categories, path, problems, "poi.counts")
    if counts is None:
        return None
    bad = (counts < 0) | np.isinf(counts)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        problems.add(
            f"negative or infinite counts: {int(bad.sum())}, such as {counts[row, column]:g} of "
            f"'{categories[column]}' in {frame[spec.region][int(row)]}",
            file=path,
            key="poi.counts",
        )
        return None
    gaps = int(np.isnan(counts).sum())
    if gaps:
        report.note(f"empty counts, taken as 0 in rows that are there: {gaps}")
    at = region_of(frame)
    row, column = np.nonzero(np.nan_to_num(counts))
    shape = (len(regions), len(categories))
    present = np.zeros(len(regions), bool)
    present[at] = True
    return Poi(scipy.sparse.csr_array((counts[row, column], (at[row], column)), shape=shape), categories, present)


def _from_points(
    spec: PoiPoints, regions: gpd.GeoDataFrame, data: Path, problems: Problems, report: SourceReport
) -> Poi | None:
    path = resolve_inside(data, spec.points)
    points = read_points(path, {"category": spec.category}, spec.lon, spec.lat, problems, "poi")
    if points is None:
        return None
    category = points.columns[spec.category].cast(pl.String).str.strip_chars()
    category = category.set(category == "", None)
    located = locate_named(points, category, "category", spec.category, path, regions, problems, report)
    if located is None:
        return None
    row, region = located
    categories = category.drop_nulls().unique().sort()
    code = category.replace_strict(categories, np.arange(len(categories)), default=-1, return_dtype=pl.Int64)
    shape = (len(regions), len(categories))
    counts = scipy.sparse.csr_array((np.ones(len(row)), (region, code.to_numpy()[row])), shape=shape)
    counts.sum_duplicates()
    return Poi(counts, categories.to_list(), np.bincount(region, minlength=len(regions)) > 0)
