"""Tables keyed by region: their rows find their regions, and what does not match is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from urbankit.city.ids import RegionIds
from urbankit.city.io.tables import numbers, read
from urbankit.city.report import SourceReport
from urbankit.utils.errors import Problems
from urbankit.utils.text import list_some


def read_by_region(
    path: Path, columns: dict[str, str], ids: RegionIds, problems: Problems, report: SourceReport, *, once: bool = True
) -> pl.DataFrame | None:
    """The rows whose region exists, with its index as the last column `region` (int64).

    `columns` maps keys of the spec to column names and holds at least `region`. `once`: a second row of one region
    is a mistake. Raises nothing: what is wrong goes to `problems`, what is dropped to `report`.
    """
    key, id_column = report.key, columns["region"]
    frame = read(path, columns, problems, key)
    if frame is None:
        return None
    dtype = frame.schema[id_column]
    frame = frame.with_columns(ids.index(id_column, dtype).alias("__region"), ids.text(id_column, dtype).alias("__id"))
    report.rows = len(frame)
    report_unmatched(frame.filter(pl.col("__region") < 0)["__id"], report)
    found = frame.filter(pl.col("__region") >= 0)
    report.matched = len(found)
    if not len(found):
        problems.add(explain_no_match(frame["__id"], ids, id_column), file=path, key=key)
        return None
    twice = found.filter(pl.col("__region").is_duplicated())["__id"].unique().sort()
    if once and len(twice):
        problems.add(f"regions with several rows: {list_some(twice)}; keep one each", file=path, key=f"{key}.region")
        return None
    return found.drop("__id")


def region_of(frame: pl.DataFrame) -> np.ndarray:
    """int64[rows]: the region of every row of `read_by_region`."""
    return frame["__region"].to_numpy()


def spread(values: np.ndarray, regions: np.ndarray, n_regions: int) -> np.ndarray:
    """float64[N, ...] with the rows `values` at their `regions`, NaN elsewhere."""
    full = np.full((n_regions, *values.shape[1:]), np.nan)
    full[regions] = values
    return full


def number_matrix(
    frame: pl.DataFrame, columns: list[str], path: Path, problems: Problems, key: str
) -> np.ndarray | None:
    """float64[rows, columns], NaN missing; a column that holds text is a problem."""
    parsed = [numbers(frame, column, path, problems, key) for column in columns]
    return None if any(column is None for column in parsed) else np.column_stack(parsed)


def report_unmatched(ids: pl.Series, report: SourceReport) -> None:
    """Count the rows without a region's id and those whose id no region has, and name some of the latter."""
    report.drop(ids.null_count(), "without a region id")
    strangers = ids.drop_nulls()
    report.drop(len(strangers), "with an id that no region has")
    if len(strangers):
        report.note(f"ids that match no region: {list_some(strangers.unique().sort())}")


def explain_no_match(found: pl.Series, ids: RegionIds, column: str) -> str:
    here = ", ".join(found.drop_nulls().head(3)) or "nothing"
    return f"no id in column '{column}' matches a region; it holds {here}, the regions are {', '.join(ids.ids[:3])}"
