"""Tables as their authors publish them: PDFM by prefixed ids, Clay and Prithvi by the outlines of image chips."""

from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import polars as pl
import pytest
from helpers.twelve import IDS, encoder, prepare_twelve, rows
from shapely import LineString, Point, Polygon, box

from urbankit import City
from urbankit.utils.errors import UserError

FEATURES = np.random.default_rng(0).normal(size=(12, 330)).round(4)
ZIPS = [f"100{i:02d}" for i in range(12)]


@pytest.fixture(scope="module")
def zips(tmp_path_factory: pytest.TempPathFactory) -> City:
    return prepare_twelve(tmp_path_factory.mktemp("zips"), ZIPS)


def pdfm(folder: Path, places: list[str], features: np.ndarray = FEATURES) -> Path:
    """A table as PDFM is published: places, names, coordinates and 330 features."""
    columns = {f"feature{i}": column for i, column in enumerate(features.T)}
    frame = pd.DataFrame({"place": places, "state": "NY", "latitude": 40.7, "longitude": -74.0} | columns)
    frame.to_csv(folder / "zcta_embeddings.csv", index=False)
    return folder / "zcta_embeddings.csv"


def test_table_of_pdfm_is_read_by_ids_without_their_prefix(zips: City, tmp_path: Path) -> None:
    one = encoder(zips, pdfm(tmp_path, [f"zip/{name}" for name in ZIPS]), standardise=False)
    np.testing.assert_allclose(one.features(zips)[0], FEATURES)
    assert one.names(zips) == [f"feature{i}" for i in range(330)]
    assert one.notes == [
        "ids match the regions without their prefix 'zip/'",
        "a table of PDFM: the 330 columns of its features are read",
    ]


def test_several_prefixes_that_match_need_a_choice(zips: City, tmp_path: Path) -> None:
    places = [f"{kind}/{name}" for kind in ("geoId", "zip") for name in ZIPS]
    path = pdfm(tmp_path, places, np.concatenate([FEATURES, -FEATURES]))
    with pytest.raises(UserError, match=r"alpha\.prefix: ids match with the prefixes geoId/, zip/; choose one"):
        rows(zips, path)
    np.testing.assert_allclose(rows(zips, path, prefix="zip/"), -FEATURES, atol=1e-6)
    assert "12 rows with another prefix are skipped" in encoder(zips, path, prefix="geoId/").notes
    with pytest.raises(UserError, match="no id in column 'place' starts with 'state/'; it holds geoId/10000"):
        rows(zips, path, prefix="state/")


def test_prefix_of_places_outside_the_city_is_no_choice(zips: City, tmp_path: Path) -> None:
    places = [f"zip/{name}" for name in ZIPS[:-1]] + ["geoId/36061"]
    path = pdfm(tmp_path, places)
    with pytest.raises(UserError, match="1 of 12 regions have no vector: 10011"):
        rows(zips, path)
    assert np.isfinite(rows(zips, path, absent="mask")).all(axis=1).sum() == 11


def test_ids_that_match_keep_what_looks_like_a_prefix(tmp_path: Path) -> None:
    names = [f"a/{name}" for name in IDS]
    city = prepare_twelve(tmp_path, names)
    frame = pd.DataFrame(FEATURES[:, :3], columns=list("xyz")).assign(region_id=names)
    frame.to_csv(tmp_path / "t.csv", index=False)
    assert encoder(city, tmp_path / "t.csv").notes == []


def test_places_that_are_no_regions_are_refused(zips: City, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no id in column 'place' matches a region; it holds geoId/01001"):
        rows(zips, pdfm(tmp_path, [f"geoId/010{i:02d}" for i in range(1, 13)]))


def test_rows_of_several_years_need_a_choice(twelve: City, tmp_path: Path) -> None:
    frame = pd.DataFrame(FEATURES[:, :3], columns=list("xyz")).assign(region_id=IDS)
    pd.concat([frame.assign(year=2022), frame.assign(year=2023, x=1.0)]).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(UserError, match=r"alpha\.year: has rows of several years: 2022, 2023"):
        rows(twelve, tmp_path / "t.csv")
    np.testing.assert_allclose(rows(twelve, tmp_path / "t.csv", year=2022), FEATURES[:, :3], atol=1e-6)
    with pytest.raises(UserError, match="has rows of 2022, 2023, not of 2021"):
        rows(twelve, tmp_path / "t.csv", year=2021)


def test_columns_of_one_year_are_selected_on_request_only(twelve: City, tmp_path: Path) -> None:
    frame = pd.DataFrame(FEATURES[:, :4], columns=["a_2022", "b_2022", "a_2023", "b_2023"]).assign(region_id=IDS)
    frame.to_csv(tmp_path / "t.csv", index=False)
    assert rows(twelve, tmp_path / "t.csv").shape == (12, 4)
    assert encoder(twelve, tmp_path / "t.csv", year=2023).names(twelve) == ["a", "b"]
    np.testing.assert_allclose(rows(twelve, tmp_path / "t.csv", year=2023), FEATURES[:, 2:4], atol=1e-6)


def test_columns_of_alphaearth_with_a_year_are_codes_too(twelve: City, tmp_path: Path) -> None:
    codes = np.random.default_rng(1).integers(-127, 128, (12, 64))
    names = [f"A{i:02d}_2023" for i in range(64)]
    pd.DataFrame(codes, columns=names).assign(region_id=IDS).to_csv(tmp_path / "t.csv", index=False)
    values = np.sign(codes) * (codes / 127.5) ** 2
    np.testing.assert_allclose(rows(twelve, tmp_path / "t.csv"), values, atol=1e-6)


# Chips

CHIPS = [box(500000 + 150 * i, 4499950, 500150 + 150 * i, 4500150) for i in range(8)]
VECTORS = np.random.default_rng(2).normal(size=(8, 5)).astype(np.float32)


def clay(path: Path, **columns: Any) -> Path:
    """GeoParquet as Clay publishes it."""
    frame = {"index": range(8), "source_url": "s3://tile", "date": "2023-06-01", "embeddings": list(VECTORS)}
    gpd.GeoDataFrame(frame | columns, geometry=CHIPS, crs=32618).to_crs(4326).to_parquet(path)
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".gpq"])
def test_chips_are_averaged_by_their_area_in_the_region(twelve: City, tmp_path: Path, suffix: str) -> None:
    values = rows(twelve, clay(tmp_path / f"clay{suffix}"))
    # Squares of 100 m on chips of 150 m: the second square has half of each of two chips.
    np.testing.assert_allclose(values[0], VECTORS[0], atol=1e-3)
    np.testing.assert_allclose(values[1], (VECTORS[0] + VECTORS[1]) / 2, atol=1e-3)
    assert encoder(twelve, tmp_path / f"clay{suffix}").notes == [
        "the vectors are means over 8 polygons, weighted by their area in the region"
    ]


