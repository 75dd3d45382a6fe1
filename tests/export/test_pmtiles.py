"""Vector tiles, read back tile by tile."""

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
from helpers.small_run import ODD, squares
from pyproj import CRS
from shapely.geometry import box

from urbankit import UserError
from urbankit.export.pmtiles import SIDE_UNITS, PMTiles
from urbankit.export.tables import ExportTable


def test_the_highest_zoom_holds_every_region_with_its_shape_and_columns(make_run) -> None:
    run = make_run()
    written = run.export("pmtiles")
    assert [path.name for path, _ in written] == ["embeddings.pmtiles", "predictions.pmtiles"]
    tiles = gpd.read_file(written[0].path)  # GDAL reads the highest zoom: one feature for each region and tile
    assert sorted(set(tiles["region_id"])) == sorted(ODD) and tiles.crs == "EPSG:3857"
    whole = tiles.dissolve("region_id").reindex(ODD)
    np.testing.assert_allclose(whole[[f"e{i}" for i in range(5)]].to_numpy(np.float32), run.vectors)
    expected = squares().to_crs("EPSG:3857").set_index("region_id").geometry
    # One step of coordinates is 1/256 of the side of a region or less.
    away = whole.geometry.hausdorff_distance(expected.reindex(ODD))
    assert (away < 2 * np.sqrt(expected.area.median()) / SIDE_UNITS).all()
    labels = gpd.read_file(written[1].path).dissolve("region_id")
    assert labels.loc["a,b", "use_truth"] == "x|y"
    info = pyogrio.read_info(written[0].path)["dataset_metadata"]
    assert info["name"] == "embeddings" and info["minzoom"] == "0"
    assert f"zoom 0 to {info['maxzoom']}" in written[0].notes[0]


def test_many_dimensions_are_complete_where_all_regions_are_in_one_tile(tmp_path) -> None:
    n, side = 20, 300.0
    cells = [box(x * side, y * side, (x + 1) * side, (y + 1) * side) for x in range(n) for y in range(n)]
    shapes = gpd.GeoSeries(cells, crs="EPSG:32631").translate(500_000, 5_000_000)
    columns = np.random.default_rng(0).normal(size=(n * n, 128)).astype(np.float32)
    frame = gpd.GeoDataFrame(columns, columns=[f"e{i:03d}" for i in range(128)], geometry=shapes)
    frame.insert(0, "region_id", [f"r{i}" for i in range(n * n)])
    notes = PMTiles(None).write(ExportTable("embeddings", frame), [tmp_path / "embeddings.pmtiles"])
    assert len(notes) == 1, "no region is missing"
    for zoom in (8, 10):
        tiles = pyogrio.read_dataframe(tmp_path / "embeddings.pmtiles", ZOOM_LEVEL=zoom, columns=["region_id"])
        assert tiles["region_id"].nunique() == n * n


def test_regions_across_180_degrees_are_cut_there(tmp_path) -> None:
    shapes = gpd.GeoSeries([box(179.98, 0, 180.02, 0.04), box(179.94, 0, 179.98, 0.04)], crs=4326)
    frame = gpd.GeoDataFrame({"region_id": ["across", "beside"], "e0": np.float32([1, 2])}, geometry=shapes)
    PMTiles(None).write(ExportTable("embeddings", frame), [tmp_path / "embeddings.pmtiles"])
    tiles = gpd.read_file(tmp_path / "embeddings.pmtiles")
    across = tiles[tiles["region_id"] == "across"]
    side = 0.04 * 20_037_508 / 180  # at the equator
    assert across.area.sum() == pytest.approx(side**2, rel=0.05)
    assert across.bounds["minx"].min() == pytest.approx(-20_037_508, abs=100)


def test_regions_that_no_tile_shows_are_named(tmp_path) -> None:
    sizes = [0.1] * 3 + [1e-9]
    shapes = gpd.GeoSeries([box(i, 0, i + size, size) for i, size in enumerate(sizes)], crs=4326)
    frame = gpd.GeoDataFrame({"region_id": list("abcd"), "e0": np.float32(sizes)}, geometry=shapes)
    notes = PMTiles(None).write(ExportTable("embeddings", frame), [tmp_path / "embeddings.pmtiles"])
    assert "regions that no tile shows: d" in notes


def test_regions_without_a_crs_and_an_old_gdal_are_refused(make_run, monkeypatch) -> None:
    run = make_run(squares().set_crs(None, allow_override=True))
    with pytest.raises(UserError, match=r"embeddings\.pmtiles: the run's regions have no CRS, which vector tiles need"):
        run.export("pmtiles")
    monkeypatch.setattr(pyogrio, "list_drivers", lambda **options: {"GPKG": "rw"})
    with pytest.raises(UserError, match="cannot write PMTiles; run `pip install --upgrade pyogrio`"):
        make_run(name="old").export("pmtiles")
    assert not (run.path / "export").exists()


def test_a_requested_crs_makes_no_difference(make_run) -> None:
    run = make_run()
    [(path, _)] = run.export("pmtiles", what="embeddings", crs=CRS.from_epsg(4326))
    assert gpd.read_file(path).crs == "EPSG:3857"
