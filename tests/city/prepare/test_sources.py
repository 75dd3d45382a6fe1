"""Tables, points, captions, flows and targets: what they give, and every mistake in them."""

import re
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import polars as pl
import pytest
from helpers.rasters import write_raster
from helpers.small_city import CRS, EAST, IDS, NORTH, Sources, lonlat, squares
from scipy.sparse import coo_array
from shapely import LineString, MultiPoint, Point

from urbankit.city.ids import RegionIds
from urbankit.city.io.columns import number_matrix
from urbankit.city.points import PointIndex
from urbankit.city.prepare.quality import constant_runs, outliers, sentinels
from urbankit.utils.errors import UserError


def notes(city: Any) -> str:
    return "\n".join(f"{key}: {note}" for key, note in city.report.suspicious)


def dropped(city: Any, key: str) -> dict[str, int]:
    return next(source for source in city.report.sources if source.key == key).dropped


# Ids


@pytest.mark.parametrize("column", [[36061000100], [36061000100.0], ["36061000100"], [" 36061000100.0 "]])
def test_ids_match_in_every_stored_form(column: list) -> None:
    ids, frame = RegionIds(["x", "36061000100"]), pl.DataFrame({"id": column})
    assert frame.select(ids.index("id", frame.schema["id"]))["id"].to_list() == [1]


def test_dropped_leading_zeros_are_restored() -> None:
    ids, frame = RegionIds(["06037", "48201"]), pl.DataFrame({"id": ["6037", "06037", "48201", "7", None, "x"]})
    assert frame.select(ids.index("id", frame.schema["id"]))["id"].to_list() == [0, 0, 1, -1, -1, -1]


def test_zeros_that_the_regions_lost_are_ignored() -> None:
    ids, frame = RegionIds(["6037", "48201"]), pl.DataFrame({"id": ["06037", "6037", "048201", "7"]})
    assert frame.select(ids.index("id", frame.schema["id"]))["id"].to_list() == [0, 0, 1, -1]


def test_lost_zeros_are_restored_in_ids_of_several_lengths() -> None:
    ids, frame = RegionIds(["0101", "011", "5"]), pl.DataFrame({"id": [101, 11, 5, 1]})
    assert frame.select(ids.index("id", frame.schema["id"]))["id"].to_list() == [0, 1, 2, -1]
    assert frame.select(ids.text("id", frame.schema["id"]))["id"].to_list() == ["0101", "011", "5", "1"]


def test_ids_that_differ_only_in_zeros_are_told_apart() -> None:
    ids, frame = RegionIds(["7", "007"]), pl.DataFrame({"id": ["7", "007", "07"]})
    assert frame.select(ids.index("id", frame.schema["id"]))["id"].to_list() == [0, 1, -1]


def test_ids_that_a_spreadsheet_rounded_are_explained(sources: Sources) -> None:
    says = r"3\.6061E\+10 is a number that a spreadsheet has rounded: store the column as text"
    sources.spec["tables"] = {"t": {"file": "t.csv", "region": "id"}}
    sources.csv("t.csv", id=["3.6061E+10", *IDS[1:]], value=range(9))
    assert re.search(says, notes(sources.prepare()))
    sources.csv("t.csv", id=["3.6061E+10"], value=[1])
    with pytest.raises(UserError, match=says):
        sources.prepare()


# Tables


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_every_table_format_gives_the_same_values(sources: Sources, suffix: str) -> None:
    frame = pl.DataFrame({"id": IDS, "value": [1.5, None, float("nan"), *range(6)]}, strict=False)
    path = sources.folder / f"t{suffix}"
    {".csv": frame.write_csv, ".jsonl": frame.write_ndjson, ".parquet": frame.write_parquet}[suffix](path)
    sources.spec["tables"] = {"t": {"file": path.name, "region": "id"}}
    values, columns = sources.prepare().table("t")
    assert columns == ["value"]
    np.testing.assert_array_equal(values[:, 0], [1.5, np.nan, np.nan, 0, 1, 2, 3, 4, 5])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"id,value\n", "has no rows"),
        (b"id;value\n000;1\n", "separated by ';'"),
        (b"id,valeu\n000,1\n", r"tables\.t\.columns\[0\]: there is no column 'value'\. Did you mean 'valeu'"),
        (b"id,value\n000,1\n001,two\n", r"must hold numbers, but: row 2 'two'"),
        (b"id,value\n000,1\n000,2\n", "regions with several rows: 000"),
        (b"id,value\na,1\nb,2\n", r"no id in column 'id' matches a region; it holds a, b, the regions are 000"),
        (b"id,value\n000,caf\xe9\n", r"line 2 is not UTF-8 text \(byte 0xe9\); save the file as UTF-8"),
    ],
)
def test_unusable_tables_are_refused(sources: Sources, content: bytes, says: str) -> None:
    (sources.folder / "t.csv").write_bytes(content)
    sources.spec["tables"] = {"t": {"file": "t.csv", "region": "id", "columns": ["value"]}}
    with pytest.raises(UserError, match=says):
        sources.prepare()
    assert not sources.out.exists()


