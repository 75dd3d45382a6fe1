"""Image sources: where patches lie, which region an image belongs to, what is stored and read back."""

from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from helpers.rasters import EAST, NORTH, UTM, write_raster
from PIL import Image
from pyproj import Transformer
from rasterio.transform import from_origin

from urbankit.city.files import CityFiles
from urbankit.city.image_source import ImageSource
from urbankit.city.io.shards import ShardReader, write_shards
from urbankit.city.manifest import file_checks
from urbankit.city.prepare.context import Context
from urbankit.city.prepare.images import build_images
from urbankit.city.report import SourceReport
from urbankit.city.spec import MosaicImages, PointImages, RegionImages
from urbankit.utils.errors import Problems, UserError


def squares(centres: list[tuple[float, float]], side: float = 200.0) -> gpd.GeoDataFrame:
    """Square regions, their centres in metres east and south of (EAST, NORTH)."""
    shapes = [
        shapely.box(EAST + x - side / 2, NORTH - y - side / 2, EAST + x + side / 2, NORTH - y + side / 2)
        for x, y in centres
    ]
    return gpd.GeoDataFrame({"region_id": [f"r{i}" for i in range(len(shapes))]}, geometry=shapes, crs=UTM)


def raster(path: Path, cells: np.ndarray, cell: float = 10.0, **options: Any) -> None:
    write_raster(path, cells, cell, **options)


def prepare(spec: Any, regions: gpd.GeoDataFrame, data: Path) -> tuple[ImageSource, dict[str, Any]]:
    problems, context = Problems(), Context(data, data.parent / f"{data.name}-prepared", built_regions=regions)
    with problems.collect("images.rsi"):
        entry = build_images(spec, context, SourceReport("images.rsi")).entry["image"]
    problems.raise_if_any()
    return opened(context, entry), entry


def opened(context: Context, entry: dict[str, Any]) -> ImageSource:
    checks = context.staging.checks()
    context.staging.commit()
    return ImageSource.open(CityFiles(context.out, checks), entry)


def failure(spec: Any, regions: gpd.GeoDataFrame, data: Path) -> UserError:
    with pytest.raises(UserError) as error:
        prepare(spec, regions, data)
    out = data.parent / f"{data.name}-prepared" / "images/rsi"
    assert not out.exists() or not list(out.iterdir()), "something was left behind"
    assert all("images.rsi" in str(problem) for problem in error.value.problems)
    return error.value


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def test_patch_on_the_grid_of_the_mosaic_equals_its_cells(data: Path) -> None:
    cells = np.random.default_rng(0).integers(0, 255, (3, 60, 80), np.uint8)
    raster(data / "rgb.tif", cells)
    source, entry = prepare(
        MosaicImages(mosaic="rgb.tif", extent_m=160, size=16), squares([(400, 300), (200, 120)]), data
    )
    assert (source.dtype, source.bands, source.size, len(source)) == ("uint8", 3, (16, 16), 2)
    images = source.read(np.array([0, 1]))
    assert np.array_equal(images[0], cells[:, 22:38, 32:48])
    assert np.array_equal(images[1], cells[:, 4:20, 12:28])
    assert entry["band_names"] == ["rgb:1", "rgb:2", "rgb:3"] and entry["regions"] == 2
    np.testing.assert_allclose(source.band_mean, images.mean((0, 2, 3)) / 255)
    np.testing.assert_allclose(source.band_std, (images / 255).std((0, 2, 3)))


def test_finer_cells_are_averaged(data: Path) -> None:
    cells = np.random.default_rng(0).random((1, 640, 640)).astype(np.float32)
    raster(data / "a.tif", cells, 1.0)
    source, _ = prepare(MosaicImages(mosaic="a.tif", extent_m=512, size=8), squares([(320, 320)]), data)
    mean = cells[0, 64:576, 64:576].reshape(8, 64, 8, 64).mean((1, 3))
    assert np.abs(source.read(np.array([0]))[0, 0] - mean).max() < 0.03


