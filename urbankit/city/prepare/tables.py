"""Other numbers by region, such as a census: tables that become modalities of their own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from urbankit.city.io.codes import ALPHAEARTH_GDAL, is_coded_alphaearth
from urbankit.city.io.columns import data_columns, number_matrix
from urbankit.city.prepare.context import Built, Context
from urbankit.city.prepare.match_regions import read_by_region, region_of, rows_by_region
from urbankit.city.prepare.quality import same_columns, suspicious_values
from urbankit.city.report import SourceReport
from urbankit.city.spec import Table
from urbankit.utils.errors import Problem, UserError

CODED = (
    "holds 8-bit codes of AlphaEarth, not numbers; read it by the modality `precomputed`, which decodes them, or "
    f"decode them by {ALPHAEARTH_GDAL}"
)
MOST_NOTES = 20
"""The most notes on values of one table."""


def build_table(spec: Table, context: Context, report: SourceReport) -> Built:
    """`tables/NAME.parquet`: one row for each region in their order, one column for each feature, NaN missing."""
    path = context.path(spec.file)
    names = {f"columns[{i}]": column for i, column in enumerate(spec.columns or [])} | {"region": spec.region}
    frame = read_by_region(spec.file, names, context, report)
    columns = spec.columns
    if columns is None:
        data = data_columns(frame, {spec.region, "__region"}, path, report.key)
        columns = data.names
        report.notes += data.notes
    if not columns:
        raise UserError(Problem("has no column of numbers but the region", path, key=report.key))
    values = number_matrix(frame, columns, path, f"{report.key}.columns", missing=spec.missing)
    if is_coded_alphaearth(values, columns):
        raise UserError(Problem(CODED, path, key=report.key))
    return built_table(rows_by_region(values, region_of(frame), len(context.regions)), columns, context, report)


def built_table(values: np.ndarray, columns: Sequence[str], context: Context, report: SourceReport) -> Built:
    """The layer of a table: `values` float64[N, F], NaN missing, with the F `columns`."""
    infinite = np.isinf(values)
    if infinite.any():
        report.note(f"infinite values, taken as missing: {int(infinite.sum())}")
        values = np.where(infinite, np.nan, values)
    report.covers = ("table", report.name, int(np.isfinite(values).any(1).sum()))
    notes = [
        f"'{name}': {note}"
        for name, column in zip(columns, values.T, strict=True)
        for note in suspicious_values(column, context.ids.ids)
    ]
    report.notes += notes[:MOST_NOTES]
    if len(notes) > MOST_NOTES:
        report.note(f"{len(notes) - MOST_NOTES} more notes of this kind")
    report.notes += same_columns(values, columns)
    table = pl.DataFrame(dict(zip(columns, values.T, strict=True)))
    return Built({f"tables/{report.name}.parquet": table}, {"columns": list(columns)})
