"""Regions at 180 degrees, long edges, mixed geometries, local CRS, and metres that are not those on the ground."""

from pathlib import Path
from typing import Any

import geopandas as gpd
import h3
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
import yaml
from helpers.rasters import write_raster
from helpers.small_city import CRS, EAST, IDS, NORTH, Sources, centre, squares
from pyproj import Geod, Transformer
from rasterio.transform import from_origin

from urbankit import City
from urbankit.utils.errors import UserError

LOCAL = 'LOCAL_CS["site grid",UNIT["metre",1]]'
ENGINEERING = 'ENGCRS["plant",EDATUM["corner"],CS[Cartesian,2],AXIS["x",east],AXIS["y",north],LENGTHUNIT["metre",1]]'
GEOD = Geod(ellps="WGS84")


def prepare(folder: Path, **spec: Any) -> City:
    (folder / "city.yaml").write_text(yaml.safe_dump({"name": "c"} | spec))
    return City.prepare(folder / "city.yaml", out=folder / "out")


def notes(city: City) -> str:
    return "\n".join(note for _, note in city.report.suspicious)


def boxes(left: float, bottom: float, count: int, step: float = 0.01) -> list:
    return [shapely.box(left + i * step, bottom, left + (i + 1) * step, bottom + step) for i in range(count)]


def wrapped(shape: Any) -> Any:
    """Longitudes of -180 to 180, vertex by vertex."""
    return shapely.transform(shape, lambda xy: np.column_stack([(xy[:, 0] + 180) % 360 - 180, xy[:, 1]]))


@pytest.fixture
def at_180(tmp_path: Path) -> gpd.GeoDataFrame:
    """Ten regions in a row across 180 degrees; the middle of region 5 is on it."""
    shapes = boxes(180 - 0.055, -17, 10)
    frame = gpd.GeoDataFrame({"id": [*IDS, "009"]}, geometry=[wrapped(shape) for shape in shapes], crs=4326)
    frame.to_file(tmp_path / "r.gpkg")
    middles = np.array([shape.centroid.coords[0] for shape in shapes])
    # One point in each region, and others at the same latitude round the Earth.
    lon = np.append((middles[:, 0] + 180) % 360 - 180, np.linspace(-170, 170, 30))
    pd.DataFrame({"lon": lon, "lat": middles[0, 1], "kind": "shop"}).to_csv(tmp_path / "p.csv", index=False)
    return frame


def test_regions_at_180_degrees_keep_their_location(tmp_path: Path, at_180: gpd.GeoDataFrame) -> None:
    city = prepare(tmp_path, regions={"file": "r.gpkg", "id": "id"}, poi={"points": "p.csv", "category": "kind"})
    assert city.crs in ("EPSG:32701", "EPSG:32760")
    assert city.poi_counts()[0].toarray().ravel().tolist() == [1] * 10
    area = [abs(GEOD.geometry_area_perimeter(shape)[0]) / 1e6 for shape in boxes(0, -17, 10)]
    assert city.area_km2 == pytest.approx(area, rel=1e-3)
    assert np.ptp(city.xy[:, 0]) == pytest.approx(GEOD.inv(0, -17, 0.09, -17)[2], rel=2e-3)
    assert np.abs(city.lonlat[:, 0]).min() > 179.9


@pytest.mark.parametrize("left", [-180.0, 0.0, 179.5])
def test_a_raster_at_180_degrees_is_read_on_both_sides(tmp_path: Path, at_180: gpd.GeoDataFrame, left: float) -> None:
    """Its cells hold the distance in degrees from 180, to the east, of their middle."""
    width = 1000 if left == 179.5 else 360000
    profile = {"driver": "GTiff", "height": 20, "width": width, "count": 1, "dtype": "float32", "crs": 4326}
    east = left + 0.001 * (np.arange(width) + 0.5)
    cells = np.broadcast_to((east - 180 + 180) % 360 - 180, (1, 20, width)).astype(np.float32)
    options = {"transform": from_origin(left, -16.985, 0.001, 0.001), "tiled": True, "compress": "deflate"}
    with rasterio.open(tmp_path / "x.tif", "w", **profile, **options) as file:
        file.write(cells)
    city = prepare(
        tmp_path,
        regions={"file": "r.gpkg", "id": "id"},
        targets={"t": {"raster": "x.tif", "statistic": "mean"}},
        images={"i": {"mosaic": "x.tif", "extent_m": 900, "size": 9}},
    )
    east = np.arange(10) * 0.01 - 0.05
    assert city.target("t").values == pytest.approx(east, abs=1e-4)
    patches = city.images("i").read(np.arange(10))
    assert np.isfinite(patches).all() and patches.mean((1, 2, 3)) == pytest.approx(east, abs=5e-4)
    assert (np.diff(patches[:, 0], axis=2) > 0).all()  # to the east