def test_mosaic_in_another_crs_gives_the_value_at_every_pixel(data: Path) -> None:
    """Longitude and latitude stored as bands come out as those of each pixel's centre: north up, not mirrored."""
    to_degrees = Transformer.from_crs(UTM, "EPSG:4326", always_xy=True)
    west, north = to_degrees.transform(EAST, NORTH)
    step = 1e-4
    lon, lat = np.meshgrid(west - 0.01 + step * (np.arange(400) + 0.5), north + 0.01 - step * (np.arange(400) + 0.5))
    grid = {"crs": "EPSG:4326", "transform": from_origin(west - 0.01, north + 0.01, step, step)}
    raster(data / "place.tif", np.stack([lon - west, lat - north]).astype(np.float32), **grid)
    source, _ = prepare(MosaicImages(mosaic="place.tif", extent_m=900, size=(12, 18)), squares([(700, 800)]), data)
    x = EAST + 700 - 450 + (np.arange(18) + 0.5) * 50
    y = NORTH - 800 + 450 - (np.arange(12) + 0.5) * 75
    expected = np.stack(to_degrees.transform(*np.meshgrid(x, y)))
    patch = source.read(np.array([0]))[0]
    assert np.abs(patch[0] - (expected[0] - west)).max() < 0.2 * step
    assert np.abs(patch[1] - (expected[1] - north)).max() < 0.2 * step
    assert (np.diff(patch[0], axis=1) > 0).all() and (np.diff(patch[1], axis=0) < 0).all()


def test_bands_of_several_files_keep_their_missing_cells(data: Path) -> None:
    a, b = np.ones((2, 40, 40), np.float32), np.full((1, 20, 20), 5, np.int16)
    a[0, :, :20] = -9999
    b[0, :10] = 0
    raster(data / "a.tif", a, nodata=-9999)
    raster(data / "b.tif", b, 20.0, nodata=0)
    spec = MosaicImages(mosaic=["a.tif", "b.tif"], bands=[3, 1, 2], extent_m=400, size=40)
    source, entry = prepare(spec, squares([(200, 200)]), data)
    patch = source.read(np.array([0]))[0]
    assert entry["band_names"] == ["b:1", "a:1", "a:2"] and source.dtype == "float32"
    missing = np.isnan(patch)
    assert missing[0, :19].all() and not missing[0, 20:].any()
    assert missing[1, :, :19].all() and not missing[1, :, 20:].any()
    assert not missing[2].any()
    np.testing.assert_allclose(source.band_mean, [5, 1, 1], rtol=1e-6)
    np.testing.assert_allclose(source.band_std, 0, atol=1e-6)


def test_patch_without_a_valid_pixel_is_absent_and_patch_over_the_edge_is_not(data: Path) -> None:
    raster(data / "a.tif", np.full((1, 40, 40), 200, np.uint8))
    spec = MosaicImages(mosaic="a.tif", extent_m=200, size=10)
    source, entry = prepare(spec, squares([(5000, 0), (0, 200), (200, 200)]), data)
    assert source.region.tolist() == [1, 2] and source.image_ids == ["r1", "r2"]
    assert entry["dropped"] == {"no valid pixel": 1}
    edge = source.read(np.array([0]))[0, 0]
    assert (edge[:, :4] == 0).all() and (edge[:, 6:] == 200).all()
    assert source.band_mean[0] == pytest.approx(200 / 255) and source.band_std[0] == pytest.approx(0)


def test_patch_is_as_wide_as_a_median_region_by_default(data: Path) -> None:
    raster(data / "a.tif", np.arange(1600, dtype=np.float32).reshape(1, 40, 40))
    regions = squares([(200, 200), (200, 200), (200, 200)], side=100)
    default, _ = prepare(MosaicImages(mosaic="a.tif", size=10), regions, data)
    explicit, _ = prepare(MosaicImages(mosaic="a.tif", size=10, extent_m=100), regions, data)
    assert default.content_hash == explicit.content_hash


def test_alpha_band_is_used_as_a_mask(data: Path) -> None:
    cells = np.full((4, 40, 40), 90, np.uint8)
    cells[3, :, :20] = 0
    cells[3, :, 20:] = 255
    raster(data / "a.tif", cells, photometric="RGB", alpha="yes")
    source, _ = prepare(MosaicImages(mosaic="a.tif", extent_m=400, size=40), squares([(200, 200)]), data)
    patch = source.read(np.array([0]))[0]
    assert source.bands == 3 and (patch[:, :, :19] == 0).all() and (patch[:, :, 20:] == 90).all()


def test_regions_without_a_picture_stay_without(data: Path) -> None:
    (data / "tiles").mkdir()
    for i in (0, 2):
        Image.new("RGB", (20, 30), (i * 100, 0, 7)).save(data / f"tiles/r{i}.png")
    regions = squares([(0, 0), (300, 0), (600, 0)])
    source, entry = prepare(RegionImages(files="tiles/{region_id}.png", size=8), regions, data)
    assert source.region.tolist() == [0, 2] and (entry["rows"], entry["images"]) == (3, 2)
    assert source.read(np.array([1, 0]))[:, :, 0, 0].tolist() == [[200, 0, 7], [0, 0, 7]]
    expected = regions.geometry.centroid.to_crs("EPSG:4326")
    np.testing.assert_allclose(source.lonlat, np.stack([expected.x, expected.y], 1)[[0, 2]])


