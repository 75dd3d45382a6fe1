"""Flows between regions, summed by pair, and by hour of the week where trips have a time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import polars as pl

from urbankit.city.ids import RegionIds
from urbankit.city.io.tables import MISSING, explain_unreadable, number, scan
from urbankit.city.prepare.match_regions import explain_no_match, report_unmatched
from urbankit.city.prepare.points import PointIndex
from urbankit.city.prepare.points import explain_no_match as explain_no_point
from urbankit.city.prepare.quality import outliers
from urbankit.city.report import SourceReport
from urbankit.city.spec import FlowsByRegion, FlowSpec
from urbankit.utils.errors import Problems
from urbankit.utils.paths import resolve_inside
from urbankit.utils.text import format_number

CHUNK = 2_000_000
TIME_FORMATS = (
    "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d %H:%M", "%m/%d/%Y %I:%M:%S %p", "%m/%d/%Y %H:%M",
)  # fmt: skip


@dataclass
class Flows:
    """`pairs`: origin, destination (int64), weight, each pair once and sorted. `times`: with weekday and hour, or None.

    Weekdays count from 0, Monday; hours from 0 to 23.
    """

    pairs: pl.DataFrame
    times: pl.DataFrame | None


def build_flows(
    spec: FlowSpec, regions: gpd.GeoDataFrame, data: Path, problems: Problems, report: SourceReport
) -> Flows | None:
    """Flows summed by pair of regions; None when `problems` says why. Rows are streamed, never all in memory."""
    path = resolve_inside(data, spec.file)
    wanted = {name: column for name, column in spec.model_dump(exclude={"file"}).items() if column is not None}
    table = scan(path, wanted, problems, "flows")
    if table is None:
        return None
    try:
        table = _with_weight_and_time(table, spec, path, problems)
        if table is None:
            return None
        if isinstance(spec, FlowsByRegion):
            groups = _by_region(table, spec, regions, path, problems, report)
        else:
            groups = _by_point(table, spec, regions, path, problems, report)
    except (pl.exceptions.PolarsError, OSError) as error:
        problems.add(explain_unreadable(error, path), file=path, key="flows")
        return None
    if groups is None:
        return None
    pairs = _total(groups, ["origin", "destination"])
    touched = np.union1d(pairs["origin"].to_numpy(), pairs["destination"].to_numpy())
    report.covers = ("flows", "flows", len(touched))
    _report_extremes(pairs, regions.region_id.to_numpy(), report)
    hours = ["origin", "destination", "weekday", "hour"]
    return Flows(pairs, _total(groups.drop_nulls(["weekday", "hour"]), hours) if spec.time else None)


def _with_weight_and_time(table: pl.LazyFrame, spec: FlowSpec, path: Path, problems: Problems) -> pl.LazyFrame | None:
    """Columns `__weight` (float64, null missing), and `__weekday`, `__hour`. Bad weights and times are problems."""
    schema = table.collect_schema()
    weight = pl.lit(1.0) if spec.weight is None else number(spec.weight, schema[spec.weight])
    weight = pl.when(weight.is_nan()).then(None).otherwise(weight)
    columns = {"__weight": weight}
    if spec.weight is not None:
        text = pl.col(spec.weight).cast(pl.String).str.strip_chars()
        unread = weight.is_null() & text.is_not_null() & ~text.str.to_lowercase().is_in(MISSING)
        wrong = unread | (weight < 0) | weight.is_infinite()
        rows = table.select(text=text, wrong=wrong).with_row_index("row", offset=1).filter("wrong")
        count = rows.select(pl.len()).collect(engine="streaming").item()
        if count:
            first = ", ".join(f"row {row} {text!r}" for row, text, _ in rows.head(3).collect().iter_rows())
            problems.add(
                f"negative, infinite or no number: {first} ({count} in all); a flow is 0 or more",
                file=path,
                key="flows.weight",
            )
            return None
    if spec.time is not None:
        when = _time(table, spec.time, schema[spec.time], path, problems)
        if when is None:
            return None
        columns |= {"__weekday": (when.dt.weekday() - 1).cast(pl.Int8), "__hour": when.dt.hour()}
    else:
        columns |= {"__weekday": pl.lit(None, pl.Int8), "__hour": pl.lit(None, pl.Int8)}
    return table.with_columns(**columns)


def _time(table: pl.LazyFrame, column: str, dtype: pl.DataType, path: Path, problems: Problems) -> pl.Expr | None:
    """The time of a row; text is read in the one format that fits the first rows, a misfit is null."""
    if dtype.is_temporal() and dtype != pl.Date:
        return pl.col(column)
    sample = table.select(pl.col(column).cast(pl.String)).drop_nulls().head(1000).collect().to_series()
    for form in TIME_FORMATS:
        if dtype == pl.String and len(sample) and sample.str.to_datetime(form, strict=False).null_count() == 0:
            return pl.col(column).str.to_datetime(form, strict=False)
    some = ", ".join(repr(text) for text in sample.head(3))
    problems.add(f"'{column}' holds no times such as 2024-05-31 17:05:00, but {some}", file=path, key="flows.time")
    return None


def _by_region(
    table: pl.LazyFrame,
    spec: FlowsByRegion,
    regions: gpd.GeoDataFrame,
    path: Path,
    problems: Problems,
    report: SourceReport,
) -> pl.DataFrame | None:
    ids, schema = RegionIds(regions.region_id), table.collect_schema()
    ends = [("origin", spec.origin), ("destination", spec.destination)]
    table = table.with_columns(**{f"__{end}": ids.index(column, schema[column]) for end, column in ends})
    groups = _group(table).collect(engine="streaming")
    known = (pl.col("origin") >= 0) & (pl.col("destination") >= 0)
    strangers = groups.filter(~known)["rows"].sum()
    if strangers:
        names = [
            table.filter(pl.col(f"__{end}") < 0).select(ids.text(column, schema[column]).alias("id")).unique()
            for end, column in ends
        ]
        unmatched = pl.concat(names).unique().collect(engine="streaming")["id"]
        report_unmatched(unmatched, report)
        report.dropped.clear()
        if strangers == groups["rows"].sum():
            problems.add(explain_no_match(unmatched.sort(), ids, spec.origin), file=path, key="flows")
            return None
    return _matched(groups, known, "from or to an id that no region has", path, problems, report)


def _by_point(
    table: pl.LazyFrame, spec: FlowSpec, regions: gpd.GeoDataFrame, path: Path, problems: Problems, report: SourceReport
) -> pl.DataFrame | None:
    """A trip starts and ends in one region each: the first in order, where a point lies in several."""
    index, schema, parts, sample = PointIndex(regions), table.collect_schema(), [], None
    ends = ("origin", "destination")
    coordinates = {
        f"{end}_{axis}": number(column, schema[column])
        for end in ends
        for axis, column in [("lon", getattr(spec, f"{end}_lon")), ("lat", getattr(spec, f"{end}_lat"))]
    }
    table = table.select("__weight", "__weekday", "__hour", **coordinates)
    for chunk in table.collect_batches(chunk_size=CHUNK, maintain_order=True):
        found = {}
        for end in ends:
            lon, lat = (chunk[f"{end}_{axis}"].cast(pl.Float64).fill_null(np.nan).to_numpy() for axis in ("lon", "lat"))
            sample = sample or (lon, lat)
            found[f"__{end}"] = index.first(lon, lat)
        parts.append(_group(chunk.with_columns(**found).lazy()).collect())
    groups = pl.concat(parts)
    known = (pl.col("origin") >= 0) & (pl.col("destination") >= 0)
    if not len(groups.filter(known)):
        one_end = len(groups.filter((pl.col("origin") >= 0) | (pl.col("destination") >= 0)))
        why = "no trip both starts and ends in a region" if one_end else explain_no_point(index, *sample)
        problems.add(why, file=path, key="flows")
        return None
    return _matched(groups, known, "that start or end outside every region", path, problems, report)


def _group(table: pl.LazyFrame) -> pl.LazyFrame:
    by = {name: pl.col(f"__{name}") for name in ("origin", "destination", "weekday", "hour")}
    return table.group_by(**by).agg(
        weight=pl.col("__weight").sum(), rows=pl.len(), missing=pl.col("__weight").null_count()
    )


def _matched(
    groups: pl.DataFrame, known: pl.Expr, why: str, path: Path, problems: Problems, report: SourceReport
) -> pl.DataFrame | None:
    kept = groups.filter(known)
    report.rows = int(groups["rows"].sum())
    report.drop(report.rows - int(kept["rows"].sum()), why)
    report.drop(int(kept["missing"].sum()), "without a weight")
    report.matched = int(kept["rows"].sum() - kept["missing"].sum())
    if not report.matched:
        problems.add("no flow between regions has a weight", file=path, key="flows.weight")
        return None
    return kept


def _total(groups: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    return groups.group_by(by).agg(pl.col("weight").sum()).filter(pl.col("weight") > 0).sort(by)


def _report_extremes(pairs: pl.DataFrame, names: np.ndarray, report: SourceReport) -> None:
    for flows, what in [
        (pairs.filter(pl.col("origin") == pl.col("destination")), "self flow"),
        (pairs.filter(pl.col("origin") != pl.col("destination")), "flow"),
    ]:
        weight = flows["weight"].to_numpy()
        found = outliers(weight)
        if found is None:
            continue
        who, rest = found
        for i in who[:3]:
            start, end = names[flows["origin"][int(i)]], names[flows["destination"][int(i)]]
            between = f"of region {start}" if start == end else f"from {start} to {end}"
            report.note(
                f"the {what} {between} is {format_number(weight[i])}, against {format_number(rest)} for the next"
            )
    if not len(pairs):
        report.note("every flow is zero")
