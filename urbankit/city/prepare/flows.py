"""Flows between regions, summed by pair, and by hour of the week if trips have a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from urbankit.city.ids import MISSING
from urbankit.city.io.columns import check_numbers, check_text, number
from urbankit.city.io.tables import check_rows, readable, scan
from urbankit.city.io.times import hour_of_week
from urbankit.city.points import usable
from urbankit.city.prepare.context import Built, Context
from urbankit.city.prepare.match_regions import explain_no_match, report_unmatched
from urbankit.city.prepare.quality import outliers
from urbankit.city.report import SourceReport
from urbankit.city.spec import FlowsByPoint, FlowsByRegion, FlowSpec
from urbankit.city.spec_base import Described
from urbankit.utils.errors import Problem, Problems, UserError
from urbankit.utils.text import format_number

CHUNK = 2_000_000
PAIR = ["origin", "destination"]
HOUR = [*PAIR, "weekday", "hour"]
OUTSIDE, UNPLACED = -1, -2
"""The region of a point outside every region, and of a row without usable coordinates."""

BETWEEN_REGIONS = (pl.col("origin") >= 0) & (pl.col("destination") >= 0)


def build_flows(spec: FlowSpec, context: Context, report: SourceReport) -> Built:
    """`flows.parquet`: origin, destination (int64) and weight, each pair once and sorted.

    With times also `flow_times.parquet`: the same by weekday (0 is Monday) and hour. Rows are streamed, so that the
    file need not fit into memory.
    """
    path = context.path(spec.file)
    columns = _columns(spec)
    table = scan(path, columns, "flows")
    with readable(path, "flows"):
        _check_types(table.collect_schema(), spec, path)
        table = _with_weight_and_time(table, spec, path, report)
        if isinstance(spec, FlowsByRegion):
            groups = _by_region(table, spec, context, report)
        else:
            groups = _by_point(table, spec, context, report)
    check_rows(path, report.rows, "flows")
    return built_flows(groups, spec.time is not None, context, report)


def built_flows(groups: pl.DataFrame, timed: bool, context: Context, report: SourceReport) -> Built:
    """The layer of flows with `origin`, `destination` and `weight`, and if `timed` with `weekday` and `hour`."""
    pairs = _total(groups, PAIR)
    report.covers = ("flows", "flows", len(np.union1d(pairs["origin"].to_numpy(), pairs["destination"].to_numpy())))
    _report_extremes(pairs, context.ids.ids, report)
    tables = {"flows.parquet": pairs}
    if timed:
        tables["flow_times.parquet"] = _total(groups.drop_nulls(["weekday", "hour"]), HOUR)
    return Built({**tables})


def _columns(spec: FlowSpec) -> dict[str, str]:
    """The columns that a spec names, by its keys."""
    values = spec.model_dump(exclude={"file", "time_zone", *Described.model_fields})
    return {key: column for key, column in values.items() if column is not None}


def _check_types(schema: pl.Schema, spec: FlowSpec, path: Path) -> None:
    """Raise `UserError` with every column whose type holds no ids or no numbers."""
    problems = Problems()
    for key, column in _columns(spec).items():
        check = check_text if key in PAIR else check_numbers
        if key != "time":
            with problems.collect():
                check(column, schema[column], path, f"flows.{key}")
    problems.raise_if_any()


def _with_weight_and_time(table: pl.LazyFrame, spec: FlowSpec, path: Path, report: SourceReport) -> pl.LazyFrame:
    """Columns `__weight` (float64, null missing), `__weekday` and `__hour`. Raises `UserError` for invalid values."""
    schema = table.collect_schema()
    weight = pl.lit(1.0) if spec.weight is None else number(spec.weight, schema[spec.weight])
    weight = pl.when(weight.is_nan()).then(None).otherwise(weight)
    if spec.weight is not None:
        text = pl.col(spec.weight).cast(pl.String, strict=False).str.strip_chars()
        unparsed = weight.is_null() & text.is_not_null() & ~text.str.to_lowercase().is_in(MISSING)
        invalid = unparsed | (weight < 0) | weight.is_infinite()
        rows = table.select(text=text, invalid=invalid).with_row_index("row", offset=1).filter("invalid")
        count = rows.select(pl.len()).collect(engine="streaming").item()
        if count:
            first = ", ".join(f"row {row} {text!r}" for row, text, _ in rows.head(3).collect().iter_rows())
            message = f"negative, infinite or no number: {first} ({count} in all); a flow is 0 or more"
            raise UserError(Problem(message, path, key="flows.weight"))
    weekday, hour = pl.lit(None, pl.Int8), pl.lit(None, pl.Int8)
    if spec.time is not None:
        time = hour_of_week(table, spec.time, spec.time_zone, path, "flows")
        weekday, hour = time.weekday, time.hour
        report.notes += time.notes
    return table.with_columns(__weight=weight, __weekday=weekday, __hour=hour)


def _by_region(table: pl.LazyFrame, spec: FlowsByRegion, context: Context, report: SourceReport) -> pl.DataFrame:
    ids, schema = context.ids, table.collect_schema()
    columns = {"__origin": spec.origin, "__destination": spec.destination}
    table = table.with_columns(**{end: ids.index(column, schema[column]) for end, column in columns.items()})
    groups = _group(table).collect(engine="streaming")
    if len(groups.filter(~BETWEEN_REGIONS)):
        names = [
            table.filter(pl.col(end) < 0).select(ids.text(column, schema[column]).alias("id")).unique()
            for end, column in columns.items()
        ]
        unmatched = pl.concat(names).unique().collect(engine="streaming")["id"]
        report_unmatched(unmatched, report)
        report.dropped.clear()  # these are ids; rows are counted by `_matched`
        if not len(groups.filter(BETWEEN_REGIONS)):
            message = explain_no_match(unmatched.sort(), ids, spec.origin)
            raise UserError(Problem(message, context.path(spec.file), key="flows"))
    return _matched(groups, "from or to an id that no region has", context.path(spec.file), report)


def _by_point(table: pl.LazyFrame, spec: FlowsByPoint, context: Context, report: SourceReport) -> pl.DataFrame:
    """A trip starts and ends in one region each: the first in order, if a point lies in several."""
    index, schema, groups, sample = context.point_index, table.collect_schema(), [], None
    columns = spec.model_dump(include={f"{end}_{axis}" for end in PAIR for axis in ("lon", "lat")})
    coordinates = {name: number(column, schema[column]) for name, column in columns.items()}
    table = table.select("__weight", "__weekday", "__hour", **coordinates)
    for chunk in table.collect_batches(chunk_size=CHUNK, maintain_order=True):
        regions = {}
        for end in PAIR:
            x, y = (chunk[f"{end}_{axis}"].cast(pl.Float64).fill_null(np.nan).to_numpy() for axis in ("lon", "lat"))
            lon, lat = usable(x, y)
            sample = sample or (lon, lat)
            regions[f"__{end}"] = np.where(np.isnan(lon), UNPLACED, index.first(lon, lat))
        groups.append(_group(chunk.with_columns(**regions).lazy()).collect())
    flows, path = pl.concat(groups), context.path(spec.file)
    if sample is not None and not len(flows.filter(BETWEEN_REGIONS)):
        one_end = len(flows.filter((pl.col("origin") >= 0) | (pl.col("destination") >= 0)))
        message = "no trip both starts and ends in a region" if one_end else index.explain_no_match(*sample)
        raise UserError(Problem(message, path, key="flows"))
    return _matched(flows, "that start or end outside every region", path, report)


def _group(table: pl.LazyFrame) -> pl.LazyFrame:
    return table.group_by([pl.col(f"__{name}").alias(name) for name in HOUR]).agg(
        weight=pl.col("__weight").sum(), rows=pl.len(), missing=pl.col("__weight").null_count()
    )


def _matched(groups: pl.DataFrame, reason: str, path: Path, report: SourceReport) -> pl.DataFrame:
    """The groups between regions, with the numbers of rows in `report`; `reason` says why others are dropped."""
    matched = groups.filter(BETWEEN_REGIONS)
    report.rows, rows, missing = (int(column.sum()) for column in (groups["rows"], matched["rows"], matched["missing"]))
    unplaced = int(groups.filter(pl.any_horizontal(pl.col(PAIR) == UNPLACED))["rows"].sum())
    report.drop(unplaced, "without a usable lon and lat at both ends")
    report.drop(report.rows - rows - unplaced, reason)
    report.drop(missing, "without a weight")
    report.matched = rows - missing
    if not report.matched:
        raise UserError(Problem("no flow between regions has a weight", path, key="flows.weight"))
    return matched


def _total(groups: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    return groups.group_by(by).agg(pl.col("weight").sum()).filter(pl.col("weight") > 0).sort(by)


def _report_extremes(pairs: pl.DataFrame, ids: list[str], report: SourceReport) -> None:
    within = pl.col("origin") == pl.col("destination")
    for flows, kind in [(pairs.filter(within), "self flow"), (pairs.filter(~within), "flow")]:
        weight = flows["weight"].to_numpy()
        extremes = outliers(weight)
        if extremes is None:
            continue
        rows, rest = extremes
        for row in rows[:3]:
            start, end = ids[flows["origin"][int(row)]], ids[flows["destination"][int(row)]]
            between = f"of region {start}" if start == end else f"from {start} to {end}"
            value = format_number(weight[row])
            report.note(f"the {kind} {between} is {value}, against {format_number(rest)} for the next")
    if not len(pairs):
        report.note("every flow is zero")