@pytest.fixture
def street(data: Path) -> Path:
    """Six images in three regions, of which regions 0 and 1 overlap, and rows that cannot be used."""
    rows = [
        ("c.png", 600, 0), ("a.png", 0, 0), ("b.png", 90, 0), ("d.png", 610, 10), ("far.png", 5000, 0),
        ("a.png", 600, 0), ("", 0, 0), ("e.png", np.nan, 0), ("f.png", 150, 0),
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["image", "x", "y"])
    to_degrees = Transformer.from_crs(UTM, "EPSG:4326", always_xy=True)
    frame["lon"], frame["lat"] = to_degrees.transform(EAST + frame.x, NORTH - frame.y)
    frame.loc[frame.x.isna(), ["lon", "lat"]] = np.nan
    for i, name in enumerate(["a", "b", "c", "d", "f"]):
        Image.new("L", (9, 9), 10 * i).save(data / f"{name}.png")
    frame[["image", "lon", "lat"]].to_csv(data / "views.csv", index=False)
    return data


def test_pictures_at_points_belong_to_every_region_that_contains_them(street: Path) -> None:
    regions = squares([(0, 0), (150, 0), (600, 0)])
    source, entry = prepare(PointImages(points="views.csv", size=4), regions, street)
    assert source.image_ids == ["a.png", "b.png", "b.png", "f.png", "c.png", "d.png"]
    assert source.region.tolist() == [0, 0, 1, 1, 2, 2], "b lies in regions 0 and 1, and stands in both"
    assert source.read(np.arange(6))[:, 0, 0, 0].tolist() == [0, 10, 10, 40, 20, 30]
    assert (entry["rows"], entry["images"], entry["regions"]) == (9, 5, 3)
    assert entry["dropped"] == {
        "without the path of an image": 1,
        "without a usable position": 1,
        "an image listed before": 1,
        "outside every region": 1,
    }


def test_image_points_can_be_a_vector_file(street: Path) -> None:
    table = pd.read_csv(street / "views.csv").dropna().query("image != 'a.png'")
    points = gpd.GeoDataFrame(table[["image"]], geometry=gpd.points_from_xy(table.lon, table.lat), crs="EPSG:4326")
    points.to_crs(UTM).to_file(street / "views.gpkg")
    source, _ = prepare(PointImages(points="views.gpkg", size=4), squares([(0, 0), (150, 0), (600, 0)]), street)
    assert source.image_ids == ["b.png", "b.png", "f.png", "c.png", "d.png"]


def test_content_hash_changes_with_the_content(street: Path) -> None:
    regions = squares([(0, 0), (150, 0), (600, 0)])
    spec = PointImages(points="views.csv", size=4)
    first = prepare(spec, regions, street)[0].content_hash
    assert prepare(spec, regions, street)[0].content_hash == first
    Image.new("L", (9, 9), 11).save(street / "b.png")
    assert prepare(spec, regions, street)[0].content_hash != first


def test_unusable_image_sources_are_refused(street: Path) -> None:
    regions = squares([(0, 0), (150, 0), (600, 0)])
    raster(street / "a.tif", np.ones((1, 4, 4), np.float32))
    raster(street / "nocrs.tif", np.ones((1, 4, 4), np.float32), crs=None)
    raster(street / "void.tif", np.full((1, 90, 90), np.nan, np.float32))
    (street / "short.tif").write_bytes((street / "a.tif").read_bytes()[:90])
    cases = {
        "none of the 3 files": RegionImages(files="{region_id}.png"),
        "file not found": MosaicImages(mosaic="nothing.tif"),
        "has no CRS": MosaicImages(mosaic=["a.tif", "nocrs.tif"]),
        "there is no band 2; the bands are 1 a:1": MosaicImages(mosaic="a.tif", bands=[2]),
        "no image has a valid pixel in band void:1": MosaicImages(mosaic="void.tif"),
        "there is no column 'photo'": PointImages(points="views.csv", image="photo"),
    }
    for says, spec in cases.items():
        assert says in str(failure(spec, regions, street)), says
    both = failure(MosaicImages(mosaic=["nocrs.tif", "short.tif"]), regions, street)
    assert len(both.problems) == 2
    assert "no point lies in any region" in str(failure(PointImages(points="views.csv"), squares([(9e4, 0)]), street))


def test_a_truncated_or_missing_picture_stops_the_source_and_is_named(street: Path) -> None:
    (street / "b.png").write_bytes((street / "b.png").read_bytes()[:50])
    (street / "d.png").unlink()
    error = failure(PointImages(points="views.csv", size=4), squares([(0, 0), (150, 0), (600, 0)]), street)
    assert [Path(problem.file).name for problem in error.problems] == ["b.png", "d.png"]