def test_truncated_parquet_and_broken_jsonl_are_refused(sources: Sources) -> None:
    path = sources.folder / "t.parquet"
    pl.DataFrame({"id": IDS, "value": range(9)}).write_parquet(path)
    path.write_bytes(path.read_bytes()[:-20])
    (sources.folder / "t.jsonl").write_text('{"id": "000", "value": 1}\n{"id": "001", "val')
    for name in ("t.parquet", "t.jsonl"):
        sources.spec["tables"] = {"t": {"file": name, "region": "id"}}
        with pytest.raises(UserError, match=rf"{name}: tables\.t: cannot be read, it may be truncated"):
            sources.prepare()
    (sources.folder / "t.xlsx").write_bytes(b"x")
    sources.spec["tables"] = {"t": {"file": "t.xlsx", "region": "id"}}
    with pytest.raises(UserError, match="not a table"):
        sources.prepare()


def test_rows_of_unknown_regions_are_reported(sources: Sources) -> None:
    sources.csv("t.csv", id=[*IDS[:3], "x", None], value=range(5))
    sources.spec["tables"] = {"t": {"file": "t.csv", "region": "id"}}
    city = sources.prepare()
    assert dropped(city, "tables.t") == {"with an id that no region has": 1, "without a region id": 1}
    assert "ids that match no region: x" in notes(city)


# Points


def test_points_get_the_same_regions_as_by_a_loop() -> None:
    rng = np.random.default_rng(0)
    lon, lat = lonlat(rng.uniform(-500, 3500, 2000), rng.uniform(-500, 3500, 2000))
    shapes = [*squares(), squares()[4]]
    regions = gpd.GeoDataFrame(geometry=shapes, crs=CRS)
    index = PointIndex(regions)
    rows, matches = index.pairs(lon, lat)
    points = gpd.points_from_xy(lon, lat, crs="EPSG:4326").to_crs(CRS)
    expected = [(i, j) for i, point in enumerate(points) for j, shape in enumerate(shapes) if shape.covers(point)]
    assert list(zip(rows.tolist(), matches.tolist(), strict=True)) == expected
    first = index.first(lon, lat)
    assert 9 not in first and (first == 4).sum() == sum(j == 4 for _, j in expected)


def test_poi_points_are_counted_by_category(sources: Sources) -> None:
    lon, lat = lonlat([500, 510, 1500, 9999, 500, 500], [500, 510, 500, 500, 500, 500])
    lon[5] = 999
    sources.csv("poi.csv", lon=lon, lat=lat, kind=["shop", "park", "shop", "shop", "", "park"])
    sources.spec["poi"] = {"points": "poi.csv", "category": "kind"}
    city = sources.prepare()
    counts, categories = city.poi_counts()
    assert categories == ["park", "shop"]
    assert counts.toarray()[:2].tolist() == [[1, 1], [0, 1]] and counts.sum() == 3
    assert city.poi_present.sum() == 2
    assert dropped(city, "poi") == {
        "without a usable lon and lat": 1, "without a category": 1, "outside every region": 1,
    }  # fmt: skip


def test_poi_points_in_another_crs_are_counted(sources: Sources) -> None:
    points = gpd.points_from_xy([EAST + 500, EAST + 2500], [NORTH + 500, NORTH + 2500], crs=CRS)
    gpd.GeoDataFrame({"kind": ["a", "b"]}, geometry=points).to_crs("EPSG:3857").to_file(sources.folder / "poi.gpkg")
    sources.spec["poi"] = {"points": "poi.gpkg", "category": "kind"}
    counts, _ = sources.prepare().poi_counts()
    assert counts.toarray()[[0, 8]].tolist() == [[1, 0], [0, 1]]


