"""The shipped city specs on real files: the facts that are known about them, and the traps in them reported."""

from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import yaml

from urbankit import City

SPECS = Path(__file__).parents[3] / "recipes" / "cities"


@pytest.fixture(scope="module")
def prepare(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A shipped city, prepared once for all tests; `without` leaves parts of its spec out to save time."""
    cities: dict[str, City] = {}

    def once(name: str) -> City:
        if name not in cities:
            folder = tmp_path_factory.mktemp(name)
            cities[name] = City.prepare(SPECS / f"{name}.yaml", data=shared_data / name, out=folder / "city")
        return cities[name]

    return once


def notes(city: City, key: str) -> str:
    return "\n".join(note for where, note in city.report.suspicious if where == key)


def test_manhattan_matches_its_source_files(prepare: Any, shared_data: Path) -> None:
    city = prepare("manhattan")
    assert city.n_regions == 180 and city.region_ids == [str(i) for i in range(180)]
    table = pd.read_csv(shared_data / "manhattan" / "flows.csv")
    flows = city.flows().toarray()
    expected = np.zeros((180, 180))
    np.add.at(expected, (table.origin, table.destination), table.trips)
    np.testing.assert_array_equal(flows, expected)
    assert "the self flow of region 179 is 1,542,522" in notes(city, "flows")
    assert city.poi_counts()[0].shape == (180, 26)
    targets = pd.read_csv(shared_data / "manhattan" / "targets.csv")
    assert city.target("check_ins").values.tolist() == targets.check_ins.tolist()
    assert city.target("land_use").values.tolist() == targets.land_use.astype(str).tolist()


def test_new_york_matches_its_source_files(prepare: Any, shared_data: Path) -> None:
    city = prepare("new-york")
    source = gpd.read_file(shared_data / "new-york" / "tracts.gpkg")
    assert city.region_ids == source.tract.tolist()
    table = pd.read_csv(shared_data / "new-york" / "commuting.csv")
    assert city.flows().sum() == table.commuters.sum()
    assert city.poi_present.all() and city.poi_counts()[0].shape == (957, 34)
    assert "regions whose centroid lies outside them: 36061016200, 36081000100" in notes(city, "regions")
    covered = city.coverage().set_index("name")["regions"]
    assert covered["land_use"] == 874
    for name, missing in [("population_density", "36081990100"), ("pm25", "36061000100")]:
        absent = np.flatnonzero(np.isnan(city.target(name).values))
        assert [city.region_ids[i] for i in absent] == [missing] and covered[name] == 956
    assert city.images("rsi").bands == 4
    labels = pd.Series(city.target("land_use").values).value_counts()
    assert labels.index[0] == "Residential" and labels.sum() == 874 and (labels >= 10).sum() == 7


def test_land_use_of_new_york_is_the_majority_that_pandas_finds(prepare: Any, shared_data: Path) -> None:
    city = prepare("new-york")
    points = pd.read_parquet(shared_data / "new-york" / "land_use_points.parquet")
    locations = gpd.GeoDataFrame(points, geometry=gpd.points_from_xy(points.lon, points.lat), crs="EPSG:4326")
    joined = gpd.sjoin(locations.to_crs(city.crs), city.regions)
    votes = joined.groupby("region_id")["land_use"].value_counts().reset_index()
    best = votes.sort_values(["region_id", "count", "land_use"], ascending=[True, False, True])
    expected = best.drop_duplicates("region_id").set_index("region_id")["land_use"].to_dict()
    values = city.target("land_use").values
    assert {name: value for name, value in zip(city.region_ids, values, strict=True) if value} == expected


def test_shenzhen_matches_its_source_files(prepare: Any) -> None:
    city = prepare("shenzhen")
    assert city.n_regions == 3384 and city.flows() is None and city.poi_counts() is None
    assert len(city.captions("rsi")) == 3384
    assert "another: 56" in notes(city, "captions.rsi")
    assert "overlap by slivers" in notes(city, "regions")
    assert "exactly 10,000 in 557 of 3384" in notes(city, "targets.gdp")
    assert "exactly 0 in 506 of 3384" in notes(city, "targets.gdp")
    assert "exactly 0 in 121 of 3384" in notes(city, "targets.carbon")
    assert "exactly 0 in 396 of 3384" in notes(city, "targets.population")
    assert "extreme: 12377_2496 (240,078), 12379_2493 (219,387), 12442_2504 (151,595), against" in notes(
        city, "targets.carbon"
    )
    images = city.images("svi")
    assert len(np.unique(images.region)) == 644
    assert len(set(images.image_ids)) == 1477 and images.size == (80, 120)


def test_singapore_matches_its_source_files(prepare: Any) -> None:
    city = prepare("singapore")
    assert city.crs == "EPSG:32648"
    assert city.area_km2 == pytest.approx(np.ones(city.n_regions), rel=2e-3)
    assert (city.coverage().set_index("name")["share"][["rsi", "population_density", "pm25", "land_use"]] > 0.9).all()


@pytest.mark.parametrize("name", ["new-york", "manhattan", "shenzhen", "singapore"])
def test_specs_are_valid_without_the_data(name: str) -> None:
    from urbankit.city.spec import CitySpec

    assert CitySpec.model_validate(yaml.safe_load((SPECS / f"{name}.yaml").read_text())).name == name