def test_h3_cells_and_grids_cross_180_degrees(tmp_path: Path, at_180: gpd.GeoDataFrame) -> None:
    city = prepare(tmp_path, regions={"h3": {"resolution": 8, "covering": "r.gpkg"}})
    assert len(set(city.region_ids)) == city.n_regions and city.area_km2 == pytest.approx(city.area_km2.mean(), rel=0.1)
    expected = {h3.latlng_to_cell(lat, lon, 8) for lon, lat in city.lonlat}
    assert set(city.region_ids) == expected
    city = prepare(tmp_path, regions={"grid": {"size_m": 1000, "covering": "r.gpkg"}})
    assert 11 <= city.n_regions <= 36 and city.area_km2 == pytest.approx(1, rel=2e-3)


def test_longitudes_from_180_to_360_are_converted_to_west(sources: Sources) -> None:
    lon, lat = centre(4)
    sources.csv("p.csv", lon=[lon + 360, lon], lat=[lat, lat], kind=["a", "a"])
    sources.spec["poi"] = {"points": "p.csv", "category": "kind"}
    assert sources.prepare().poi_counts()[0].toarray().ravel().tolist() == [0, 0, 0, 0, 2, 0, 0, 0, 0]


def test_points_near_a_long_edge_get_the_region_of_the_file(tmp_path: Path) -> None:
    """The edge follows a parallel; in UTM its ends alone would be joined 60 m away."""
    south, north = shapely.box(26, 60, 26.7, 60.05), shapely.box(26, 60.05, 26.7, 60.1)
    gpd.GeoDataFrame({"id": ["s", "n"]}, geometry=[south, north], crs=4326).to_file(tmp_path / "r.gpkg")
    lon = np.tile(np.linspace(26.01, 26.69, 100), 2)
    lat = np.repeat([60.05 - 1e-4, 60.05 + 1e-4], 100)  # 11 m from the edge
    kind = np.repeat(["cafe", "bar"], 100)
    pd.DataFrame({"lon": lon, "lat": lat, "kind": kind}).to_csv(tmp_path / "p.csv", index=False)
    cells = np.repeat(np.where(np.arange(100) < 50, 1.0, 2.0), 700).reshape(1, 100, 700).astype("float32")
    profile = {"driver": "GTiff", "height": 100, "width": 700, "count": 1, "dtype": "float32", "crs": 4326}
    with rasterio.open(tmp_path / "x.tif", "w", **profile, transform=from_origin(26, 60.1, 0.001, 0.001)) as file:
        file.write(cells)
    for crs in (None, "EPSG:32635", "EPSG:3067", "EPSG:3857"):
        city = prepare(
            tmp_path,
            crs=crs,
            regions={"file": "r.gpkg", "id": "id"},
            poi={"points": "p.csv", "category": "kind"},
            targets={"t": {"raster": "x.tif", "statistic": "mean"}},
        )
        assert city.poi_counts()[0].toarray().tolist() == [[0, 100], [100, 0]]
        assert city.target("t").values == pytest.approx([2, 1], abs=1e-3)
        assert not [note for note in notes(city).splitlines() if "overlap" in note and "slivers" not in note]


def test_cells_of_a_boundary_in_several_parts_are_not_repeated(tmp_path: Path) -> None:
    parts = [shapely.box(-74, 40.7, -73.99, 40.71), shapely.box(-73.9899, 40.7, -73.98, 40.71)]
    for shapes in ([shapely.MultiPolygon(parts)], parts, [shapely.GeometryCollection([*parts, shapely.Point(0, 0)])]):
        gpd.GeoDataFrame(geometry=shapes, crs=4326).to_file(tmp_path / "b.gpkg")
        for regions in ({"h3": {"resolution": 8}}, {"grid": {"size_m": 300}}):
            for settings in regions.values():
                settings["covering"] = "b.gpkg"
            city = prepare(tmp_path, regions=regions)
            assert len(set(city.region_ids)) == city.n_regions > 3
            assert "overlap" not in notes(city)


