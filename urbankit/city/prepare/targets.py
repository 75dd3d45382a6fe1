"""Targets: from a table, a raster or labelled points; missing is NaN or None, never a guess."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import polars as pl

from urbankit.city.city import Target
from urbankit.city.ids import RegionIds, id_text
from urbankit.city.io.raster import zonal
from urbankit.city.io.tables import MISSING, numbers
from urbankit.city.prepare.match_regions import read_by_region, region_of, spread
from urbankit.city.prepare.points import locate_named, read_points
from urbankit.city.prepare.quality import suspicious_values
from urbankit.city.report import SourceReport
from urbankit.city.spec import PointTarget, RasterTarget, TableTarget, TargetSpec
from urbankit.utils.errors import Problems
from urbankit.utils.paths import resolve_inside
from urbankit.utils.text import list_some


def build_target(
    name: str, spec: TargetSpec, regions: gpd.GeoDataFrame, data: Path, problems: Problems, report: SourceReport
) -> Target | None:
    """One target; None when `problems` says why (a target without any value among them)."""
    build, source_key = {
        TableTarget: (_from_table, "table"),
        RasterTarget: (_from_raster, "raster"),
        PointTarget: (_from_points, "points"),
    }[type(spec)]
    before = len(list(problems))
    target = build(name, spec, regions, data, problems, report)
    if target is None or len(list(problems)) > before:
        return None
    ids = regions.region_id.to_numpy()
    if target.kind == "regression":
        infinite = np.isinf(target.values)
        if infinite.any():
            target.values[infinite] = np.nan
            report.note(f"infinite, taken as missing, in {list_some(ids[infinite])}")
    present = target.present
    if not present.any():
        what = (
            "every value that is there is infinite" if target.kind == "regression" and infinite.any() else "all empty"
        )
        source = resolve_inside(data, getattr(spec, source_key))
        problems.add(f"has no value in any region: {what}; correct it or take it out", file=source, key=report.key)
        return None
    report.covers = ("target", name, int(present.sum()))
    if target.kind == "regression":
        for note in suspicious_values(target.values, ids):
            report.note(note)
    else:
        _report_classes(target.values[present], report)
    return target


def _from_table(
    name: str, spec: TableTarget, regions: gpd.GeoDataFrame, data: Path, problems: Problems, report: SourceReport
) -> Target | None:
    path = resolve_inside(data, spec.table)
    columns = {"region": spec.region, "column": spec.column}
    frame = read_by_region(path, columns, RegionIds(regions.region_id), problems, report)
    if frame is None:
        return None
    if spec.kind == "regression":
        found = numbers(frame, spec.column, path, problems, f"{report.key}.column")
        if found is None:
            if frame.schema[spec.column] == pl.String:
                problems.add("for classes, add `kind: classification`", key=report.key)
            return None
        return Target(name, spec.kind, spread(found, region_of(frame), len(regions)), spec.unit)
    values = np.full(len(regions), None, dtype=object)
    values[region_of(frame)] = _labels(frame[spec.column])
    return Target(name, spec.kind, values, spec.unit)


def _from_raster(
    name: str, spec: RasterTarget, regions: gpd.GeoDataFrame, data: Path, problems: Problems, report: SourceReport
) -> Target:
    path = resolve_inside(data, spec.raster)
    result = zonal(path, regions[["region_id", "geometry"]], spec.statistic, spec.band, problems, report.key)
    for note in result.notes:
        report.note(note)
    report.rows = len(regions)
    if spec.statistic != "majority":
        values = np.asarray(result.values, dtype=np.float64)
        report.matched = int(np.isfinite(values).sum())
        report.drop(report.rows - report.matched, "over no valid cell")
        return Target(name, "regression", values, spec.unit)
    numeric = np.asarray(result.values, dtype=np.float64)
    values = np.array([None if np.isnan(code) else f"{code:g}" for code in numeric], dtype=object)
    report.matched = int(np.isfinite(numeric).sum())
    report.drop(report.rows - report.matched, "over no valid cell")
    return Target(name, "classification", values, spec.unit)


def _from_points(
    name: str, spec: PointTarget, regions: gpd.GeoDataFrame, data: Path, problems: Problems, report: SourceReport
) -> Target | None:
    path = resolve_inside(data, spec.points)
    points = read_points(path, {"label": spec.label}, spec.lon, spec.lat, problems, report.key)
    if points is None:
        return None
    label = pl.Series(_labels(points.columns[spec.label]), dtype=pl.String)
    located = locate_named(points, label, "label", spec.label, path, regions, problems, report)
    if located is None:
        return None
    row, region = located
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
    values = np.full(len(regions), None, dtype=object)
    values[best["region"].to_numpy()] = best["label"].to_list()
    return Target(name, "classification", values, spec.unit)


def _labels(column: object) -> np.ndarray:
    """object[n]: labels as text (`4`, never `4.0`), None where a cell is empty or says NA."""
    text = column.to_frame("label").select(id_text("label", column.dtype)).to_series()  # type: ignore[attr-defined]
    text = text.set(text.str.to_lowercase().is_in(MISSING).fill_null(True), None)
    return np.array(text.to_list(), dtype=object)


def _report_classes(labels: np.ndarray, report: SourceReport) -> None:
    names, counts = np.unique(labels.astype(str), return_counts=True)
    if len(names) == 1:
        report.note(f"every region is '{names[0]}': there is nothing to tell apart")
    single = names[counts == 1]
    if len(single) and len(names) > 1:
        report.note(f"classes with one member, which no split can hold: {list_some(map(repr, single.tolist()))}")
    if len(names) > 50:
        report.note(f"{len(names)} classes: is it a number? then it is a regression")
