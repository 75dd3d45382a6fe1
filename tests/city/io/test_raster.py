"""Zonal statistics against brute force, and what rasters that cannot be used say."""

from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from helpers.rasters import EAST, NORTH, UTM, write_raster
from pyproj import Geod, Transformer
from rasterio.transform import Affine, from_origin

from urbankit.city.io.raster import covering_mask, ellipsoidal_area_km2, extent, zonal
from urbankit.utils.errors import Problems, UserError


def frame(shapes: list, crs: str = UTM) -> gpd.GeoDataFrame:
    return gpd.GeoDataFrame({"region_id": [str(i) for i in range(len(shapes))]}, geometry=shapes, crs=crs)


def blobs(number: int, low: float, high: float, seed: int = 0) -> list:
    """Irregular polygons within 2 km x 2 km south-east of (EAST, NORTH)."""
    rng = np.random.default_rng(seed)
    shapes = []
    for _ in range(number):
        x, y = EAST + rng.uniform(300, 1700), NORTH - rng.uniform(300, 1700)
        angle = np.linspace(0, 2 * np.pi, 11, endpoint=False)
        radius = rng.uniform(low, high) * rng.uniform(0.6, 1, 11)
        shapes.append(shapely.Polygon(np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], 1)))
    return shapes


def supersampled(shape: Any, cells: np.ndarray, step: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Coverage in cells and values of all valid cells below a polygon, from a fine lattice of points."""
    left, bottom, right, top = shape.bounds
    x, y = np.meshgrid(np.arange(left + step / 2, right, step), np.arange(bottom + step / 2, top, step))
    inside = shapely.contains_xy(shape, x, y)
    column = np.floor((x[inside] - EAST) / 100).astype(int)
    row = np.floor((NORTH - y[inside]) / 100).astype(int)
    cell, count = np.unique(row * cells.shape[1] + column, return_counts=True)
    values = cells.ravel()[cell]
    valid = np.isfinite(values)
    return count[valid] * step**2 / 100**2, values[valid]


def run(path: Path, regions: gpd.GeoDataFrame, statistic: Any, band: int | None = None) -> tuple[np.ndarray, Problems]:
    """The values, NaN if the raster is refused, and what is wrong with it."""
    problems, values = Problems(), np.full(len(regions), np.nan)
    with problems.collect("targets.x"):
        values = zonal(path, regions, statistic, band).values
    return values, problems


@pytest.fixture
def cells() -> np.ndarray:
    cells = np.random.default_rng(1).gamma(2, 50, (20, 20)).astype(np.float32)
    cells[4:7, 8:12] = np.nan
    return cells


@pytest.mark.parametrize("size", [(30, 45), (150, 280)], ids=["smaller than a cell", "several cells"])
def test_raster_statistics_equal_those_of_a_fine_grid_of_points(tmp_path: Path, cells: np.ndarray, size: tuple) -> None:
    shapes = blobs(25, *size)
    path, regions = write_raster(tmp_path / "people.tif", cells, nodata=np.nan), frame(shapes)
    mean, total, density = (run(path, regions, name)[0] for name in ("mean", "sum", "density"))
    area_km2 = ellipsoidal_area_km2(regions)
    for i, shape in enumerate(shapes):
        covered, values = supersampled(shape, cells)
        if covered.sum() < 0.02:
            continue
        assert mean[i] == pytest.approx((covered * values).sum() / covered.sum(), rel=0.02)
        assert total[i] == pytest.approx((covered * values).sum(), rel=0.02)
        valid_km2 = area_km2[i] * min(covered.sum() * 100**2 / shape.area, 1)
        assert density[i] == pytest.approx(total[i] / valid_km2, rel=0.02)


def test_region_within_one_cell_gets_the_value_of_the_cell(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", np.array([[1, 2], [3, 4]], np.float64))
    tiny = frame([shapely.box(EAST + 130, NORTH - 140, EAST + 131, NORTH - 139)])
    assert run(path, tiny, "mean")[0] == 4
    assert run(path, tiny, "majority")[0] == 4
    assert run(path, tiny, "sum")[0] == pytest.approx(4 / 100**2)


def test_majority_is_by_covered_area_and_ties_give_the_larger_code(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "use.tif", np.array([[7, 7, 3, 3], [7, 7, 3, 3]], np.uint8))
    regions = frame([
        shapely.box(EAST + 110, NORTH - 100, EAST + 300, NORTH),
        shapely.box(EAST + 90, NORTH - 100, EAST + 250, NORTH),
        shapely.box(EAST + 100, NORTH - 100, EAST + 300, NORTH),
    ])  # fmt: skip
    assert run(path, regions, "majority")[0].tolist() == [3, 7, 7]


def test_every_kind_of_missing_cell_is_ignored(tmp_path: Path) -> None:
    cells = np.array([[1, np.nan, np.inf, -9999]], np.float32)
    path = write_raster(tmp_path / "a.tif", cells, nodata=-9999)
    row = frame([shapely.box(EAST, NORTH - 100, EAST + 400, NORTH)])
    assert run(path, row, "mean")[0] == 1
    assert run(path, row, "sum")[0] == 1
    assert run(path, row, "density")[0] == pytest.approx(1 / 0.01, rel=2e-3)


def test_statistics_of_projected_regions_over_a_raster_in_degrees_are_correct(tmp_path: Path) -> None:
    """The mean over a region that spans cells of unequal ground area, from points dense on the ground."""
    rng = np.random.default_rng(3)
    cells = rng.random((6, 6))
    path = write_raster(tmp_path / "deg.tif", cells, crs="EPSG:4326", transform=from_origin(10, 63, 0.5, 0.5))
    utm = "EPSG:32632"
    x, y = Transformer.from_crs("EPSG:4326", utm, always_xy=True).transform(11.3, 61.4)
    region = frame([shapely.segmentize(shapely.Point(x, y).buffer(60_000), 500)], utm)
    px, py = np.meshgrid(np.arange(x - 60_000, x + 60_000, 150), np.arange(y - 60_000, y + 60_000, 150))
    inside = shapely.contains_xy(region.geometry[0], px, py)
    lon, lat = Transformer.from_crs(utm, "EPSG:4326", always_xy=True).transform(px[inside], py[inside])
    values = cells[np.floor((63 - lat) / 0.5).astype(int), np.floor((lon - 10) / 0.5).astype(int)]
    assert run(path, region, "mean")[0] == pytest.approx(values.mean(), rel=1e-3)


def test_raster_rows_from_south_to_north_are_read(tmp_path: Path, cells: np.ndarray) -> None:
    regions = frame(blobs(10, 100, 250))
    upright = write_raster(tmp_path / "a.tif", cells)
    turned = write_raster(tmp_path / "b.tif", cells[::-1].copy(), transform=Affine(100, 0, EAST, 0, 100, NORTH - 2000))
    np.testing.assert_allclose(run(turned, regions, "mean")[0], run(upright, regions, "mean")[0])


def test_scale_and_offset_are_applied(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", np.array([[100, 300]], np.int16))
    with rasterio.open(path, "r+") as raster:
        raster.scales, raster.offsets = (0.5,), (10,)
    assert run(path, frame([shapely.box(EAST, NORTH - 100, EAST + 200, NORTH)]), "mean")[0] == pytest.approx(110)


def test_ellipsoidal_area_equals_that_of_geod() -> None:
    shapes = frame(blobs(8, 100, 900))
    geod = Geod(ellps="WGS84")
    expected = [abs(geod.geometry_area_perimeter(shape)[0]) / 1e6 for shape in shapes.to_crs("EPSG:4326").geometry]
    np.testing.assert_allclose(ellipsoidal_area_km2(shapes), expected, rtol=1e-5)
    np.testing.assert_allclose(ellipsoidal_area_km2(shapes.to_crs("EPSG:3857")), expected, rtol=1e-5)


def test_regions_without_valid_cells_are_nan_and_noted(tmp_path: Path, cells: np.ndarray) -> None:
    path = write_raster(tmp_path / "a.tif", cells)
    far = shapely.box(EAST - 5000, NORTH, EAST - 4000, NORTH + 100)
    in_hole = shapely.box(EAST + 810, NORTH - 690, EAST + 1190, NORTH - 410)
    half = shapely.box(EAST - 700, NORTH - 300, EAST + 300, NORTH - 100)
    result = zonal(path, frame([far, in_hole, half]), "sum")
    assert np.isnan(result.values).tolist() == [True, True, False]
    assert result.notes == [
        "2 of 3 regions overlap no valid cell",
        "1 of 3 regions have valid cells on less than half of their area",
    ]


def test_a_value_that_looks_like_undeclared_nodata_is_noted(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", np.array([[1, -9999]], np.float32))
    result = zonal(path, frame([shapely.box(EAST, NORTH - 100, EAST + 200, NORTH)]), "mean")
    assert result.values[0] == -4999
    assert any("-9999" in note for note in result.notes)


def test_covering_mask_and_extent_match_the_raster(tmp_path: Path, cells: np.ndarray) -> None:
    path = write_raster(tmp_path / "a.tif", cells)
    boxes = gpd.GeoSeries(
        [shapely.box(EAST + 810, NORTH - 690, EAST + 1190, NORTH - 410), shapely.box(EAST, NORTH - 5, EAST + 5, NORTH),
         shapely.box(EAST + 2000, NORTH - 10, EAST + 2100, NORTH)], crs=UTM,
    )  # fmt: skip
    assert covering_mask(path, boxes.to_crs("EPSG:4326")).tolist() == [False, True, False]
    bounds, crs = extent(path)
    assert bounds == (EAST, NORTH - 2000, EAST + 2000, NORTH) and crs.to_epsg() == 32618


@pytest.fixture
def broken(tmp_path: Path) -> dict[str, Path]:
    noise = np.random.default_rng(0).random((300, 300)).astype(np.float32)
    complete = write_raster(tmp_path / "whole.tif", noise, compress="deflate")
    paths = {
        "absent": tmp_path / "nothing.tif",
        "short": tmp_path / "short.tif",
        "header": tmp_path / "header.tif",
        "text": tmp_path / "text.tif",
        "no crs": write_raster(tmp_path / "nocrs.tif", noise, crs=None),
        "two bands": write_raster(tmp_path / "two.tif", np.stack([noise, noise])),
        "rotated": write_raster(tmp_path / "rotated.tif", noise, transform=Affine(100, 9, EAST, 9, -100, NORTH)),
        "elsewhere": write_raster(tmp_path / "far.tif", noise, transform=from_origin(EAST, NORTH - 900_000, 100, 100)),
    }
    paths["short"].write_bytes(complete.read_bytes()[: complete.stat().st_size // 2])
    paths["header"].write_bytes(complete.read_bytes()[:60])
    paths["text"].write_text("not a raster")
    return paths


@pytest.mark.parametrize(
    ("which", "says"),
    [
        ("absent", "file not found"),
        ("short", "truncated or damaged"),
        ("header", "truncated"),
        ("text", "cannot be opened as a raster"),
        ("no crs", "has no CRS"),
        ("two bands", "has 2 bands"),
        ("rotated", "rotated"),
        ("elsewhere", "no region overlaps a valid cell"),
    ],
)
def test_unusable_raster_is_reported_as_one_problem(broken: dict[str, Path], which: str, says: str) -> None:
    values, problems = run(broken[which], frame(blobs(3, 100, 200)), "mean")
    (problem,) = problems
    assert says in problem.message and problem.key == "targets.x" and str(broken[which]) in str(problem)
    assert np.isnan(values).all()


def test_missing_band_and_missing_crs_are_refused(broken: dict[str, Path]) -> None:
    assert "bands are 1 to 2" in str(next(iter(run(broken["two bands"], frame(blobs(1, 100, 200)), "mean", 3)[1])))
    with pytest.raises(UserError, match="has no CRS"):
        extent(broken["no crs"])


def test_statistics_of_new_york_match_known_values(shared_data: Path) -> None:
    tracts = gpd.read_file(shared_data / "new-york/tracts.gpkg").to_crs(UTM)
    temperature, problems = run(shared_data / "new-york/land_surface_temperature.tif", tracts, "mean")
    people, _ = run(shared_data / "new-york/population.tif", tracts, "sum")
    pm25, _ = run(shared_data / "new-york/pm25.tif", tracts, "mean")
    assert not problems
    assert np.isnan(temperature).sum() == 136
    assert tracts.tract[np.isnan(people)].tolist() == ["36081990100"]
    assert tracts.tract[np.isnan(pm25)].tolist() == ["36061000100"]
    assert 3.5e6 < np.nansum(people) < 4.2e6  # Manhattan and Queens
    assert np.nanmin(pm25) > 4 and np.nanmax(pm25) < 12


@pytest.mark.parametrize("step_x", [1, -1])
@pytest.mark.parametrize("step_y", [1, -1])
def test_rows_and_columns_may_run_in_either_direction(
    tmp_path: Path, cells: np.ndarray, step_x: int, step_y: int
) -> None:
    regions = frame(blobs(6, 100, 300))
    expected = zonal(write_raster(tmp_path / "plain.tif", cells), regions, "mean").values
    left, top = EAST if step_x > 0 else EAST + 2000, NORTH if step_y > 0 else NORTH - 2000
    turned = write_raster(
        tmp_path / "turned.tif",
        cells[::step_y, ::step_x],
        transform=Affine(100 * step_x, 0, left, 0, -100 * step_y, top),
    )
    np.testing.assert_allclose(zonal(turned, regions, "mean").values, expected)
    assert extent(turned)[0] == (EAST, NORTH - 2000, EAST + 2000, NORTH)


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        (np.full((20, 20), 2**53 + 1, np.int64), r"integers beyond 2\^53"),
        (np.full((20, 20), 2**64 - 1, np.uint64), r"integers beyond 2\^53"),
        (np.ones((20, 20), np.complex64), "band 1 holds complex numbers"),
    ],
)
def test_numbers_that_float64_cannot_hold_are_refused(tmp_path: Path, cells: np.ndarray, says: str) -> None:
    values, problems = run(write_raster(tmp_path / "x.tif", cells), frame(blobs(2, 100, 300)), "majority")
    assert np.isnan(values).all()
    with pytest.raises(UserError, match=says):
        problems.raise_if_any()
