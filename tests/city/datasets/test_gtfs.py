"""GTFS feeds: the service of a day, departures by hour, flows by transit, and what is refused."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.short_run import short_run
from helpers.small_city import Sources, lonlat, squares

N = 12

STOPS = {"a": (500, 500), "b": (1500, 500), "c": (2500, 500), "far": (90_000, 90_000)}


def feed() -> dict[str, str]:
    """Line 1 runs a, b, c at 7:30 and 24:30 on weekdays, line 2 c, a every 30 minutes from 8 to 9 on Saturdays."""
    degrees = {name: lonlat(*place) for name, place in STOPS.items()}
    stops = [f"{name},Stop {name},{lat},{lon}" for name, (lon, lat) in degrees.items()]
    return {
        "agency.txt": "agency_id,agency_name,agency_url,agency_timezone\n1,Metro,http://x.example,America/New_York",
        "stops.txt": "\n".join(["stop_id,stop_name,stop_lat,stop_lon", *stops]),
        "routes.txt": "route_id,route_short_name,route_type\nr1,1,3\nr2,2,3",
        "trips.txt": "route_id,service_id,trip_id\nr1,week,t1\nr1,week,t2\nr2,saturday,t3",
        "stop_times.txt": """trip_id,arrival_time,departure_time,stop_id,stop_sequence
t1,07:30:00,07:30:00,a,1
t1,,,b,2
t1,07:50:00,07:50:00,c,3
t2,24:30:00,24:30:00,a,1
t2,24:45:00,24:45:00,b,2
t2,25:10:00,25:10:00,c,5
t3,08:00:00,08:00:00,c,1
t3,08:20:00,08:20:00,a,2
t3,09:20:00,09:20:00,far,3""",
        "calendar.txt": """service_id,monday,tuesday,wednesday,thursday,friday,saturday,sunday,start_date,end_date