def test_only_polygons_of_mixed_geometries_are_used(sources: Sources) -> None:
    shapes: list[Any] = squares()
    line = shapely.LineString([(EAST, NORTH), (EAST - 5000, NORTH)])
    shapes[0] = shapely.GeometryCollection([shapes[0], line])
    shapes[1] = shapely.GeometryCollection([shapely.GeometryCollection([shapely.MultiPolygon([shapes[1]])]), line])
    shapes[2] = shapely.force_3d(shapes[2], 7)
    write_raster(sources.folder / "x.tif", np.full((30, 30), 7, np.float32), north=NORTH + 3000)
    sources.spec["targets"] = {"t": {"raster": "x.tif", "statistic": "mean"}}
    sources.regions(shapes=shapes)
    city = sources.prepare()
    assert city.area_km2 == pytest.approx(np.ones(9), rel=2e-3)
    assert city.target("t").values == pytest.approx(7) and "left out: 000, 001" in notes(city)
    shapes[3:6] = [line, None, shapely.GeometryCollection([line])]
    sources.regions(shapes=shapes)
    with pytest.raises(UserError, match="003, 005"):
        sources.prepare()


def test_only_polygons_of_a_covering_are_used(sources: Sources) -> None:
    line = shapely.LineString([(EAST, NORTH), (EAST + 90_000, NORTH)])
    mixed = [shapely.GeometryCollection([squares()[0].buffer(-100), line]), line, None, shapely.Point(EAST, NORTH)]
    gpd.GeoDataFrame(geometry=mixed, crs=CRS).to_file(sources.folder / "b.gpkg")
    sources.spec["regions"] = {"grid": {"size_m": 1000, "covering": "b.gpkg"}}
    city = sources.prepare()
    assert city.n_regions == 1 and "not only polygons; other geometries are ignored: 4" in notes(city)
    gpd.GeoDataFrame(geometry=[line, None], crs=CRS).to_file(sources.folder / "b.gpkg")
    with pytest.raises(UserError, match=r"b\.gpkg: .*holds no polygons"):
        sources.prepare()


def test_polygons_and_multipoints_of_a_point_file_are_counted(sources: Sources) -> None:
    shapes = [squares()[4], shapely.MultiPoint([squares()[4].centroid]), None, shapely.force_3d(squares()[4].centroid)]
    gpd.GeoDataFrame({"kind": ["a"] * 4}, geometry=shapes, crs=CRS).to_file(sources.folder / "p.gpkg")
    sources.spec["poi"] = {"points": "p.gpkg", "category": "kind"}
    assert sources.prepare().poi_counts()[0].sum() == 3


@pytest.mark.parametrize("local", [LOCAL, ENGINEERING])
def test_local_crs_is_refused_unless_another_is_declared(sources: Sources, local: str) -> None:
    sources.regions(crs=local)
    with pytest.raises(UserError, match=r"regions\.gpkg: regions: is in .*declare the CRS"):
        sources.prepare()
    sources.spec["regions"]["crs"] = CRS
    write_raster(sources.folder / "x.tif", np.full((30, 30), 7, np.float32), north=NORTH + 3000, crs=LOCAL)
    layers: list[dict[str, Any]] = [
        {"targets": {"t": {"raster": "x.tif", "statistic": "mean"}}},
        {"images": {"t": {"mosaic": "x.tif", "size": 4}}},
    ]
    for layer in layers:
        sources.spec |= layer
        with pytest.raises(UserError, match=r"x\.tif: .*is in 'site grid'.*declare the CRS"):
            sources.prepare()
        for settings in layer.values():
            settings["t"]["crs"] = CRS
    city = sources.prepare()
    assert city.target("t").values == pytest.approx(7) and (city.images("t").read(np.arange(9)) == 7).all()
    sources.spec["targets"]["t"]["crs"] = LOCAL
    with pytest.raises(UserError, match="has no place on Earth"):
        sources.prepare()