def test_points_with_swapped_lon_and_lat_are_refused(sources: Sources) -> None:
    lon, lat = lonlat([500], [500])
    sources.csv("poi.csv", lon=lat, lat=lon, kind=["a"])
    sources.spec["poi"] = {"points": "poi.csv", "category": "kind"}
    with pytest.raises(UserError, match="exchange the two columns"):
        sources.prepare()
    sources.csv("poi.csv", lon=[3.0], lat=[4.0], kind=["a"])
    with pytest.raises(UserError, match=r"they span lon 3\.0000"):
        sources.prepare()


def test_negative_poi_counts_are_refused_and_empty_categories_noted(sources: Sources) -> None:
    sources.csv("poi.csv", id=IDS, shop=[-1] + [0] * 8, park=[1] * 9)
    sources.spec["poi"] = {"counts": "poi.csv", "region": "id"}
    with pytest.raises(UserError, match=r"negative or infinite counts: 1, such as -1 of 'shop' in 000"):
        sources.prepare()
    sources.csv("poi.csv", id=IDS, shop=[0] * 9, park=[1] * 9)
    assert "categories without a point in any region: shop" in notes(sources.prepare())


# Captions


def test_empty_unknown_and_repeated_captions_are_reported(full: Sources) -> None:
    full.csv("tiles.csv", id=[*IDS[:4], "x"], text=["same", "same", " ", None, "y"])
    city = full.prepare()
    assert city.captions("rsi")["text"].tolist() == ["same", "same"]
    assert dropped(city, "captions.rsi") == {"with an id that no region has": 1, "without a text": 2}
    assert "captions that repeat the text of another: 1" in notes(city)
    full.csv("tiles.csv", id=IDS[:2], text=[None, None])
    with pytest.raises(UserError, match=r"captions\.rsi\.text: every text"):
        full.prepare()


def test_captions_of_missing_images_are_refused(full: Sources) -> None:
    (full.folder / "texts.jsonl").write_text('{"image": "other.png", "text": "a"}')
    with pytest.raises(UserError, match=r"captions\.svi: no image in column 'image' is in a region"):
        full.prepare()


# Flows


def test_flows_are_summed_by_origin_and_destination(sources: Sources) -> None:
    rng = np.random.default_rng(0)
    start, end, trips = rng.integers(0, 9, 500), rng.integers(0, 9, 500), rng.integers(0, 5, 500)
    sources.csv("f.csv", o=[IDS[i] for i in start], d=[IDS[i] for i in end], n=trips)
    sources.spec["flows"] = {"file": "f.csv", "origin": "o", "destination": "d", "weight": "n"}
    expected = coo_array((trips.astype(float), (start, end)), shape=(9, 9)).toarray()
    np.testing.assert_array_equal(sources.prepare().flows().toarray(), expected)


def test_flows_between_points_are_summed_with_their_times(sources: Sources) -> None:
    x, y = [500, 500, 1500, 9999], [500, 500, 500, 500]
    lon, lat = lonlat(x, y)
    times = ["2024-01-01 08:05:00", "2024-01-01 08:55:00", "2024-01-07 23:59:59", "2024-01-01 00:00:00"]
    sources.csv("f.csv", olon=lon, olat=lat, dlon=lon[[2, 2, 0, 0]], dlat=lat[[2, 2, 0, 0]], when=times)
    sources.spec["flows"] = {
        "file": "f.csv", "origin_lon": "olon", "origin_lat": "olat", "destination_lon": "dlon",
        "destination_lat": "dlat", "time": "when",
    }  # fmt: skip
    city = sources.prepare()
    assert city.flows().toarray()[:2, :2].tolist() == [[0, 2], [1, 0]]
    assert city.flow_times().to_numpy().tolist() == [[0, 1, 0, 8, 2], [1, 0, 6, 23, 1]]
    assert dropped(city, "flows") == {"that start or end outside every region": 1}


