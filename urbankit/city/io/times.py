"""Times of trips as weekday and hour, local: which format a column of text has, and whether its hours are local."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl

from urbankit.city.io.columns import describe, is_missing, is_text
from urbankit.utils.errors import Problem, UserError

_CLOCK = r"[T ,]+(\d{1,2}):(\d{2})(?::\d{2}(?:[.,]\d+)?)?\s*([AaPp][Mm])?"
_ZONE = r"(Z|z|UTC|GMT|[+-]\d{2}:?\d{2}|[+-]\d{2})"
_YEAR_FIRST = rf"^(\d{{4}})[-/.](\d{{1,2}})[-/.](\d{{1,2}}){_CLOCK}\s*{_ZONE}?$"
_YEAR_LAST = rf"^(\d{{1,2}})[-/.](\d{{1,2}})[-/.](\d{{4}}){_CLOCK}\s*{_ZONE}?$"
_DATES = {
    "year first": (_YEAR_FIRST, "${1}-${2}-${3}"),
    "month first": (_YEAR_LAST, "${3}-${1}-${2}"),
    "day first": (_YEAR_LAST, "${3}-${2}-${1}"),
}


@dataclass
class HourOfWeek:
    """`weekday` (0 is Monday) and `hour` of a row, null where it has no readable time; `notes` for the report."""

    weekday: pl.Expr
    hour: pl.Expr
    notes: list[str] = field(default_factory=list)


def hour_of_week(table: pl.LazyFrame, column: str, zone: str | None, path: Path, key: str) -> HourOfWeek:
    """Read the local time of every row.

    Args:
        table: The rows.
        column: The column with times: of a type of times, or text such as `2024-05-31 17:05`, `05/31/2024 5:05 PM` and
            `2024-05-31T17:05:00-04:00`. Of two orders of day and month, the one that more rows fit counts.
        zone: The city's time zone, such as `America/New_York`, which times in UTC or with an offset are converted to.
        path: The file of the table, for messages.
        key: The key of its spec, for messages.

    Raises:
        UserError: If no row has a readable time, day and month cannot be told apart, or times are in UTC without a
            `zone`: their hours would not be local.
    """
    dtype, notes = table.collect_schema()[column], list[str]()
    if isinstance(dtype, pl.Datetime):
        time = _typed(column, dtype, zone, path, key)
    elif is_text(dtype):
        time, notes = _parsed(table, column, zone, path, key)
    else:
        examples = f"{describe(dtype)}: a trip needs a date and a time of day"
        raise UserError(Problem(_no_times(column, examples), path, key=f"{key}.time"))
    return HourOfWeek((time.dt.weekday() - 1).cast(pl.Int8), time.dt.hour(), notes)


def _no_times(column: str, examples: str) -> str:
    return f"'{column}' holds no times such as 2024-05-31 17:05:00, but {examples}"


def _not_local(column: str) -> str:
    return f"'{column}' is in UTC, but hours must be local; name the city's zone, such as `time_zone: America/New_York`"


def _typed(column: str, dtype: pl.Datetime, zone: str | None, path: Path, key: str) -> pl.Expr:
    if dtype.time_zone is None:
        return pl.col(column)
    if zone is None and dtype.time_zone.upper() in ("UTC", "ETC/UTC", "GMT", "ETC/GMT", "+00:00", "Z"):
        raise UserError(Problem(_not_local(column), path, key=f"{key}.time"))
    return pl.col(column) if zone is None else pl.col(column).dt.convert_time_zone(zone)


def _parsed(table: pl.LazyFrame, column: str, zone: str | None, path: Path, key: str) -> tuple[pl.Expr, list[str]]:
    """The times of a column of text, and sentences on rows without one. One pass over all rows chooses the format."""
    text = pl.col(column).cast(pl.String).str.strip_chars()
    present = ~is_missing(text)
    forms = {name: _local_time(text, *form) for name, form in _DATES.items()}
    offset = text.str.extract(rf"\d\s*(?:[AaPp][Mm])?\s*{_ZONE}$")
    in_utc = offset.str.to_uppercase().is_in(["Z", "UTC", "GMT", "+00", "+0000", "+00:00", "-00:00", "-0000"])
    # The day of a date without time, such as 2024-05-31, also matches an offset.
    offset = pl.when(forms["year first"].is_not_null() | forms["month first"].is_not_null()
                     | forms["day first"].is_not_null()).then(offset)  # fmt: skip
    counts = table.select(
        **{name: form.is_not_null().sum() for name, form in forms.items()},
        differ=(forms["month first"] != forms["day first"]).sum(),
        rows=pl.len(), present=present.sum(), offset=offset.is_not_null().sum(),
        in_utc=(in_utc & offset.is_not_null()).sum(),
    ).collect(engine="streaming").row(0, named=True)  # fmt: skip
    order = "day first" if counts["day first"] > counts["month first"] else "month first"
    time, readable = pl.coalesce(forms["year first"], forms[order]), counts["year first"] + counts[order]
    if not readable:
        sample = table.filter(present).select(text).head(3).collect().to_series()
        raise UserError(Problem(_no_times(column, ", ".join(map(repr, sample)) or "nothing"), path, key=f"{key}.time"))
    if counts["differ"] and counts["day first"] == counts["month first"]:
        message = (
            f"every time in '{column}' can be read with the day or the month first; write them as 2024-05-31 17:05"
        )
        raise UserError(Problem(message, path, key=f"{key}.time"))
    if zone is None and counts["in_utc"] and counts["in_utc"] == counts["offset"]:
        raise UserError(Problem(_not_local(column), path, key=f"{key}.time"))
    if zone is not None and counts["offset"]:
        time = pl.when(offset.is_null()).then(time).otherwise(_converted(time, offset, in_utc, zone))
    return time, _notes(table, text, present, time, counts, readable)


def _local_time(text: pl.Expr, pattern: str, date: str) -> pl.Expr:
    """The time as it is written, without its offset; null where the text has another form or no such date exists."""
    plain = pl.when(text.str.contains(pattern)).then(text)
    twelve_hours = plain.str.contains(r"[AaPp][Mm]")
    return pl.coalesce(
        pl.when(twelve_hours)
        .then(plain.str.replace(pattern, f"{date} ${{4}}:${{5}} ${{6}}").str.to_uppercase())
        .str.to_datetime("%Y-%m-%d %I:%M %p", strict=False, time_unit="us"),
        pl.when(~twelve_hours)
        .then(plain.str.replace(pattern, f"{date} ${{4}}:${{5}}"))
        .str.to_datetime("%Y-%m-%d %H:%M", strict=False, time_unit="us"),
    )


def _converted(time: pl.Expr, offset: pl.Expr, in_utc: pl.Expr, zone: str) -> pl.Expr:
    """Times with an offset such as `-04:00` in another zone, without zone."""
    digits = offset.str.replace(":", "")
    minutes = digits.str.slice(1, 2).cast(pl.Int64, strict=False) * 60 + digits.str.slice(3, 2).cast(
        pl.Int64, strict=False
    ).fill_null(0)
    east = pl.when(in_utc).then(0).otherwise(pl.when(offset.str.starts_with("-")).then(-minutes).otherwise(minutes))
    utc = (time - pl.duration(minutes=east)).dt.replace_time_zone("UTC")
    return utc.dt.convert_time_zone(str(ZoneInfo(zone))).dt.replace_time_zone(None)


def _notes(
    table: pl.LazyFrame, text: pl.Expr, present: pl.Expr, time: pl.Expr, counts: dict[str, int], readable: int
) -> list[str]:
    notes = []
    unreadable = counts["present"] - readable
    if unreadable:
        rows = table.select(text=text, wrong=present & time.is_null()).with_row_index("row", offset=1).filter("wrong")
        first = ", ".join(f"row {row} {value!r}" for row, value, _ in rows.head(3).collect().iter_rows())
        notes.append(f"times that cannot be read: {unreadable:,}, such as {first}; these trips count in flows alone")
    if counts["rows"] > counts["present"]:
        notes.append(f"trips without a time, which count in flows alone: {counts['rows'] - counts['present']:,}")
    return notes
