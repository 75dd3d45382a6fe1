"""The temporal view: which flows are in its time, and what it says of a city without times."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from scipy import sparse

from urbankit import registry
from urbankit.registry.component import Use

# origin, destination, weekday, hour, weight
FLOWS = [
    (0, 1, 0, 7, 3.0),
    (0, 1, 0, 23, 1.0),
    (0, 2, 5, 7, 2.0),
    (2, 0, 6, 1, 4.0),
    (1, 1, 2, 12, 5.0),
    (0, 1, 1, 7, 1),
]


@pytest.fixture
def city() -> SimpleNamespace:
    times = pd.DataFrame(FLOWS, columns=["origin", "destination", "weekday", "hour", "weight"])
    entries = (times.weight.to_numpy(), (times.origin.to_numpy(), times.destination.to_numpy()))
    flows = sparse.csr_array(entries, shape=(4, 4))
    xy = np.random.default_rng(0).random((4, 2))
    return SimpleNamespace(
        n_regions=4,
        flow_times=lambda: times,
        flows=lambda: flows,
        has_geometry=True,
        xy=xy,
        region_ids=["a", "b", "c", "d"],
    )


def temporal(**params):
    return registry.create("view", Use(name="temporal", **params))


def test_temporal_view_is_row_normalised_log_flows_of_its_hours(city):
    graph = temporal(hours=[6, 12]).build(city)
    logs = np.log1p([4.0, 2.0])  # 3 + 1 to region 1 on two days, 2 to region 2
    np.testing.assert_allclose(graph.adjacency.toarray()[0, 1:3], logs / logs.sum(), rtol=1e-6)
    assert graph.present.tolist() == [True, True, True, False]


@pytest.mark.parametrize(
    ("params", "edges"),
    [
        ({"hours": [20, 5]}, {(0, 1), (2, 0)}),
        ({"hours": [7, 8]}, {(0, 1), (0, 2)}),
        ({"hours": [12, 24]}, {(0, 1), (1, 1)}),
        ({"hours": [20, 0]}, {(0, 1)}),
        ({"weekdays": [5, 6]}, {(0, 2), (2, 0)}),
        ({"weekdays": [5, 6], "hours": [6, 9]}, {(0, 2)}),
        ({"self_flows": False, "hours": [6, 13]}, {(0, 1), (0, 2)}),
        ({"top_k": 1, "hours": [7, 8]}, {(0, 1)}),
    ],
)
def test_hours_wrap_around_midnight_and_days_follow_the_hour(city, params, edges):
    rows, columns = temporal(**params).build(city).adjacency.nonzero()
    assert set(zip(rows.tolist(), columns.tolist(), strict=True)) == edges


def test_view_of_all_hours_equals_the_mobility_view(city, tiny_city):
    for one in (city, tiny_city):
        all_hours, mobility = temporal().build(one), registry.create("view", Use(name="mobility")).build(one)
        np.testing.assert_allclose(all_hours.adjacency.toarray(), mobility.adjacency.toarray(), rtol=1e-6)


def test_flows_of_the_parts_of_a_day_sum_to_all_flows(tiny_city):
    parts = [temporal(hours=hours).flows(tiny_city) for hours in ([5, 10], [10, 15], [15, 20], [20, 5])]
    np.testing.assert_allclose(sum(parts).toarray(), tiny_city.flows().toarray())


def test_a_city_without_flows_or_times_is_named_as_the_reason(city):
    assert temporal(hours=[7, 8]).requires(city) is None
    assert "no flow of the city is within its hours and days (hours 2 to 4" in temporal(hours=[2, 4]).requires(city)
    untimed = SimpleNamespace(n_regions=4, flow_times=lambda: None, flows=city.flows)
    assert temporal().requires(untimed) == "the city's flows have no times"
    assert temporal().requires(SimpleNamespace(**vars(untimed) | {"flows": lambda: None})) == "the city has no flows"


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"hours": [6, 25]}, "less than or equal to 24"),
        ({"hours": [-1, 5]}, "greater than or equal to 0"),
        ({"hours": [6, 6]}, "is an empty interval"),
        ({"hours": [24, 0]}, "is an empty interval"),
        ({"weekdays": [7]}, "less than or equal to 6"),
        ({"weekdays": [1, 1]}, "duplicate weekday"),
        ({"weekdays": []}, "at least 1"),
    ],
)
def test_invalid_times_are_refused(params, message):
    with pytest.raises(ValidationError, match=message):
        registry.get("view", "temporal").Params(**params)
