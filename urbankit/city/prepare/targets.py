"""Targets: from a table, a raster or labelled points; a region without a value has NaN or None."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from urbankit.city.io.columns import is_text, numbers, texts
from urbankit.city.io.raster import zonal
from urbankit.city.prepare.context import Built, Context
from urbankit.city.prepare.match_regions import read_by_region, region_of, rows_by_region
from urbankit.city.prepare.points import locate_labelled, read_points
from urbankit.city.prepare.quality import similar_names, suspicious_values
from urbankit.city.report import SourceReport
from urbankit.city.spec import PointTarget, RasterTarget, TableTarget, TargetSource
from urbankit.city.target import Target
from urbankit.utils.errors import Problem, UserError
from urbankit.utils.text import list_some


def build_target(spec: TargetSource, context: Context, report: SourceReport) -> Built:
    """`targets/NAME.parquet`: region_id, value; null where missing. Raises `UserError` for a target without values."""
    if isinstance(spec, TableTarget):
        target, file = _from_table(spec, context, report), spec.table
    elif isinstance(spec, RasterTarget):
        target, file = _from_raster(spec, context, report), spec.raster
    else:
        target, file = _from_points(spec, context, report), spec.points
    built = built_target(target, context.path(file), context, report)
    present = set(target.values[target.present].tolist()) if spec.classes else set()
    if unknown := [name for name in spec.classes if name not in present]:
        report.note(f"`classes` that no region has: {list_some(map(repr, unknown))}")
    return built


def built_target(target: Target, path: Path, context: Context, report: SourceReport) -> Built:
    """The layer of a target, read from the file `path`. Raises `UserError` for a target without values."""
    ids = context.regions["region_id"].to_numpy()
    regression = target.kind == "regression"
    infinite = np.isinf(target.values) if regression else np.zeros(len(ids), bool)
    if infinite.any():
        target.values[infinite] = np.nan
        report.note(f"infinite, taken as missing, in {list_some(ids[infinite])}")
    present = target.present
    if not present.any():
        reason = "every value is infinite" if infinite.any() else "all empty"
        message = f"has no value in any region: {reason}; correct it or remove it"
        raise UserError(Problem(message, path, key=report.key))
    report.covers = ("target", report.name, int(present.sum()))
    if regression:
        report.notes += suspicious_values(target.values, ids)
        value = pl.Series("value", target.values).fill_nan(None)
    else:
        _report_classes(target.values[present], report)
        value = pl.Series("value", target.values.tolist(), dtype=pl.String)
    table = pl.DataFrame({"region_id": ids.tolist(), "value": value})
    return Built({f"targets/{report.name}.parquet": table}, {"kind": target.kind, "unit": target.unit})


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
