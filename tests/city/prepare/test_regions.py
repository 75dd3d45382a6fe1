"""Regions from polygons, grids and H3, and what can be wrong with them."""

import os
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import shapely
from helpers.rasters import write_raster
from helpers.small_city import CRS, EAST, IDS, NORTH, Sources, squares
from pyproj import Geod
from shapely.geometry import LineString, Polygon, box

from urbankit.utils.errors import UserError


def notes(sources: Sources) -> str:
    return "\n".join(note for _, note in sources.prepare().report.suspicious)


@pytest.mark.parametrize("file", ["r.gpkg", "r.shp", "r.geojson", "r.parquet"])
def test_every_polygon_format_gives_the_same_regions(sources: Sources, file: str) -> None:
    frame = gpd.GeoDataFrame({"id": IDS}, geometry=squares(), crs=CRS)
    path = sources.folder / file
    if file == "r.parquet":
        frame.to_parquet(path)
    else:
        frame.to_crs("EPSG:4326").to_file(path)
    sources.spec["regions"]["file"] = file
    city = sources.prepare()
    assert city.region_ids == IDS
    assert city.xy == pytest.approx(np.array([s.centroid.coords[0] for s in squares()]), abs=0.01)


def test_area_is_on_the_ellipsoid(sources: Sources) -> None:
    city = sources.prepare()
    shape = city.regions.to_crs("EPSG:4326").geometry[3]
    by_geod = abs(Geod(ellps="WGS84").geometry_area_perimeter(shapely.segmentize(shape, 0.001))[0]) / 1e6
    assert city.area_km2[3] == pytest.approx(by_geod, rel=1e-4)


@pytest.mark.parametrize(
    ("ids", "text"),
    [([36061000100 + i for i in range(9)], "36061000100"), ([float(i) for i in range(9)], "0"), (IDS, "000")],
)
def test_ids_are_read_as_text(sources: Sources, ids: Any, text: str) -> None:
    sources.regions(ids=ids)
    assert sources.prepare().region_ids[0] == text


def test_crs_of_the_spec_is_used(sources: Sources) -> None:
    sources.spec["crs"] = "EPSG:3857"
    city = sources.prepare()
    assert city.crs == "EPSG:3857"
    assert city.area_km2 == pytest.approx(np.ones(9), rel=2e-3)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"ids": [*IDS[:8], None]}, "regions without an id: row 9"),
        ({"ids": [*IDS[:8], "000"]}, "ids that occur more than once: 000"),
        ({"shapes": [*squares()[:8], None]}, "no geometry: 008"),
        ({"shapes": [*squares()[:8], LineString([(EAST, NORTH), (EAST + 1, NORTH)])]}, "not a polygon: 008"),
        ({"shapes": [*squares()[:8], Polygon([(EAST, NORTH), (EAST + 9, NORTH), (EAST, NORTH)])]}, "without area: 008"),
        ({"ids": [], "shapes": []}, "no features"),
    ],
)
def test_unusable_regions_are_refused(sources: Sources, change: dict[str, Any], says: str) -> None:
    sources.regions(**change)
    with pytest.raises(UserError, match=says):
        sources.prepare()
    assert not sources.out.exists()


def test_missing_id_column_is_refused_with_a_suggestion(sources: Sources) -> None:
    sources.spec["regions"]["id"] = "idd"
    with pytest.raises(UserError, match=r"regions\.id: there is no column 'idd'\. Did you mean 'id'"):
        sources.prepare()


def test_missing_crs_and_other_crs_than_declared_are_refused(sources: Sources) -> None:
    sources.spec["regions"]["crs"] = "EPSG:4326"
    with pytest.raises(UserError, match=r"is in EPSG:32618, but EPSG:4326 is declared"):
        sources.prepare()
    sources.regions("bare.shp", crs=None)
    sources.spec["regions"] = {"file": "bare.shp", "id": "id"}
    with pytest.raises(UserError, match="has no CRS"):
        sources.prepare()
    sources.spec["regions"]["crs"] = CRS
    assert sources.prepare().crs == CRS
    sources.spec["regions"]["crs"] = "EPSG:4326"
    with pytest.raises(UserError, match="coordinates"):
        sources.prepare()
    sources.regions("wrong.gpkg", crs="EPSG:4326")
    sources.spec["regions"] = {"file": "wrong.gpkg", "id": "id"}
    with pytest.raises(UserError, match="they are in another CRS"):
        sources.prepare()


def test_truncated_files_and_several_layers_without_a_name_are_refused(sources: Sources) -> None:
    path = sources.folder / "regions.gpkg"
    gpd.read_file(path).to_file(path, layer="second")
    with pytest.raises(UserError, match=r"several layers.*second"):
        sources.prepare()
    sources.spec["regions"]["layer"] = "second"
    assert sources.prepare().n_regions == 9
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UserError, match="truncated"):
        sources.prepare()