@pytest.mark.parametrize("crs", ["EPSG:3857", "EPSG:6933", "EPSG:32637"])
def test_distances_are_in_metres_on_the_ground_in_every_crs(tmp_path: Path, crs: str) -> None:
    """At 60 degrees north a metre of EPSG:3857 is half a metre; the last CRS is a zone 12 degrees away."""
    gpd.GeoDataFrame({"id": IDS}, geometry=boxes(27, 60, 9, 0.02), crs=4326).to_file(tmp_path / "r.gpkg")
    east, north = Transformer.from_crs(4326, 32635, always_xy=True).transform(27, 60)
    cells = np.broadcast_to(10.0 * np.arange(1400), (500, 1400)).astype(np.float32)
    profile = {"transform": from_origin(east - 1000, north + 4000, 10, 10), "crs": "EPSG:32635"}
    write_raster(tmp_path / "x.tif", cells, **profile)
    images = {"i": {"mosaic": "x.tif", "extent_m": 1000, "size": 10}}
    city = prepare(tmp_path, crs=crs, regions={"file": "r.gpkg", "id": "id"}, images=images)
    patch = city.images("i").read(np.arange(1, 5))[:, 0]
    across = np.hypot(patch[:, 5, 9] - patch[:, 5, 0], patch[:, 9, 5] - patch[:, 0, 5])
    assert across == pytest.approx(900, rel=0.02)
    true = [GEOD.inv(*city.lonlat[0], *city.lonlat[i])[2] for i in range(9)]
    assert np.hypot(*(city.xy - city.xy[0]).T) == pytest.approx(true, rel=0.01)
    assert city.area_km2.sum() == pytest.approx(
        9 * abs(GEOD.geometry_area_perimeter(boxes(27, 60, 1, 0.02)[0])[0]) / 1e6
    )


def test_too_many_cells_are_refused_before_they_are_made(tmp_path: Path) -> None:
    sliver = shapely.Polygon([(0, 0), (30, 30), (30.0000001, 30)])
    gpd.GeoDataFrame(geometry=[sliver], crs=4326).to_file(tmp_path / "b.gpkg")
    with pytest.raises(UserError, match="would make about"):
        prepare(tmp_path, regions={"h3": {"resolution": 15, "covering": "b.gpkg"}})
    with pytest.raises(UserError, match="cells, more than"):
        prepare(tmp_path, regions={"grid": {"size_m": 0.001, "covering": "b.gpkg"}})
    enormous = shapely.box(0, 0, 1e20, 1e20)
    gpd.GeoDataFrame({"id": ["a"]}, geometry=[enormous], crs="EPSG:32631").to_file(tmp_path / "b.gpkg")
    for regions in ({"file": "b.gpkg", "id": "id"}, {"h3": {"resolution": 8, "covering": "b.gpkg"}}):
        with pytest.raises(UserError):
            prepare(tmp_path, regions=regions)


def test_named_index_of_geoparquet_is_read_as_a_column(sources: Sources) -> None:
    frame = gpd.GeoDataFrame(geometry=squares(), index=pd.Index(IDS, name="region_id"), crs=CRS)
    frame.to_parquet(sources.folder / "r.parquet")
    sources.spec["regions"] = {"file": "r.parquet", "id": "region_id"}
    assert sources.prepare().region_ids == IDS


def test_layer_must_be_named_for_vector_files_with_several(sources: Sources) -> None:
    points = gpd.GeoDataFrame({"kind": ["a"] * 9}, geometry=[s.centroid for s in squares()], crs=CRS)
    for layer, frame in {"here": points, "nowhere": points.iloc[:1]}.items():
        frame.to_file(sources.folder / "osm.gpkg", layer=layer)
    source = {"points": "osm.gpkg", "category": "kind"}
    label = {"points": "osm.gpkg", "label": "kind"}
    with pytest.raises(UserError, match="name one as `layer`: here, nowhere"):
        sources.spec["poi"] = source
        sources.prepare()
    sources.spec |= {"poi": source | {"layer": "here"}, "targets": {"t": label | {"layer": "here"}}}
    city = sources.prepare()
    assert city.poi_counts()[0].sum() == 9 and (city.target("t").values == "a").all()
