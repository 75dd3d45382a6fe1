"""Targets: from a table, a raster or labelled points; a region without a value has NaN or None."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from urbankit.city.io.columns import is_text, number_matrix, numbers, texts
from urbankit.city.io.raster import zonal
from urbankit.city.prepare.context import Built, Context
from urbankit.city.prepare.match_regions import read_by_region, region_of, rows_by_region
from urbankit.city.prepare.points import locate_labelled, read_points
from urbankit.city.prepare.quality import similar_names, suspicious_values
from urbankit.city.report import SourceReport
from urbankit.city.spec import PointTarget, RasterTarget, TargetSource
from urbankit.city.spec_targets import ShareTarget, TableTarget
from urbankit.city.target import Target, share_columns
from urbankit.utils.errors import Problem, UserError
from urbankit.utils.text import list_some


def build_target(spec: TargetSource, context: Context, report: SourceReport) -> Built:
    """`targets/NAME.parquet`: region_id, value; null where missing. Raises `UserError` for a target without values.

    A distribution has a column for each part instead of `value` (`share_columns`).
    """
    if isinstance(spec, TableTarget):
        target, file = _from_table(spec, context, report), spec.table
    elif isinstance(spec, ShareTarget):
        target, file = _from_columns(spec, context, report), spec.table
    elif isinstance(spec, RasterTarget):
        target, file = _from_raster(spec, context, report), spec.raster
    else:
        target, file = _from_points(spec, context, report), spec.points
    built = built_target(target, context.path(file), context, report)
    if spec.classes:
        present = set(target.parts or target.values[target.present].tolist())
        if unknown := [name for name in spec.classes if name not in present]:
            who = "are no columns" if target.parts else "no region has"
            report.note(f"`classes` that {who}: {list_some(map(repr, unknown))}")
    return built


def built_target(target: Target, path: Path, context: Context, report: SourceReport) -> Built:
    """The layer of a target, read from the file `path`. Raises `UserError` for a target without values."""
    ids = context.regions["region_id"].to_numpy()
    infinite = np.isinf(target.values) if target.kind == "regression" else np.zeros(len(ids), bool)
    if infinite.any():
        target.values[infinite] = np.nan
        report.note(f"infinite, taken as missing, in {list_some(ids[infinite])}")
    present = target.present
    if not present.any():
        reason = "every value is infinite" if infinite.any() else "all empty"
        reason = "no row has shares" if target.parts else reason
        message = f"has no value in any region: {reason}; correct it or remove it"
        raise UserError(Problem(message, path, key=report.key))
    report.covers = ("target", report.name, int(present.sum()))
    if target.parts:
        columns = dict(zip(share_columns(target.parts), target.values.T, strict=True))
        values = {name: pl.Series(name, column).fill_nan(None) for name, column in columns.items()}
    elif target.kind == "regression":
        report.notes += suspicious_values(target.values, ids)
        values = {"value": pl.Series("value", target.values).fill_nan(None)}
    else:
        _report_classes(target.values[present], report)
        values = {"value": pl.Series("value", target.values.tolist(), dtype=pl.String)}
    table = pl.DataFrame({"region_id": ids.tolist(), **values})
    parts = {"parts": list(target.parts)} if target.parts else {}
    return Built({f"targets/{report.name}.parquet": table}, {"kind": target.kind, "unit": target.unit, **parts})


def _from_table(spec: TableTarget, context: Context, report: SourceReport) -> Target:
    frame = read_by_region(spec.table, {"region": spec.region, "column": spec.column}, context, report)
    region, n_regions = region_of(frame), len(context.regions)
    path, key = context.path(spec.table), f"{report.key}.column"
    if spec.kind == "classification":
        labels = np.array(texts(frame, spec.column, path, key, spec.missing).to_list(), dtype=object)
        return Target(report.name, spec.kind, _by_region(labels, region, n_regions), spec.unit)
    try:
        values = numbers(frame, spec.column, path, key, spec.missing)
    except UserError as error:
        if is_text(frame.schema[spec.column]):
            hint = Problem("for classes, add `kind: classification`", key=report.key)
            raise UserError([*error.problems, hint]) from None
        raise
    return Target(report.name, spec.kind, rows_by_region(values, region, n_regions), spec.unit)


def _from_columns(spec: ShareTarget, context: Context, report: SourceReport) -> Target:
    named = {f"columns[{i}]": column for i, column in enumerate(spec.columns)}
    frame = read_by_region(spec.table, {"region": spec.region, **named}, context, report)
    path, key = context.path(spec.table), f"{report.key}.columns"
    amounts = number_matrix(frame, spec.columns, path, key, missing=spec.missing)
    region, ids = region_of(frame), context.regions["region_id"].to_numpy()
    values = rows_by_region(_shares(amounts, ids[region], report), region, len(ids))
    return Target(report.name, spec.kind, values, spec.unit, parts=tuple(spec.columns))


def _shares(amounts: np.ndarray, ids: np.ndarray, report: SourceReport) -> np.ndarray:
    """Rows [n, K] of counts or shares divided by their sum; NaN, with a note, where they are no distribution."""
    missing = ~np.isfinite(amounts).all(axis=1)
    negative = ~missing & (amounts < 0).any(axis=1)
    empty = ~missing & (amounts == 0).all(axis=1)
    reasons = {"a value is missing": missing, "a value is negative": negative, "all values are zero": empty}
    for reason, rows in reasons.items():
        if rows.any():
            report.note(f"regions without a label, because {reason}: {int(rows.sum())} ({list_some(ids[rows])})")
    amounts = np.where((missing | negative | empty)[:, None], np.nan, amounts)
    return amounts / amounts.sum(axis=1, keepdims=True)


def _from_raster(spec: RasterTarget, context: Context, report: SourceReport) -> Target:
    regions = context.regions[["region_id", "geometry"]]
    values, notes = zonal(
        context.path(spec.raster), regions, spec.statistic, spec.band, spec.nodata, crs=spec.crs, access=context.access
    )
    report.notes += notes
    present = np.isfinite(values)
    report.rows, report.matched = len(regions), int(present.sum())
    report.drop(report.rows - report.matched, "over no valid cell")
    if spec.statistic != "majority":
        return Target(report.name, "regression", values, spec.unit)
    classes = np.array([_code(value) if valid else None for value, valid in zip(values, present, strict=True)], object)
    return Target(report.name, "classification", classes, spec.unit)


def _from_points(spec: PointTarget, context: Context, report: SourceReport) -> Target:
    path = context.path(spec.points)
    points = read_points(path, {"label": spec.label}, spec, context.access, report.key)
    label = texts(points.columns, spec.label, path, f"{report.key}.label")
    row, region = locate_labelled(points, label, ("label", spec.label), path, context.point_index, report)
    votes = (
        pl.DataFrame({"region": region, "label": label.gather(row)})
        .group_by("region", "label")
        .len("votes")
        .sort(["region", "votes", "label"], descending=[False, True, False])
    )
    best = votes.group_by("region", maintain_order=True).first()
    tied = votes.join(best, on=["region", "votes"]).group_by("region").len().filter(pl.col("len") > 1)
    if len(tied):
        report.note(f"regions with a tie of labels, decided for the alphabet's first: {len(tied)}")
    values = _by_region(np.array(best["label"].to_list(), object), best["region"].to_numpy(), len(context.regions))
    return Target(report.name, "classification", values, spec.unit)


def _by_region(labels: np.ndarray, region: np.ndarray, n_regions: int) -> np.ndarray:
    """object[N] with `labels` at their regions, None elsewhere."""
    values = np.full(n_regions, None, dtype=object)
    values[region] = labels
    return values


def _code(value: float) -> str:
    """Return a class code with all digits."""
    return str(int(value)) if value.is_integer() else repr(float(value))


def _report_classes(labels: np.ndarray, report: SourceReport) -> None:
    names, counts = np.unique(labels.astype(str), return_counts=True)
    report.notes += similar_names(names.tolist(), "classes")
    if len(names) == 1:
        report.note(f"every region is '{names[0]}': one class alone cannot be predicted")
    single = names[counts == 1]
    if len(single) and len(names) > 1:
        report.note(f"classes with one member, which no split can hold: {list_some(map(repr, single.tolist()))}")
    if len(names) > 50:
        report.note(f"{len(names)} classes: if it is a number, use `kind: regression`")