def test_trips_without_usable_coordinates_are_counted_apart(sources: Sources) -> None:
    lon, lat = lonlat([500, 500, 500, 500, 99999], [500, 500, 500, 500, 500])
    texts = [*map(str, lon[:1]), "west", "inf", "", str(lon[4])]
    sources.csv("f.csv", a=texts, b=lat, c=lon.clip(None, lon[0]), d=[*lat[:3], lat[3], lat[4]])
    columns = {"origin_lon": "a", "origin_lat": "b", "destination_lon": "c", "destination_lat": "d"}
    sources.spec["flows"] = {"file": "f.csv", **columns}
    city = sources.prepare()
    assert city.flows().toarray()[0, 0] == 1
    expected = {"without a usable lon and lat at both ends": 3, "that start or end outside every region": 1}
    assert dropped(city, "flows") == expected


def test_flows_with_unknown_ids_are_reported_or_refused(sources: Sources) -> None:
    sources.csv("f.csv", o=["000", "x", "001"], d=["001", "000", "y"], n=[1, 2, 3])
    sources.spec["flows"] = {"file": "f.csv", "origin": "o", "destination": "d", "weight": "n"}
    city = sources.prepare()
    assert city.flows().sum() == 1
    assert dropped(city, "flows") == {"from or to an id that no region has": 2}
    assert "ids that match no region: x, y" in notes(city)
    sources.csv("f.csv", o=["x"], d=["y"], n=[1])
    with pytest.raises(UserError, match="matches a region; it holds x, y"):
        sources.prepare()


@pytest.mark.parametrize(
    ("weights", "says"),
    [([1, -2], "row 2 '-2'"), ([1, "many"], "row 2 'many'"), ([1, "inf"], "row 2 'inf'"), ([None, None], "no flow")],
)
def test_invalid_flow_weights_are_refused(sources: Sources, weights: list, says: str) -> None:
    sources.csv("f.csv", o=IDS[:2], d=IDS[:2], n=weights)
    sources.spec["flows"] = {"file": "f.csv", "origin": "o", "destination": "d", "weight": "n"}
    with pytest.raises(UserError, match=rf"flows\.weight: .*{says}"):
        sources.prepare()


def test_flow_weights_may_be_missing_and_times_must_be_valid(sources: Sources) -> None:
    sources.csv("f.csv", o=IDS[:3], d=IDS[:3], n=[1, "NA", ""])
    sources.spec["flows"] = {"file": "f.csv", "origin": "o", "destination": "d", "weight": "n"}
    city = sources.prepare()
    assert city.flows().sum() == 1 and dropped(city, "flows") == {"without a weight": 2}
    sources.csv("f.csv", o=IDS[:2], d=IDS[:2], n=[1, 2], t=["morning", "noon"])
    sources.spec["flows"] = {"file": "f.csv", "origin": "o", "destination": "d", "weight": "n", "time": "t"}
    with pytest.raises(UserError, match=r"flows\.time: 't' holds no times .* 'morning', 'noon'"):
        sources.prepare()


# Targets


def target(sources: Sources, values: list, **more: Any) -> Any:
    sources.csv("t.csv", id=IDS[: len(values)], value=values)
    sources.spec["targets"] = {"t": {"table": "t.csv", "region": "id", "column": "value", **more}}
    return sources.prepare()


def test_nan_is_missing_and_infinite_values_are_reported(sources: Sources) -> None:
    city = target(sources, [1, np.nan, np.inf, 4])
    np.testing.assert_array_equal(city.target("t").values, [1, np.nan, np.nan, 4] + [np.nan] * 5)
    assert "targets.t: infinite, taken as missing, in 002" in notes(city)


@pytest.mark.parametrize("values", [[np.nan] * 9, [np.inf] * 9])
def test_target_without_any_value_is_refused(sources: Sources, values: list) -> None:
    with pytest.raises(UserError, match=r"targets\.t: has no value in any region"):
        target(sources, values)


def test_classification_targets_keep_labels_as_text_and_report_rare_classes(sources: Sources) -> None:
    city = target(sources, [1, 1, 2, None, 3.0], kind="classification")
    assert city.target("t").values.tolist() == ["1", "1", "2", None, "3", None, None, None, None]
    assert "classes with one member, which no split can hold: '2', '3'" in notes(city)
    with pytest.raises(UserError, match="add `kind: classification`"):
        target(sources, ["a", "b"])
    assert "every region is 'a'" in notes(target(sources, ["a", "a"], kind="classification"))