@pytest.mark.parametrize(
    "name", ["../secret.png", "/etc/secret.png", "in/../../secret.png", "link.png", "folder/secret.png"]
)
def test_a_path_that_leaves_the_data_folder_is_refused(data: Path, name: str) -> None:
    Image.new("RGB", (4, 4)).save(data.parent / "secret.png")
    (data / "link.png").symlink_to(data.parent / "secret.png")
    (data / "folder").symlink_to(data.parent)
    lon, lat = squares([(0, 0)]).geometry.centroid.to_crs("EPSG:4326")[0].coords[0]
    (data / "views.csv").write_text(f"image,lon,lat\n{name},{lon},{lat}\n")
    error = failure(PointImages(points="views.csv"), squares([(0, 0)]), data)
    assert "leaves the data folder" in str(error)


def test_a_region_id_cannot_name_a_file_outside(data: Path) -> None:
    regions = squares([(0, 0)])
    regions["region_id"] = "../secret"
    Image.new("RGB", (4, 4)).save(data.parent / "secret.png")
    assert "leaves the data folder" in str(failure(RegionImages(files="{region_id}.png"), regions, data))


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_shards_hold_every_row_once_and_read_in_any_order(tmp_path: Path, dtype: str) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (103, 2, 3, 5)).astype(dtype)
    if dtype == "float32":
        images[rng.random(images.shape) < 0.2] = np.nan
    batches = np.split(images, [10, 11, 60])
    shard_bytes = 25 * images[0].nbytes
    shards = write_shards(tmp_path.joinpath, batches, (2, 3, 5), dtype, ["a", "b"], shard_bytes=shard_bytes)
    assert [file["rows"] for file in shards.files] == [25, 25, 25, 25, 3]
    assert all((tmp_path / file["file"]).stat().st_size <= 25 * images[0].nbytes + 128 for file in shards.files)
    arrays = [np.load(tmp_path / file["file"]) for file in shards.files]
    reader = ShardReader(arrays, [file["rows"] for file in shards.files])
    rows = rng.integers(0, 103, 400)
    assert np.array_equal(reader.read(rows), images[rows], equal_nan=dtype == "float32")
    assert reader.read(np.array([], int)).shape == (0, 2, 3, 5)
    scaled = images.astype(float) / (255 if dtype == "uint8" else 1)
    np.testing.assert_allclose(shards.mean, np.nanmean(scaled, (0, 2, 3)))
    np.testing.assert_allclose(shards.std, np.nanstd(scaled, (0, 2, 3)))
    for outside in (-1, 103):
        with pytest.raises(IndexError):
            reader.read(np.array([0, outside]))


def test_a_damaged_shard_is_refused(data: Path) -> None:
    raster(data / "a.tif", np.ones((1, 40, 40), np.float32))
    _, entry = prepare(MosaicImages(mosaic="a.tif", size=8), squares([(200, 200)]), data)
    folder = data.parent / "data-prepared"
    names = ["images/rsi/index.parquet", "images/rsi/shard-00000.npy"]
    checks = file_checks(folder, names)
    for damage in (lambda content: content[:-20], lambda content: content[:-20] + bytes(20)):
        (folder / names[1]).write_bytes(damage((folder / names[1]).read_bytes()))
        with pytest.raises(UserError, match="prepare the city again"):
            ImageSource.open(CityFiles(folder, checks), entry)


def test_shenzhen_street_views_match_the_source_files(shared_data: Path, tmp_path: Path) -> None:
    tiles = gpd.read_file(shared_data / "shenzhen/tiles.gpkg").rename(columns={"tile": "region_id"})
    tiles = tiles.to_crs(tiles.estimate_utm_crs())
    context = Context(shared_data / "shenzhen", tmp_path, built_regions=tiles)
    spec = PointImages(points="street_views.csv", size=(16, 24))
    entry = build_images(spec, context, SourceReport("images.svi")).entry["image"]
    assert (entry["rows"], entry["images"] + entry["dropped"]["outside every region"]) == (1518, 1518)
    source = opened(context, entry)
    assert (np.diff(source.region) >= 0).all()
    tile_of_image = tiles.geometry.to_crs("EPSG:4326").iloc[source.region]
    assert shapely.covers(tile_of_image.to_numpy(), shapely.points(source.lonlat)).all()
    sky, ground = source.read(np.arange(len(source)))[:, 2].reshape(len(source), 2, -1).mean((0, 2))
    assert sky > ground, "upside down?"