week,1,1,1,1,1,0,0,20240513,20240517
saturday,0,0,0,0,0,1,0,20240513,20240519""",
        "calendar_dates.txt": "service_id,date,exception_type\nweek,20240513,2",
        "frequencies.txt": "trip_id,start_time,end_time,headway_secs\nt3,08:00:00,09:00:00,1800",
    }


@pytest.fixture
def gtfs(sources: Sources) -> Sources:
    sources.regions(ids=[str(i) for i in range(N)], shapes=squares(count=N))
    sources.spec["gtfs"] = "feed.zip"
    write(sources, feed())
    return sources


def write(sources: Sources, files: dict[str, str], folder: str = "") -> Path:
    path = sources.folder / "feed.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(folder + name, text)
    return path


def column(city: Any, name: str) -> list[float]:
    values, columns = city.table("gtfs_transit")
    return values[:, columns.index(name)].tolist()


def notes(city: Any) -> str:
    return " ".join(note for _, note in city.report.suspicious)


def test_departures_of_the_busiest_day_by_hour(gtfs: Sources) -> None:
    city = gtfs.prepare()
    assert "the service of 2024-05-14" in notes(city)  # the exception removes Monday
    assert column(city, "departures a day")[:4] == [2, 2, 0, 0]  # a run does not depart from its last stop
    assert column(city, "departures 07-08h")[:3] == [1, 1, 0]  # the time of b is between those of a and c
    assert column(city, "departures 00-01h")[:3] == [1, 1, 0]  # 24:30 and 24:45
    assert column(city, "stops")[:4] == [1, 1, 1, 0] and column(city, "routes")[:4] == [1, 1, 1, 0]


def test_flows_are_runs_between_regions(gtfs: Sources) -> None:
    flows = gtfs.prepare().flows()
    assert flows is not None
    expected = np.zeros((N, N))
    expected[[0, 0, 1], [1, 2, 2]] = 2
    assert np.array_equal(flows.toarray(), expected)


def test_flows_by_travel_time_of_the_fastest_run(gtfs: Sources) -> None:
    gtfs.spec["gtfs"] = {"file": "feed.zip", "weight": "time"}
    flows = gtfs.prepare().flows()
    assert flows is not None
    assert flows.toarray()[0, 2] == pytest.approx(60 / 20) and flows.toarray()[0, 1] == pytest.approx(60 / 10)


def test_headways_give_one_run_each(gtfs: Sources) -> None:
    gtfs.spec["gtfs"] = {"file": "feed.zip", "date": "2024-05-18"}
    city = gtfs.prepare()
    flows = city.flows()
    assert flows is not None and flows.toarray()[2, 0] == 2 and flows.sum() == 2
    assert column(city, "departures 08-09h")[:3] == [2, 0, 2]
    assert next(one for one in city.report.sources if one.key == "flows").dropped == {
        "at a stop outside every region": 2
    }


def test_feed_in_a_folder_with_a_byte_order_mark(gtfs: Sources) -> None:
    files = feed()
    files["stops.txt"] = "\ufeff" + files["stops.txt"]
    write(gtfs, files, folder="metro/")
    assert column(gtfs.prepare(), "stops")[:3] == [1, 1, 1]


def test_calendar_dates_alone_are_a_calendar(gtfs: Sources) -> None:
    files = feed()
    del files["calendar.txt"]
    files["calendar_dates.txt"] = "service_id,date,exception_type\nsaturday,20240601,1"
    write(gtfs, files)
    assert "the service of 2024-06-01" in notes(gtfs.prepare())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stop_times.txt": None}, "lacks stop_times.txt; a GTFS feed has them, so fetch the whole feed"),
        ({"calendar.txt": None, "calendar_dates.txt": None}, "calendar.txt or calendar_dates.txt"),
        ({"stops.txt": "stop_id,lat,lon\na,1,2"}, "stops.txt has no column stop_lat, stop_lon"),
        ({"stop_times.txt": "trip_id,stop_id,stop_sequence,departure_time\nt1,a,1,noon"}, "no run of 2024-05-14 stops"),
        ({"calendar_dates.txt": "service_id,date,exception_type", "calendar.txt": "service_id," + ",".join(
            ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday", "start_date", "end_date"])
            + "\nweek,1,1,1,1,1,1,1,soon,late"}, "no readable date"),
        ({"frequencies.txt": "trip_id,start_time,end_time,headway_secs\n" + "t1,00:00:00,900:00:00,1\n" * 9},
         "more than 5,000,000 runs"),
        ({"stops.txt": "stop_id,stop_name,stop_lat,stop_lon\na,A,0,0"}, "no point lies in any region"),
    ],
)  # fmt: skip
def test_damaged_feed_is_one_message(gtfs: Sources, changes: dict[str, str | None], message: str) -> None:
    path = write(gtfs, {name: text for name, text in (feed() | changes).items() if text is not None})
    refusal = gtfs.refusal()
    assert message in refusal and refusal.startswith(f"{path}: gtfs: ")


def test_file_that_is_no_archive_is_one_message(gtfs: Sources) -> None:
    path = gtfs.folder / "feed.zip"
    content = path.read_bytes()
    for damaged in (b"<html>not found</html>", content[: len(content) // 2]):
        path.write_bytes(damaged)
        assert "is not a readable ZIP archive" in gtfs.refusal()


def test_archive_that_unpacks_to_too_much_is_refused(gtfs: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("urbankit.city.datasets.gtfs_feed.LARGEST", 1 << 20)
    write(gtfs, feed() | {"stop_times.txt": feed()["stop_times.txt"] + "\n" * (2 << 20)})
    assert "unpacks to 2 MB, more than 1 MB" in gtfs.refusal()


def test_day_without_service_and_wrong_dates_are_named(gtfs: Sources) -> None:
    gtfs.spec["gtfs"] = {"file": "feed.zip", "date": "2024-07-01"}
    assert "no trip runs on 2024-07-01; it covers 2024-05-13 to 2024-05-19" in gtfs.refusal()
    gtfs.spec["gtfs"] = {"file": "feed.zip", "date": "20.5.2024"}
    assert "is no date; write it as 2024-05-15" in gtfs.refusal()


def test_two_sources_of_flows_say_how_to_choose(gtfs: Sources) -> None:
    gtfs.csv("flows.csv", o=["0"], d=["1"])
    gtfs.spec["flows"] = {"file": "flows.csv", "origin": "o", "destination": "d"}
    assert "`flows` and `gtfs` both give flows; remove one, or leave it out by `use`" in gtfs.refusal()
    gtfs.spec["gtfs"] = {"file": "feed.zip", "use": ["transit"]}
    assert gtfs.prepare().tables == ["gtfs_transit"]


def test_run_trains_on_a_feed(gtfs: Sources, tmp_path: Path) -> None:
    gtfs.csv("targets.csv", id=range(N), price=np.arange(N) + 1.0)
    gtfs.spec["targets"] = {"price": {"table": "targets.csv", "region": "id", "column": "price"}}
    run = short_run(
        gtfs.prepare(),
        tmp_path / "run",
        modalities={"transit": {"name": "table", "table": "gtfs_transit"}},
        views={"mobility": {"name": "mobility"}},
        tasks={"price": {}},
    )
    assert np.isfinite(run.metrics["value"]).all()
