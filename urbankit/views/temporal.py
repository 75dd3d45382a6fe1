"""The view of mobility at certain hours; beyond the UrbanMMCL paper, after its section 5.4."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import pandas as pd
import scipy.sparse
from pydantic import Field, field_validator

from urbankit.city.city import City
from urbankit.views.mobility import MobilityView

Hour = Annotated[int, Field(ge=0, le=24)]
Weekday = Annotated[int, Field(ge=0, le=6)]


class TemporalView(MobilityView):
    """The mobility view of the flows at certain hours of the day or days of the week, summed over the time recorded.

    Each view is one slice of time; a method's `view_groups` joins several views into one.
    """

    class Params(MobilityView.Params):
        hours: tuple[Hour, Hour] = Field(
            (0, 24),
            description="Flows from the first hour on and before the second; [20, 5] is the night, past midnight.",
        )
        weekdays: list[Weekday] = Field(
            [0, 1, 2, 3, 4, 5, 6],
            min_length=1,
            description="Flows on these days, 0 being Monday, each hour by the day that it is in: also those after "
            "midnight.",
        )

        @field_validator("hours")
        @classmethod
        def _some_hours(cls, hours: tuple[int, int]) -> tuple[int, int]:
            if hours[0] % 24 == hours[1] % 24 and hours != (0, 24):
                raise ValueError(f"from {hours[0]} to {hours[1]} is an empty interval; the full day is [0, 24]")
            return hours

        @field_validator("weekdays")
        @classmethod
        def _each_once(cls, weekdays: list[int]) -> list[int]:
            if len(set(weekdays)) < len(weekdays):
                raise ValueError(f"duplicate weekday in {weekdays}")
            return weekdays

    params: Params

    def flows(self, city: City) -> scipy.sparse.csr_array | None:
        times = city.flow_times()
        if times is None:
            return None
        times = times[self._when(times)]
        entries = (times["weight"].to_numpy(), (times["origin"].to_numpy(), times["destination"].to_numpy()))
        return scipy.sparse.csr_array(entries, shape=(city.n_regions, city.n_regions))

    def requires(self, city: City) -> str | None:
        times = city.flow_times()
        if times is None:
            return "the city has no flows" if city.flows() is None else "the city's flows have no times"
        return None if self._when(times).any() else f"no flow of the city is within its hours and days ({self._time()})"

    def _when(self, times: pd.DataFrame) -> np.ndarray:
        """Return which rows (bool) of a table of flows with `weekday` and `hour` are in the hours of the view."""
        start, end = self.params.hours
        hour = times["hour"].to_numpy()
        inside = (hour >= start) & (hour < end) if start < end else (hour >= start) | (hour < end)
        return inside & np.isin(times["weekday"].to_numpy(), self.params.weekdays)

    def _time(self) -> str:
        start, end = self.params.hours
        days = ", ".join(map(str, self.params.weekdays))
        return f"hours {start} to {end} of weekdays {days}"
