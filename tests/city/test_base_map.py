"""Water, main roads and places of a city file, which maps show."""

from typing import Any

import geopandas as gpd
import numpy as np
import pytest
from helpers.small_city import CRS, EAST, NORTH, Sources, lonlat
from shapely.geometry import LineString, Point, box

from urbankit.city.prepare import base_map


@pytest.fixture
def mapped(sources: Sources) -> Sources:
    """A lake, a road out of the city, and three places."""
    sources.regions()
    write(sources, "water.gpkg", [box(EAST, NORTH, EAST + 1000, NORTH + 500)])
    write(sources, "roads.gpkg", [LineString([(EAST, NORTH + 1500), (EAST + 90_000, NORTH + 1500)])])
    lon, lat = lonlat([100, 200, 300], [100, 200, 300])
    places(sources, name=["Village", "North", "Centre"], place=["village", "suburb", "city"], lon=lon, lat=lat)
    sources.spec["base_map"] = {"water": "water.gpkg", "roads": "roads.gpkg", "places": "places.csv", "credit": "me"}
    return sources


def write(sources: Sources, name: str, shapes: list[Any], layer: str | None = None) -> None:
    gpd.GeoDataFrame(geometry=shapes, crs=CRS).to_file(sources.folder / name, layer=layer)


def places(sources: Sources, **columns: Any) -> None:
    sources.csv("places.csv", **columns)


def test_files_of_a_city_file_are_a_base_map(mapped: Sources) -> None:
    city = mapped.prepare()
    frame, credit = city.base_map() or pytest.fail("no base map")
    assert credit == "me" and frame["kind"].tolist() == ["water", "primary", "city", "suburb"]
    assert frame.geometry.iloc[0].area == pytest.approx(5e5, rel=1e-3)
    assert frame.geometry.iloc[1].length == pytest.approx(3300, rel=1e-3)
    assert frame["name"].tolist()[2:] == ["Centre", "North"]
    [report] = [one for one in city.report.sources if one.key == "base_map"]
    assert (report.rows, report.matched) == (5, 4) and sum(report.dropped.values()) == 1
    assert city.any_modality() is None


def test_base_map_is_bounded(mapped: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    wave = np.column_stack([EAST + np.linspace(0, 3000, 5000), NORTH + 1500 + rng.normal(0, 30, 5000)])
    write(mapped, "roads.gpkg", [LineString(wave)])
    lon, lat = lonlat(*rng.uniform(0, 3000, (2, 700)))
    places(mapped, name=[f"p{i}" for i in range(700)], place="suburb", lon=lon, lat=lat)
    monkeypatch.setattr(base_map, "MOST_POINTS", 300)
    frame, _ = mapped.prepare().base_map() or pytest.fail("no base map")
    assert 2 < frame.geometry[frame["kind"] == "primary"].count_coordinates().sum() <= 300
    assert (frame["kind"] == "suburb").sum() == base_map.MOST_PLACES


def test_city_without_anything_around_it_has_an_empty_base_map(mapped: Sources) -> None:
    mapped.spec["base_map"] = {"water": "water.gpkg"}
    write(mapped, "water.gpkg", [box(EAST + 50_000, NORTH, EAST + 51_000, NORTH + 500)])
    frame, _ = mapped.prepare().base_map() or pytest.fail("no base map")
    assert frame.empty


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "needs one of the keys water, roads, places"),
        ({"water": "roads.gpkg"}, "roads.gpkg: base_map.water: holds no polygons"),
        ({"roads": "water.gpkg"}, "water.gpkg: base_map.roads: holds no lines"),
        ({"water": {"file": "water.gpkg", "layer": "lakes"}}, "base_map.water.layer: has no layer 'lakes', only water"),
        ({"water": "none.gpkg"}, "file not found"),
        ({"places": {"file": "places.csv", "place": "kind"}}, "there is no column 'kind'"),
        ({"places": {"file": "places.csv", "place": "name"}}, "has none of the kinds city, town, suburb"),
        ({"rivers": "water.gpkg"}, "base_map.rivers"),
    ],
)
def test_base_map_that_cannot_be_read_is_one_message(mapped: Sources, spec: dict[str, Any], message: str) -> None:
    mapped.spec["base_map"] = spec
    assert message in mapped.refusal()


def test_points_are_no_water(mapped: Sources) -> None:
    write(mapped, "water.gpkg", [Point(EAST, NORTH)])
    assert "holds no polygons" in mapped.refusal()