def test_invalid_polygons_are_repaired_and_overlaps_reported(sources: Sources) -> None:
    x, y = EAST + 3000, NORTH
    bowtie = Polygon([(x, y), (x + 1000, y + 1000), (x + 1000, y), (x, y + 1000)])
    sources.regions(shapes=[*squares()[:8], bowtie])
    city = sources.prepare()
    assert city.area_km2[8] == pytest.approx(0.5, rel=2e-3)
    assert "invalid polygons, repaired: 008" in notes(sources)
    sources.regions(shapes=[*squares()[:8], box(EAST, NORTH, EAST + 500, NORTH + 1000)])
    assert "regions that overlap: 000 and 008 by 100.0%" in notes(sources)


def test_a_grid_over_a_raster_keeps_cells_with_a_valid_value(sources: Sources) -> None:
    values = np.ones((30, 30), np.float32)
    values[:, 12:] = -9999
    write_raster(sources.folder / "area.tif", values, north=NORTH + 3000, nodata=-9999)
    sources.spec = {"name": "grid", "crs": CRS, "regions": {"grid": {"size_m": 500, "covering": "area.tif"}}}
    city = sources.prepare()
    assert city.n_regions == 3 * 6
    assert city.xy[0] == pytest.approx([EAST + 250, NORTH + 250])
    assert city.region_ids[:2] == ["1000_9000", "1001_9000"]


def test_a_grid_over_polygons_keeps_cells_that_intersect(sources: Sources) -> None:
    shape = Polygon([(EAST + 10, NORTH + 10), (EAST + 2990, NORTH + 10), (EAST + 10, NORTH + 2990)])
    sources.regions("area.gpkg", ids=["a"], shapes=[shape])
    sources.spec = {"name": "grid", "crs": CRS, "regions": {"grid": {"size_m": 1000, "covering": "area.gpkg"}}}
    city = sources.prepare()
    assert city.n_regions == sum(cell.intersects(shape) for cell in squares())
    sources.spec["regions"]["grid"]["size_m"] = 0.5
    with pytest.raises(UserError, match=r"regions\.grid\.size_m: 0\.5 m would make"):
        sources.prepare()


def test_h3_cells_cover_the_regions(sources: Sources) -> None:
    import h3

    sources.spec = {"name": "hex", "regions": {"h3": {"resolution": 8, "covering": "regions.gpkg"}}}
    city = sources.prepare()
    area = gpd.GeoSeries(squares(), crs=CRS).to_crs("EPSG:4326").union_all()
    assert h3.latlng_to_cell(area.centroid.y, area.centroid.x, 8) in city.region_ids
    assert city.regions.to_crs("EPSG:4326").union_all().buffer(1e-9).covers(area)
    assert city.area_km2.sum() == pytest.approx(sum(h3.cell_area(cell, "km^2") for cell in city.region_ids), rel=0.01)


def test_ids_that_are_geometries_or_records_are_refused(sources: Sources) -> None:
    frame = gpd.GeoDataFrame({"place": squares()}, geometry=squares(), crs=CRS)
    frame["place"] = gpd.GeoSeries(squares(), crs=CRS)
    frame.to_parquet(sources.folder / "r.parquet")
    sources.spec["regions"] = {"file": "r.parquet", "id": "place"}
    with pytest.raises(UserError, match="'place' must hold text or numbers, but holds geometries"):
        sources.prepare()
    records = gpd.GeoDataFrame({"place": [{"a": i} for i in range(9)]}, geometry=squares(), crs=CRS)
    records.to_parquet(sources.folder / "r.parquet")
    with pytest.raises(UserError, match="'place' must hold text or numbers, one value for each row, but holds records"):
        sources.prepare()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes")
def test_links_that_lead_nowhere_and_pipes_are_named(sources: Sources) -> None:
    (sources.folder / "loop.csv").symlink_to("loop.csv")
    os.mkfifo(sources.folder / "pipe.csv")
    tables = {"a": {"file": "loop.csv", "region": "id"}, "b": {"file": "pipe.csv", "region": "id"}}
    sources.spec["tables"] = tables
    with pytest.raises(UserError, match=r"symbolic link to loop\.csv(.|\n)*no regular file but a pipe"):
        sources.prepare()


def test_regions_whose_area_cannot_be_measured_are_refused(sources: Sources) -> None:
    shapes = [box(-180, -90, 180, 90), box(0, 0, 1, 1)]
    sources.regions("world.geojson", ids=["a", "b"], shapes=shapes, crs="EPSG:4326")
    sources.spec["regions"]["file"] = "world.geojson"
    with pytest.raises(UserError, match="regions whose area cannot be measured: a"):
        sources.prepare()
