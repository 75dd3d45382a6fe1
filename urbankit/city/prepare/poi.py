"""Points of interest, counted by region and category."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from urbankit.city.io.columns import data_columns, number_matrix, texts
from urbankit.city.prepare.context import Built, Context
from urbankit.city.prepare.match_regions import read_by_region, region_of
from urbankit.city.prepare.points import locate_labelled, read_points
from urbankit.city.prepare.quality import similar_names
from urbankit.city.report import SourceReport
from urbankit.city.spec import PoiCounts, PoiPoints, PoiSpec
from urbankit.utils.errors import Problem, UserError
from urbankit.utils.text import list_some


def build_poi(spec: PoiSpec, context: Context, report: SourceReport) -> Built:
    """`poi.parquet`: region, category, count. The manifest's entry lists all categories, of regions without any too.

    A region with a row of counts is present even if all are zero: it then has one row with a null category. With
    points, only regions that contain one are present.
    """
    if isinstance(spec, PoiCounts):
        counts, present, categories = _from_counts(spec, context, report)
    else:
        counts, present, categories = _from_points(spec, context, report)
    return built_poi(counts, present, categories, report)


def built_poi(counts: pl.DataFrame, present: np.ndarray, categories: list[str], report: SourceReport) -> Built:
    """The layer of counts: `region`, `category` (its position in `categories`) and `count`, each pair once.

    `present`: bool[N], the regions whose counts are known.
    """
    report.covers = ("poi", "poi", int(present.sum()))
    empty = sorted(set(range(len(categories))) - set(counts["category"]))
    if empty:
        report.note(f"categories without a point in any region: {list_some(categories[i] for i in empty)}")
    zero = np.setdiff1d(np.flatnonzero(present), counts["region"].to_numpy())
    zeros = pl.DataFrame({"region": zero, "category": None, "count": 0.0}, schema=counts.schema)
    table = pl.concat([counts, zeros]).sort("region", "category")
    names = pl.Series(categories, dtype=pl.String)
    return Built(
        {"poi.parquet": table.with_columns(category=names.gather(table["category"]))}, {"categories": categories}
    )


def _from_counts(spec: PoiCounts, context: Context, report: SourceReport) -> tuple[pl.DataFrame, np.ndarray, list[str]]:
    path = context.path(spec.counts)
    frame = read_by_region(spec.counts, {"region": spec.region}, context, report)
    data = data_columns(frame, {spec.region, "__region"}, path, "poi.counts")
    categories = data.names
    report.notes += data.notes
    if not categories:
        raise UserError(Problem("has no column but the region: every category is a column", path, key="poi.counts"))
    counts = number_matrix(frame, categories, path, "poi.counts")
    invalid = (counts < 0) | np.isinf(counts)
    if invalid.any():
        row, column = np.argwhere(invalid)[0]
        message = (
            f"negative or infinite counts: {int(invalid.sum())}, such as {counts[row, column]:g} of "
            f"'{categories[column]}' in {frame[spec.region][int(row)]}"
        )
        raise UserError(Problem(message, path, key="poi.counts"))
    empty = int(np.isnan(counts).sum())
    if empty:
        report.note(f"empty counts, taken as 0: {empty}")
    region = region_of(frame)
    row, column = np.nonzero(np.nan_to_num(counts))
    present = np.zeros(len(context.regions), bool)
    present[region] = True
    return count_table(region[row], column, counts[row, column]), present, categories


def _from_points(spec: PoiPoints, context: Context, report: SourceReport) -> tuple[pl.DataFrame, np.ndarray, list[str]]:
    path = context.path(spec.points)
    points = read_points(path, {"category": spec.category}, spec, context.access, "poi")
    category = texts(points.columns, spec.category, path, "poi.category")
    row, region = locate_labelled(points, category, ("category", spec.category), path, context.point_index, report)
    categories = category.drop_nulls().unique().sort().to_list()
    report.notes += similar_names(categories, "categories")
    counts = count_points(category.gather(row), region, categories)
    return counts, np.bincount(region, minlength=len(context.regions)) > 0, categories


def count_points(category: pl.Series, region: np.ndarray, categories: Sequence[str]) -> pl.DataFrame:
    """Return the counts of points by their `category` and `region`, both of length P, as `built_poi` takes them."""
    code = category.replace_strict(categories, np.arange(len(categories)), return_dtype=pl.Int64)
    return count_table(region, code.to_numpy(), np.ones(len(region))).group_by("region", "category").sum()


def count_table(region: np.ndarray, category: np.ndarray, count: np.ndarray) -> pl.DataFrame:
    """Return counts as `built_poi` takes them, from three columns."""
    return pl.DataFrame({"region": region.astype(np.int64), "category": category.astype(np.int64), "count": count})
