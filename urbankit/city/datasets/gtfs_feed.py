"""The tables of a GTFS feed, and the service of one day."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from urbankit.utils.content import explain_content
from urbankit.utils.errors import Problem, UserError
from urbankit.utils.text import first_line

LARGEST = 4 << 30
"""The most bytes that the files of a feed unpack to."""

LONGEST = timedelta(days=1500)
"""The longest calendar whose busiest day is looked for."""

MOST_RUNS = 5_000_000
"""The most runs of trips that frequencies.txt may describe."""

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

COLUMNS = {
    "stops": ("stop_id", "stop_lat", "stop_lon"),
    "trips": ("trip_id", "route_id", "service_id"),
    "stop_times": ("trip_id", "stop_id", "stop_sequence", "departure_time", "arrival_time"),
    "calendar": ("service_id", *WEEKDAYS, "start_date", "end_date"),
    "calendar_dates": ("service_id", "date", "exception_type"),
    "frequencies": ("trip_id", "start_time", "end_time", "headway_secs"),
}
"""The columns of each table that are read."""


@dataclass(frozen=True)
class Feed:
    """The tables of a feed, all columns as text; `calendar`, `calendar_dates` or `frequencies` may be empty."""

    path: Path
    stops: pl.DataFrame
    trips: pl.DataFrame
    stop_times: pl.DataFrame
    calendar: pl.DataFrame
    calendar_dates: pl.DataFrame
    frequencies: pl.DataFrame


def read_feed(path: Path) -> Feed:
    """Return the tables of a GTFS feed. Raises `UserError` for tables and columns that are missing or damaged."""
    with _archive(path) as archive:
        members = {Path(info.filename).stem: info for info in archive.infolist() if info.filename.endswith(".txt")}
        absent = [f"{name}.txt" for name in ("stops", "trips", "stop_times") if name not in members]
        if not {"calendar", "calendar_dates"} & set(members):
            absent.append("calendar.txt or calendar_dates.txt")
        if absent:
            message = f"lacks {', '.join(absent)}; a GTFS feed has them, so fetch the whole feed"
            raise UserError(Problem(message, path))
        size = sum(members[name].file_size for name in COLUMNS if name in members)
        if size > LARGEST:
            raise UserError(Problem(f"unpacks to {size >> 20:,} MB, more than {LARGEST >> 20:,} MB", path))
        tables = {name: _table(archive, members.get(name), name, path) for name in COLUMNS}
    return Feed(path, **tables)


@contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:
        message = f"is not a readable ZIP archive ({error}){explain_content(path)}; fetch it again"
        raise UserError(Problem(message, path)) from None


def _table(archive: zipfile.ZipFile, member: zipfile.ZipInfo | None, name: str, path: Path) -> pl.DataFrame:
    columns = COLUMNS[name]
    if member is None:
        return pl.DataFrame(schema=dict.fromkeys(columns, pl.String))
    # ZipFile reads no more bytes than `file_size`, whatever the archive unpacks to.
    content = archive.read(member)
    try:
        table = pl.read_csv(io.BytesIO(content), infer_schema=False, truncate_ragged_lines=True)
        table.columns = [column.strip().lstrip("\ufeff") for column in table.columns]
    except pl.exceptions.PolarsError as error:
        raise UserError(Problem(f"{member.filename} cannot be read: {first_line(error)}", path)) from None
    required = [column for column in columns if column not in ("arrival_time",)]
    if absent := [column for column in required if column not in table.columns]:
        raise UserError(Problem(f"{member.filename} has no column {', '.join(absent)}", path))
    if "arrival_time" in columns and "arrival_time" not in table.columns:
        table = table.with_columns(arrival_time=pl.lit(None, pl.String))
    return table.select(pl.col(column).str.strip_chars().replace("", None) for column in columns)


def seconds(column: str) -> pl.Expr:
    """Return times such as `25:10:00`, an hour after midnight of the next day, as seconds; null where unreadable."""
    parts = pl.col(column).str.extract_groups(r"^(\d{1,3}):(\d{1,2}):(\d{1,2})$")
    hours, minutes, rest = (parts.struct.field(str(group)).cast(pl.Int64, strict=False) for group in (1, 2, 3))
    return hours * 3600 + minutes * 60 + rest


def service_day(feed: Feed, day: str | None) -> tuple[date, pl.Series]:
    """Return a day, and the ids of the services that run on it.

    Args:
        feed: The feed.
        day: The day, such as `2024-05-15`; None for the one with the most trips, the first if several have as many.

    Raises:
        UserError: If no trip runs on that day, or the dates of the feed are unreadable.
    """
    services = feed.trips["service_id"].drop_nulls().value_counts().sort("service_id")
    rules, exceptions = _rules(feed), _exceptions(feed)
    dates = [value for frame in (rules.select("start", "end"), exceptions.select("day")) for value in _all(frame)]
    if not dates:
        raise UserError(Problem("its calendar has no readable date, such as 20240515", feed.path))
    first, last = min(dates), max(dates)
    days = [date.fromisoformat(day)] if day else [first + timedelta(i) for i in range(_length(first, last))]
    active = _active(services["service_id"], rules, exceptions, days)
    trips = services["count"].to_numpy() @ active
    best = int(trips.argmax())
    if not trips[best]:
        reason = f"no trip runs on {day}" if day else "no trip runs on any day of its calendar"
        raise UserError(Problem(f"{reason}; it covers {first} to {last}", feed.path))
    return days[best], services["service_id"].filter(pl.Series(active[:, best] > 0))


def _length(first: date, last: date) -> int:
    return min(last - first, LONGEST).days + 1


def _all(frame: pl.DataFrame) -> list[date]:
    return [value for column in frame.columns for value in frame[column].drop_nulls().to_list()]


def _date(column: str) -> pl.Expr:
    return pl.col(column).str.to_date("%Y%m%d", strict=False)


def _rules(feed: Feed) -> pl.DataFrame:
    return feed.calendar.select(
        "service_id", *[(pl.col(name) == "1").alias(name) for name in WEEKDAYS], start=_date("start_date"),
        end=_date("end_date"),
    ).drop_nulls()  # fmt: skip


def _exceptions(feed: Feed) -> pl.DataFrame:
    return feed.calendar_dates.select(
        "service_id", day=_date("date"), added=pl.col("exception_type") == "1"
    ).drop_nulls()


def _active(services: pl.Series, rules: pl.DataFrame, exceptions: pl.DataFrame, days: Sequence[date]) -> np.ndarray:
    """Return whether each of the services runs on each of the days, int64[services, days]."""
    row = {name: i for i, name in enumerate(services.to_list())}
    day = np.array(days, dtype="datetime64[D]")
    weekday = np.array([one.weekday() for one in days])
    active = np.zeros((len(services), len(days)), np.int64)
    known = rules.filter(pl.col("service_id").is_in(services.to_list()))
    runs = known.select(WEEKDAYS).to_numpy()[:, weekday]
    start, end = (known[name].to_numpy().astype("datetime64[D]")[:, None] for name in ("start", "end"))
    runs = runs & (day >= start) & (day <= end)
    np.maximum.at(active, [row[name] for name in known["service_id"]], runs.astype(np.int64))
    listed = exceptions.filter(pl.col("service_id").is_in(services.to_list()) & pl.col("day").is_in(list(days)))
    column = np.searchsorted(day, listed["day"].to_numpy().astype("datetime64[D]"))
    active[[row[name] for name in listed["service_id"]], column] = listed["added"].to_numpy().astype(np.int64)
    return active


def runs_of(feed: Feed, services: pl.Series) -> tuple[pl.DataFrame, dict[str, int]]:
    """Return the calls of all runs of the trips of some services, and numbers of dropped rows by reason.

    Columns: `run`, `route_id`, `stop_id`, `sequence`, `time` (seconds after midnight of the service day) and `departs`
    (not the last call of the run), by run and sequence. Times between two known ones are interpolated. A trip of
    frequencies.txt has one run for each headway.
    """
    trips = feed.trips.filter(pl.col("service_id").is_in(services.to_list())).unique("trip_id", maintain_order=True)
    calls = feed.stop_times.join(trips.select("trip_id", "route_id"), on="trip_id").select(
        "trip_id",
        "route_id",
        "stop_id",
        sequence=pl.col("stop_sequence").cast(pl.Int64, strict=False),
        time=pl.coalesce(seconds("departure_time"), seconds("arrival_time")),
    )
    placed = calls.drop_nulls(["stop_id", "sequence"]).sort("trip_id", "sequence")
    timed = placed.with_columns(pl.col("time").interpolate().over("trip_id")).drop_nulls("time")
    dropped = {"without a stop, sequence or time": len(calls) - len(timed)} if len(calls) > len(timed) else {}
    repeated = feed.frequencies.select(
        "trip_id", start=seconds("start_time"), end=seconds("end_time"),
        headway=pl.col("headway_secs").cast(pl.Int64, strict=False),
    ).drop_nulls().filter(pl.col("headway") > 0)  # fmt: skip
    if ((repeated["end"] - repeated["start"]) / repeated["headway"]).sum() > MOST_RUNS:
        raise UserError(
            Problem(f"frequencies.txt describes more than {MOST_RUNS:,} runs; check headway_secs", feed.path)
        )
    starts = repeated.with_columns(start=pl.int_ranges("start", "end", "headway")).explode("start").drop_nulls()
    by_headway = timed.join(starts.select("trip_id", "start").with_row_index("number"), on="trip_id").with_columns(
        time=pl.col("time") - pl.col("time").min().over("trip_id", "number") + pl.col("start"),
        run=pl.format("{} {}", "trip_id", "number"),
    )
    once = timed.join(starts.select("trip_id").unique(), on="trip_id", how="anti").with_columns(run="trip_id")
    names = ["run", "route_id", "stop_id", "sequence", "time"]
    runs = pl.concat([once.select(names), by_headway.select(names)], how="vertical_relaxed")
    departs = pl.col("sequence") < pl.col("sequence").max().over("run")
    return runs.sort("run", "sequence").with_columns(departs=departs), dropped
