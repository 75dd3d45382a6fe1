"""Tables keyed by region id: the region of every row, and a report of the rows without one."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from urbankit.city.ids import RegionIds, rounded_ids
from urbankit.city.io.columns import check_text
from urbankit.city.io.tables import read
from urbankit.city.prepare.context import Context
from urbankit.city.report import SourceReport
from urbankit.utils.errors import Problem, UserError
from urbankit.utils.text import list_some


def read_by_region(
    file: str, columns: Mapping[str, str], context: Context, report: SourceReport, *, unique: bool = True
) -> pl.DataFrame:
    """The rows of a source file whose region exists, with its index as the last column `__region` (int64).

    `columns` maps keys of the spec to column names, `region` among them. Other rows are counted in `report`. Raises
    `UserError` if no row matches, or, with `unique`, if a region has several rows.
    """
    path, ids, key, id_column = context.path(file), context.ids, report.key, columns["region"]
    frame = read(path, columns, key)
    dtype = frame.schema[id_column]
    check_text(id_column, dtype, path, f"{key}.region")
    frame = frame.with_columns(ids.index(id_column, dtype).alias("__region"), ids.text(id_column, dtype).alias("__id"))
    report.rows = len(frame)
    report_unmatched(frame.filter(pl.col("__region") < 0)["__id"], report)
    matched = frame.filter(pl.col("__region") >= 0)
    report.matched = len(matched)
    if not len(matched):
        raise UserError(Problem(explain_no_match(frame["__id"], ids, id_column), path, key=key))
    repeated = matched.filter(pl.col("__region").is_duplicated())["__id"].unique().sort()
    if unique and len(repeated):
        message = f"regions with several rows: {list_some(repeated)}; keep one each"
        raise UserError(Problem(message, path, key=f"{key}.region"))
    return matched.drop("__id")


def region_of(frame: pl.DataFrame) -> np.ndarray:
    """int64[rows]: the region of every row of `read_by_region`."""
    return frame["__region"].to_numpy()


def rows_by_region(values: np.ndarray, regions: np.ndarray, n_regions: int) -> np.ndarray:
    """float64[N, ...] with the rows `values` at their `regions`, NaN elsewhere."""
    full = np.full((n_regions, *values.shape[1:]), np.nan)
    full[regions] = values
    return full


def report_unmatched(ids: pl.Series, report: SourceReport) -> None:
    """Count the rows without a region id and those with an unknown one, and name some of the latter."""
    report.drop(ids.null_count(), "without a region id")
    unknown = ids.drop_nulls()
    report.drop(len(unknown), "with an id that no region has")
    if len(unknown):
        report.note(f"ids that match no region: {list_some(unknown.unique().sort())}{_explain_rounded(unknown)}")


def explain_no_match(available: pl.Series, ids: RegionIds, column: str) -> str:
    """A message with some ids of the column and some of the regions."""
    examples = ", ".join(available.drop_nulls().head(3)) or "nothing"
    regions = f"the regions are {', '.join(ids.ids[:3])}"
    return f"no id in column '{column}' matches a region; it holds {examples}, {regions}{_explain_rounded(available)}"


def _explain_rounded(ids: pl.Series) -> str:
    rounded = rounded_ids(ids.drop_nulls())
    if not rounded:
        return ""
    return (
        f". {rounded[0]} is a number that a spreadsheet has rounded: store the column as text there, and save it again"
    )
