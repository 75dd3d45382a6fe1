"""A GTFS feed: public transport by region, and flows between regions by transit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import polars as pl
from pydantic import Field, field_validator

from urbankit.city.datasets.base import AnyLayer, DataFolder, Dataset, DatasetParams, Flows, Regions, Table
from urbankit.city.datasets.gtfs_feed import Feed, read_feed, runs_of, service_day
from urbankit.city.points import usable
from urbankit.utils.errors import UserError

HOUR = 3600


class GTFSParams(DatasetParams):
    """The feed, and what is read from it."""

    file: str = Field(description="The feed: a ZIP archive with stops.txt, trips.txt, stop_times.txt and a calendar.")
    use: Annotated[list[Literal["transit", "flows"]], Field(min_length=1)] = Field(
        ["transit", "flows"], description="What is read: the table of stops and departures, the flows between regions."
    )
    date: str | None = Field(None, description="The day whose service counts, as 2024-05-15; null is the busiest.")
    weight: Literal["runs", "time"] = Field(
        "runs",
        description="Weight of a flow: `runs` a day that go from one region to the other without a change, or `time`: "
        "60 divided by the minutes of the fastest.",
    )

    @field_validator("date")
    @classmethod
    def check_date(cls, text: str | None) -> str | None:
        """Return the date if it is one."""
        try:
            return None if text is None else date.fromisoformat(text).isoformat()
        except ValueError:
            raise ValueError(f"{text!r} is no date; write it as 2024-05-15") from None


class GTFS(Dataset[GTFSParams]):
    """The table `gtfs_transit` of stops, routes and departures, and flows by runs or travel time of one day."""

    params: GTFSParams

    def files(self, data: DataFolder) -> Sequence[Path]:
        return [data.file(self.params.file, "gtfs.file")]

    def provides(self, data: DataFolder) -> Sequence[str]:
        return ["flows" if name == "flows" else "tables.gtfs_transit" for name in dict.fromkeys(self.params.use)]

    def read(self, data: DataFolder, regions: Regions) -> Mapping[str, AnyLayer]:
        feed = read_feed(self.files(data)[0])
        day, services = service_day(feed, self.params.date)
        runs, dropped = runs_of(feed, services)
        stops, notes = _located(feed, regions)
        calls = runs.join(stops, on="stop_id")
        dropped |= {"at a stop outside every region": len(runs) - len(calls)} if len(runs) > len(calls) else {}
        if not len(calls):
            raise UserError(f"no run of {day} stops in a region")
        notes.append(f"the service of {day}, with {calls['run'].n_unique():,} runs that stop in a region")
        facts = {"rows": len(runs) + dropped.get("without a stop, sequence or time", 0), "dropped": dropped}
        layers: dict[str, AnyLayer] = {}
        if "transit" in self.params.use:
            layers["tables.gtfs_transit"] = _transit(calls, stops, len(regions), facts)
        if "flows" in self.params.use:
            layers["flows"] = _flows(calls, self.params.weight, facts)
        next(iter(layers.values())).notes += notes
        return layers


def _located(feed: Feed, regions: Regions) -> tuple[pl.DataFrame, list[str]]:
    """Return the stops in regions: `stop_id` and `region`; a stop on a border belongs to the first region."""
    stops = feed.stops.drop_nulls("stop_id")
    unique = stops.unique("stop_id", keep="first", maintain_order=True)
    notes = [f"stops that stops.txt repeats, of which the first counts: {len(stops) - len(unique):,}"]
    degrees = [unique[name].cast(pl.Float64, strict=False).fill_null(np.nan) for name in ("stop_lon", "stop_lat")]
    lon, lat = usable(*(column.to_numpy() for column in degrees))
    region = regions.points.first(lon, lat)
    if (region < 0).all():
        raise UserError(regions.points.explain_no_match(lon, lat))
    located = unique.select("stop_id", region=pl.Series(region)).filter(pl.col("region") >= 0)
    return located, notes if len(stops) > len(unique) else []


def _transit(calls: pl.DataFrame, stops: pl.DataFrame, n_regions: int, facts: dict) -> Table:
    """Stops that a run serves, routes, and departures by hour of the day; 25:10 counts in the hour from 1 to 2."""
    served = calls.select("region", "stop_id").unique()["region"].to_numpy()
    routes = calls.select("region", "route_id").unique()["region"].to_numpy()
    leaving = calls.filter("departs")
    hour = leaving["time"].to_numpy().astype(np.int64) // HOUR % 24
    departures = np.zeros((n_regions, 24))
    np.add.at(departures, (leaving["region"].to_numpy(), hour), 1)
    counts = [np.bincount(rows, minlength=n_regions).astype(float) for rows in (served, routes)]
    values = np.column_stack([*counts, departures.sum(1), departures])
    columns = ["stops", "routes", "departures a day", *(f"departures {h:02d}-{h + 1:02d}h" for h in range(24))]
    return Table(values, columns, **facts)


def _flows(calls: pl.DataFrame, weight: str, facts: dict) -> Flows:
    """Flows between different regions that one run connects.

    Runs that visit the same regions in the same order are one pattern, so that pairs are made once for each pattern.
    """
    visits = calls.filter(pl.col("region") != pl.col("region").shift(1).over("run").fill_null(-1))
    runs = visits.group_by("run", maintain_order=True).agg("region", "time")
    runs = runs.sort(pl.col("time").list.last() - pl.col("time").list.first(), "run")
    patterns = runs.group_by("region", maintain_order=True).agg(pl.len().alias("runs"), times="time")
    patterns = patterns.with_row_index("pattern")
    # The times of a pattern are those of its fastest run.
    visits = patterns.select("pattern", "runs", "region", pl.col("times").list.first().alias("time"))
    visits = visits.explode("region", "time").with_columns(place=pl.int_range(pl.len()).over("pattern"))
    pairs = visits.join(visits.select("pattern", "region", "time", "place"), on="pattern", suffix="_to")
    pairs = pairs.filter((pl.col("place") < pl.col("place_to")) & (pl.col("region") != pl.col("region_to")))
    minutes = ((pl.col("time_to") - pl.col("time")) / 60).clip(1)
    by_pattern = pairs.group_by("pattern", "region", "region_to").agg(pl.col("runs").first(), minutes=minutes.min())
    value = pl.col("runs").sum() if weight == "runs" else 60 / pl.col("minutes").min()
    flows = by_pattern.group_by(origin="region", destination="region_to").agg(weight=value.cast(pl.Float64))
    if not len(flows):
        raise UserError("no run connects two regions; leave the flows out by `use: [transit]`")
    return Flows(flows, **facts)