def test_most_frequent_label_is_used_and_ties_are_resolved_alphabetically(sources: Sources) -> None:
    x = [500] * 3 + [1500] * 4 + [2500] + [9999]
    lon, lat = lonlat(x, [500] * 9)
    labels = ["b", "b", "a", "d", "c", "c", "d", "z", "a"]
    sources.csv("p.csv", lon=lon, lat=lat, use=labels)
    sources.spec["targets"] = {"use": {"points": "p.csv", "label": "use"}}
    city = sources.prepare()
    assert city.target("use").values.tolist() == ["b", "c", "z"] + [None] * 6
    assert "regions with a tie of labels, decided for the alphabet's first: 1" in notes(city)


def test_constant_runs_and_outliers_are_detected() -> None:
    rng = np.random.default_rng(0)
    values = rng.lognormal(size=1000)
    assert constant_runs(values) == [] and outliers(values) is None
    values[:50], values[50:90] = 10000.0, 0.0
    assert constant_runs(values) == [(10000.0, 50), (0.0, 40)]
    values[:90] = 1.0
    values[[7, 300]] = 5e4, 9e4
    who, rest = outliers(values)
    assert who.tolist() == [300, 7] and rest == np.sort(values)[-3]


# What looks like data and is not


def test_a_table_without_columns_leaves_row_numbers_aside(sources: Sources) -> None:
    frame = pd.DataFrame({"id": IDS, "cafe": range(9), "bar": [1, 2] * 4 + [3]})
    frame.to_csv(sources.folder / "t.csv")
    sources.spec |= {
        "tables": {"t": {"file": "t.csv", "region": "id"}},
        "poi": {"counts": "t.csv", "region": "id"},
    }
    city = sources.prepare()
    assert city.table("t")[1] == ["cafe", "bar"] and city.poi_counts()[1] == ["cafe", "bar"]
    assert "tables.t: a column without a name ('') is left aside" in notes(city)


def test_undeclared_missing_values_are_noted_and_declared_ones_masked(sources: Sources) -> None:
    sources.csv(
        "t.csv", id=IDS, income=[50, 60, -666666666, 70, 80, 90, 55, 65, 75], copy=[1.0, 2, 3, 4, 5, 6, 7, 8, 9]
    )
    sources.spec["tables"] = {"t": {"file": "t.csv", "region": "id"}}
    assert "'income': -666,666,666, 1 times, looks like an undeclared missing value" in notes(sources.prepare())
    sources.spec["tables"]["t"]["missing"] = [-666666666]
    sources.spec["targets"] = {"i": {"table": "t.csv", "region": "id", "column": "income", "missing": [-666666666]}}
    sources.spec["allow_leak"] = ["income"]
    city = sources.prepare()
    assert np.isnan(city.table("t")[0][2, 0]) and not city.target("i").present[2]
    assert "looks like" not in notes(city)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2, -9999], [-9999]),
        ([1, 2, -99999, -9999], [-99999, -9999]),
        ([100, 200, 32767], [32767]),
        ([-9999, -9998, -9997], []),
        ([-1000, 1000, -999], []),
        ([999, 1000, 1001], []),
        ([1, 2, -3.4e38], [-3.4e38]),
        ([5, 5, 5], []),
        ([0.1, 1e20], [1e20]),
    ],
)
def test_sentinels_are_values_far_from_all_other_numbers(values: list[float], expected: list[float]) -> None:
    assert [value for value, _ in sentinels(np.array(values, float))] == expected


def test_similar_classes_and_equal_columns_are_noted(sources: Sources) -> None:
    use = ["Park", "park", "park ", "shop", "shop", "shop", "caf\u00e9", "cafe\u0301", "NULL"]
    sources.csv("t.csv", id=IDS, use=use, a=range(9), b=range(9))
    sources.spec |= {
        "tables": {"t": {"file": "t.csv", "region": "id", "columns": ["a", "b"]}},
        "targets": {"u": {"table": "t.csv", "region": "id", "column": "use", "kind": "classification"}},
    }
    city = sources.prepare()
    assert "differ by case or spaces alone: 'Park' and 'park'" in notes(city)
    assert "'cafe\u0301' and 'caf\u00e9'" in notes(city) and "columns with the same values: 'a' and 'b'" in notes(city)
    assert city.target("u").values[8] is None