def test_dates_of_several_years_need_a_choice(twelve: City, tmp_path: Path) -> None:
    dates = pd.to_datetime([f"{2022 + i % 2}-06-01" for i in range(8)])
    path = clay(tmp_path / "clay.parquet", date=dates)
    with pytest.raises(UserError, match=r"alpha\.year: has rows of several years: 2022, 2023"):
        rows(twelve, path)
    values = rows(twelve, path, year=2022, absent="mask")
    np.testing.assert_allclose(values[1], VECTORS[0], atol=1e-3)


def test_points_with_one_column_for_each_number_are_averaged(twelve: City, tmp_path: Path) -> None:
    points = [Point(500050 + 100 * i, 4500050) for i in range(12)] + [Point(500060, 4500060)]
    values = np.random.default_rng(4).normal(size=(13, 3))
    frame = gpd.GeoDataFrame(values, columns=["e0", "e1", "e2"], geometry=points, crs=32618)
    frame.assign(sensor="S2").to_file(tmp_path / "prithvi.gpkg")
    read = rows(twelve, tmp_path / "prithvi.gpkg")
    np.testing.assert_allclose(read[0], (values[0] + values[12]) / 2, atol=1e-6)
    np.testing.assert_allclose(read[1:], values[1:12], atol=1e-6)
    assert "columns that are left aside: sensor" in encoder(twelve, tmp_path / "prithvi.gpkg").notes


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"more": list(VECTORS)}, "has several columns of lists: embeddings, more; name one by `columns`"),
        ({"geometry": [LineString([(0, 0), (1, 1)])] * 8}, "has geometries of the types LineString; only points"),
        ({"geometry": [box(0, 0, 1, 1)] * 8}, "no geometry lies in a region; they span lon"),
    ],
)
def test_unsuitable_files_with_geometry_are_refused(twelve: City, tmp_path: Path, columns: Any, says: str) -> None:
    frame = gpd.read_parquet(clay(tmp_path / "clay.parquet"))
    for name, values in columns.items():
        frame[name] = values if name != "geometry" else gpd.GeoSeries(values, crs=4326)
    frame.to_parquet(tmp_path / "clay.parquet")
    with pytest.raises(UserError, match=says):
        rows(twelve, tmp_path / "clay.parquet")


def test_coded_chips_are_refused(twelve: City, tmp_path: Path) -> None:
    codes = np.random.default_rng(1).integers(-127, 128, (8, 64)).astype(np.int8)
    path = clay(tmp_path / "coded.parquet", embeddings=list(codes))
    with pytest.raises(UserError, match=r"coded\.parquet: .*look like the 8-bit codes of an embedding"):
        rows(twelve, path)


def test_table_without_ids_and_geometry_names_the_column(twelve: City, tmp_path: Path) -> None:
    pd.DataFrame({"embedding": list(VECTORS)}).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(UserError, match="there is no column 'region_id'"):
        rows(twelve, tmp_path / "t.parquet")


@pytest.mark.parametrize("cell", [[[1.0, 2.0], [3.0, 4.0]], [b"a"], [{"a": 1.0}]])
def test_lists_of_anything_but_numbers_are_refused(twelve: City, tmp_path: Path, cell: list[Any]) -> None:
    path = tmp_path / "table.parquet"
    pl.DataFrame({"region_id": IDS, "vector": [cell] * len(IDS)}).write_parquet(path)
    with pytest.raises(
        UserError, match=r"alpha\.columns: column 'vector' must hold lists of numbers, but its lists hold"
    ):
        rows(twelve, path)


def test_invalid_outlines_of_chips_are_repaired(twelve: City, tmp_path: Path) -> None:
    west, south, east, north = twelve.regions.to_crs("EPSG:4326").total_bounds
    crossed = Polygon([(west, south), (east, north), (east, south), (west, north)])
    frame = gpd.GeoDataFrame({"embeddings": [np.ones(32)]}, geometry=[crossed], crs="EPSG:4326")
    frame.to_parquet(tmp_path / "chips.parquet")
    assert (
        "the vectors are means over 1 polygons, weighted by their area in the region"
        in encoder(twelve, tmp_path / "chips.parquet", absent="mask", standardise=False).notes
    )
