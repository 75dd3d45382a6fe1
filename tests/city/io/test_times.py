"""Times of trips: every common way to write them, the order of day and month, and local hours."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from urbankit.city.io.times import hour_of_week
from urbankit.utils.errors import UserError


def read_times(times: list, zone: str | None = None) -> tuple[list, list[str]]:
    table = pl.LazyFrame({"t": times})
    time = hour_of_week(table, "t", zone, Path("f.csv"), "flows")
    return table.select(time.weekday.alias("weekday"), time.hour.alias("hour")).collect().rows(), time.notes


@pytest.mark.parametrize(
    "text",
    [
        "2024-05-31 17:05:00", "2024-05-31T17:05", "2024-05-31T17:05:09.123456", "2024/05/31 17:05:00",
        "05/31/2024 05:05:00 PM", "5/31/2024 5:05 pm", "31/05/2024 17:05", "31.05.2024 17:05:00", "31-05-2024, 17:05",
        "2024-05-31T17:05:00-04:00", "2024-05-31 17:05:00+0530",
    ],
)  # fmt: skip
def test_common_time_formats_are_read(text: str) -> None:
    assert read_times([text]) == ([(4, 17)], [])


def test_order_of_day_and_month_is_determined_by_all_rows() -> None:
    early = ["05/04/2024 10:00"] * 1500
    assert read_times([*early, "13/04/2024 10:00"])[0][0] == (4, 10)  # Friday 5 April
    assert read_times([*early, "04/13/2024 10:00"])[0][0] == (5, 10)  # Saturday 4 May
    with pytest.raises(UserError, match="with the day or the month first"):
        read_times(early)


def test_unreadable_and_missing_times_are_reported() -> None:
    rows, notes = read_times(["2024-05-31 17:05", "soon", None, "N/A", "2024-02-30 10:00"])
    assert rows == [(4, 17), (None, None), (None, None), (None, None), (None, None)]
    assert notes == [
        "times that cannot be read: 2, such as row 2 'soon', row 5 '2024-02-30 10:00'; these trips count in flows "
        "alone",
        "trips without a time, which count in flows alone: 2",
    ]


@pytest.mark.parametrize("text", ["2024-05-31T21:05:00Z", "2024-05-31T21:05:00+00:00", "2024-05-31 21:05:00 UTC"])
def test_times_in_utc_require_a_time_zone(text: str) -> None:
    with pytest.raises(UserError, match=r"is in UTC, but hours must be local; .*`time_zone: America/New_York`"):
        read_times([text])
    assert read_times([text], "America/New_York")[0] == [(4, 17)]
    typed = pl.Series([text[:19].replace("T", " ")]).str.to_datetime().dt.replace_time_zone("UTC").to_list()
    with pytest.raises(UserError, match="is in UTC"):
        read_times(typed)
    assert read_times(typed, "America/New_York")[0] == [(4, 17)]


def test_offsets_are_converted_to_the_zone() -> None:
    times = ["2024-05-31T17:05:00-04:00", "2024-06-01T02:35:00+05:30", "2024-05-31 17:05:00"]
    assert read_times(times, "America/New_York")[0] == [(4, 17)] * 3


@pytest.mark.parametrize("values", [["2024-05-31"], ["17:05"], [1717175100], ["nan"], [None, "x"]])
def test_values_that_are_no_times_are_refused(values: list) -> None:
    with pytest.raises(UserError, match=r"f\.csv: flows\.time: 't' holds no times such as"):
        read_times(values)


def test_times_of_day_and_durations_are_refused() -> None:
    day = pl.Series(["2024-05-31 17:05"]).str.to_datetime()
    for series in (day.dt.time(), day.dt.date(), day - day):
        with pytest.raises(UserError, match=r"holds no times such as .* but (times of day|dates|durations)"):
            read_times(series.to_list())