def test_class_codes_keep_all_digits(sources: Sources) -> None:
    cells = np.full((30, 30), 1234567, np.int32)
    cells[:, 15:] = 1234568
    write_raster(sources.folder / "use.tif", cells, north=NORTH + 3000)
    sources.spec["targets"] = {"u": {"raster": "use.tif", "statistic": "majority"}}
    assert set(sources.prepare().target("u").values) == {"1234567", "1234568"}


def test_ids_match_in_every_unicode_form_and_words_for_missing_are_no_ids() -> None:
    ids = RegionIds(["S\u00e3o", "NA", "x"])
    frame = pl.DataFrame({"id": ["Sa\u0303o", "S\u00e3o", "NA", "nan", None, "x"]})
    assert frame.select(ids.index("id", pl.String()))["id"].to_list() == [0, 0, 1, -1, -1, 2]
    assert frame.select(ids.text("id", pl.String()))["id"].null_count() == 2


def test_ids_that_differ_only_by_unicode_form_are_distinguished() -> None:
    ids, frame = RegionIds(["\u00e3", "a\u0303"]), pl.DataFrame({"id": ["a\u0303", "\u00e3"]})
    assert frame.select(ids.index("id", pl.String()))["id"].to_list() == [1, 0]


@pytest.mark.parametrize("values", [[["a"]] * 9, [{"a": 1}] * 9, [b"\xff"] * 9])
def test_columns_of_unexpected_types_are_reported_in_one_message(sources: Sources, values: list) -> None:
    pl.DataFrame({"id": IDS, "v": values}).write_parquet(sources.folder / "t.parquet")
    file = {"file": "t.parquet", "region": "id"}
    points = gpd.GeoDataFrame({"v": values}, geometry=squares(), crs=CRS)
    points.geometry = points.representative_point()
    points.to_parquet(sources.folder / "p.parquet")
    flows = {"file": "t.parquet", "origin": "id", "destination": "id"}
    for key, source in {
        "tables": {"t": file},
        "targets": {"t": {"table": "t.parquet", "region": "id", "column": "v", "kind": "classification"}},
        "captions": {"t": file | {"text": "v"}},
        "poi": {"points": "p.parquet", "category": "v"},
        "images": {"t": {"points": "p.parquet", "image": "v"}},
        "flows": flows | {"weight": "v", "destination": "v"},
    }.items():
        sources.spec = {"name": "small", "regions": sources.spec["regions"], key: source}
        with pytest.raises(UserError, match=rf"[tp]\.parquet: {key}.*'v' (must hold|holds).* (lists|records|bytes) \("):
            sources.prepare()


def test_rows_with_too_few_values_are_named_in_the_report(sources: Sources) -> None:
    (sources.folder / "t.csv").write_text("id,v,w\n000,1,2\n001\n002,3\n003,4,5\n")
    sources.spec["tables"] = {"t": {"file": "t.csv", "region": "id"}}
    city = sources.prepare()
    assert "rows of t.csv with fewer values than the header" in notes(city) and "2, such as row 2, row 3" in notes(city)


def test_features_that_are_no_points_are_noted(sources: Sources) -> None:
    west, east = squares()[0].centroid, squares()[1].centroid
    shapes = [west, MultiPoint([west]), MultiPoint([west, east]), squares()[0], LineString([west, east]), None, Point()]
    gpd.GeoDataFrame({"kind": list("aabbbcc")}, geometry=shapes, crs=CRS).to_file(sources.folder / "p.gpkg")
    sources.spec["poi"] = {"points": "p.gpkg", "category": "kind"}
    assert "poi: features of p.gpkg that are no points, each counted at one point of it: 3" in notes(sources.prepare())


def test_parsing_a_column_does_not_look_at_the_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    frame = pl.DataFrame({f"c{i}": ["1", "2"] for i in range(5)})
    widths: list[int] = []
    select = pl.DataFrame.select

    def counting_select(self: pl.DataFrame, *expressions: Any, **more: Any) -> pl.DataFrame:
        widths.append(self.width)
        return select(self, *expressions, **more)

    monkeypatch.setattr(pl.DataFrame, "select", counting_select)
    assert number_matrix(frame, frame.columns, tmp_path, "t").tolist() == [[1.0] * 5, [2.0] * 5]
    assert set(widths) == {1}
