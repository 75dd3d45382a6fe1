"""Embeddings in cells: AlphaEarth's codes, TESSERA's tiles, folders of tiles, and the choice of a year."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import yaml
from helpers.rasters import EAST, NORTH, write_raster
from helpers.twelve import encoder, rows
from rasterio.transform import Affine, from_origin

from urbankit import City
from urbankit.city.io.raster import zonal
from urbankit.modalities.precomputed import Precomputed
from urbankit.utils.errors import UserError
from urbankit.utils.hashes import cached_hashes

BANDS = [f"A{i:02d}" for i in range(64)]
CODES = np.random.default_rng(0).integers(-127, 128, (64, 2, 24)).astype(np.int8)
VALUES = np.sign(CODES) * (CODES.astype(float) / 127.5) ** 2
TOP = NORTH + 100


def by_region(cells: np.ndarray) -> np.ndarray:
    """The means over squares of 2 by 2 cells of [F, 2, 24]."""
    return cells.reshape(len(cells), 2, 12, 2).mean(axis=(1, 3)).T


def alphaearth(path: Path, codes: np.ndarray = CODES, **options: Any) -> Path:
    """A raster as AlphaEarth is published."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_raster(path, codes, 50, TOP, **{"nodata": -128} | options)
    with rasterio.open(path, "r+") as file:
        file.descriptions = BANDS[: len(codes)]
    return path


def test_cells_of_alphaearth_are_decoded_before_they_are_averaged(twelve: City, tmp_path: Path) -> None:
    codes, values = CODES.copy(), VALUES.copy()
    codes[:, 0, 0], values[:, 0, 0] = -128, np.nan
    one = encoder(twelve, alphaearth(tmp_path / "alphaearth.tif", codes), standardise=False)
    expected = by_region(VALUES)
    expected[0] = np.nanmean(values[:, :, :2].reshape(64, 4), axis=1)
    np.testing.assert_allclose(one.features(twelve)[0], expected, atol=1e-9)
    assert one.names(twelve) == BANDS
    assert one.notes == ["8-bit codes of AlphaEarth were decoded by sign(c)·(c / 127.5)²"]


def test_rows_that_run_northwards_are_read_in_their_place(twelve: City, tmp_path: Path) -> None:
    upwards = from_origin(EAST, NORTH, 50, -50)
    path = alphaearth(tmp_path / "up.tif", CODES[:, ::-1], transform=upwards)
    np.testing.assert_allclose(rows(twelve, path), by_region(VALUES), atol=1e-6)


@pytest.mark.parametrize(
    ("codes", "says"),
    [
        (CODES.astype(np.int16), "8-bit codes of AlphaEarth in another type; write `codes: alphaearth`"),
        (CODES.astype(np.float32) / 2, "values beyond ±1 that are no 8-bit codes"),
    ],
)
def test_codes_of_alphaearth_in_other_types_never_load_as_numbers(
    twelve: City, tmp_path: Path, codes: np.ndarray, says: str
) -> None:
    path = alphaearth(tmp_path / "a.tif", codes)
    with pytest.raises(UserError, match=says):
        rows(twelve, path)
    np.testing.assert_allclose(rows(twelve, path, codes="none"), by_region(codes.astype(float)), atol=1e-4)


def test_unnamed_codes_are_decoded_on_request_only(twelve: City, tmp_path: Path) -> None:
    path = write_raster(tmp_path / "unnamed.tif", CODES, 50, TOP)
    with pytest.raises(UserError, match=r"has 64 bands of 8-bit codes.*write `codes: alphaearth` if they are"):
        rows(twelve, path)
    np.testing.assert_allclose(rows(twelve, path, codes="alphaearth"), by_region(VALUES), atol=1e-6)
    whole = write_raster(tmp_path / "whole.tif", CODES.astype(np.float32), 50, TOP)
    with pytest.raises(UserError, match="look like the 8-bit codes of an embedding"):
        rows(twelve, whole)


def test_decoded_cells_are_read_as_they_are(twelve: City, tmp_path: Path) -> None:
    path = alphaearth(tmp_path / "a.tif", VALUES.astype(np.float32), nodata=None)
    np.testing.assert_allclose(rows(twelve, path), by_region(VALUES), atol=1e-6)


def folder_of_years(folder: Path) -> Path:
    """Two tiles side by side for each of two years, in folders as in the bucket of AlphaEarth."""
    for year, codes in ((2022, -CODES), (2023, CODES)):
        alphaearth(folder / f"{year}/18N/west.tiff", codes[:, :, :13])
        east = from_origin(EAST + 13 * 50, TOP, 50, 50)
        alphaearth(folder / f"{year}/18N/east.tiff", codes[:, :, 13:], transform=east)
    return folder


def test_tiles_of_one_year_are_joined(twelve: City, tmp_path: Path) -> None:
    path = folder_of_years(tmp_path / "aef")
    np.testing.assert_allclose(rows(twelve, path, year=2023), by_region(VALUES), atol=1e-6)
    np.testing.assert_allclose(rows(twelve, path / "2022"), -by_region(VALUES), atol=1e-6)
    with pytest.raises(UserError, match=r"alpha\.year: has tiles of several years: 2022, 2023; choose one, such as"):
        rows(twelve, path)
    with pytest.raises(UserError, match=r"alpha\.year: has tiles of 2022, 2023, not of 2019"):
        rows(twelve, path, year=2019)


def test_bands_of_several_years_need_a_choice(twelve: City, tmp_path: Path) -> None:
    path = write_raster(tmp_path / "stack.tif", np.concatenate([-CODES, CODES]), 50, TOP)
    with rasterio.open(path, "r+") as file:
        file.descriptions = [f"{name}_{year}" for year in (2022, 2023) for name in BANDS]
    with pytest.raises(UserError, match=r"has bands of several years: 2022, 2023"):
        rows(twelve, path)
    assert encoder(twelve, path, year=2023).names(twelve) == BANDS
    np.testing.assert_allclose(rows(twelve, path, year=2023), by_region(VALUES), atol=1e-6)
    with pytest.raises(UserError, match="nothing in it says a year; leave `year` out"):
        rows(twelve, alphaearth(tmp_path / "plain.tif"), year=2023)


def test_tiles_with_other_bands_are_refused(twelve: City, tmp_path: Path) -> None:
    alphaearth(tmp_path / "tiles/a.tif")
    alphaearth(tmp_path / "tiles/b.tif", CODES[:32])
    with pytest.raises(UserError, match=r"has tiles with other bands than a\.tif: b\.tif"):
        rows(twelve, tmp_path / "tiles")


def test_virtual_raster_of_tiles_is_read(twelve: City, tmp_path: Path) -> None:
    alphaearth(tmp_path / "a.tif")
    bands = "".join(
        f'<VRTRasterBand dataType="Int8" band="{i + 1}"><Description>{name}</Description><NoDataValue>-128'
        '</NoDataValue><SimpleSource><SourceFilename relativeToVRT="1">a.tif</SourceFilename>'
        f"<SourceBand>{i + 1}</SourceBand></SimpleSource></VRTRasterBand>"
        for i, name in enumerate(BANDS)
    )
    transform = ", ".join(map(str, from_origin(EAST, TOP, 50, 50).to_gdal()))
    (tmp_path / "a.vrt").write_text(
        '<VRTDataset rasterXSize="24" rasterYSize="2"><SRS>EPSG:32618</SRS>'
        f"<GeoTransform>{transform}</GeoTransform>{bands}</VRTDataset>"
    )
    np.testing.assert_allclose(rows(twelve, tmp_path / "a.vrt"), by_region(VALUES), atol=1e-6)


def test_cells_in_degrees_count_by_their_area_on_the_sphere(tmp_path: Path, twelve: City) -> None:
    west, _, east, north = twelve.regions.to_crs("EPSG:4326").total_bounds
    cell = (east - west) / 40
    cells = np.random.default_rng(3).normal(size=(3, 20, 60)).astype(np.float32)
    transform = from_origin(west - 5 * cell, north + 5 * cell, cell, cell)
    path = write_raster(tmp_path / "degrees.tif", cells, crs="EPSG:4326", transform=transform)
    expected = [zonal(path, twelve.regions, "mean", band).values for band in (1, 2, 3)]
    np.testing.assert_allclose(rows(twelve, path), np.column_stack(expected), atol=1e-5)


# TESSERA

NUMBERS = np.random.default_rng(1).integers(-127, 128, (2, 24, 128)).astype(np.int8)
SCALES = np.random.default_rng(2).uniform(0.01, 0.1, (2, 24)).astype(np.float32)
GRID = "grid_-74.95_40.65"


def tessera(folder: Path, scales: np.ndarray | None = SCALES, numbers: np.ndarray = NUMBERS, year: int = 2024) -> Path:
    """A folder as geotessera leaves it."""
    tile = folder / "global_0.1_degree_representation" / str(year) / GRID
    tile.mkdir(parents=True)
    np.save(tile / f"{GRID}.npy", numbers)
    if scales is not None:
        np.save(tile / f"{GRID}_scales.npy", scales)
    positions = folder / "global_0.1_degree_tiff_all"
    positions.mkdir(exist_ok=True)
    write_raster(positions / f"{GRID}.tiff", np.ones((2, 24), np.uint8), 50, TOP)
    return tile / f"{GRID}.npy"


@pytest.mark.parametrize("shape", ["by cell", "by number"])
@pytest.mark.parametrize("named", ["folder", "file"])
def test_tiles_of_tessera_are_scaled(twelve: City, tmp_path: Path, shape: str, named: str) -> None:
    scales = SCALES if shape == "by cell" else np.repeat(SCALES[..., None], 128, axis=2)
    file = tessera(tmp_path / "tessera", scales)
    values = rows(twelve, file if named == "file" else tmp_path / "tessera")
    expected = by_region(np.moveaxis(NUMBERS.astype(float) * SCALES[..., None], -1, 0))
    np.testing.assert_allclose(values, expected, atol=1e-5)


def test_cells_of_tessera_without_a_scale_are_missing(twelve: City, tmp_path: Path) -> None:
    scales = SCALES.copy()
    scales[:, :2] = np.nan
    tessera(tmp_path / "tessera", scales)
    values = rows(twelve, tmp_path / "tessera", absent="mask")
    assert np.isnan(values[0]).all() and np.isfinite(values[1:]).all()


def test_years_of_tessera_need_a_choice(twelve: City, tmp_path: Path) -> None:
    tessera(tmp_path, year=2023)
    tessera(tmp_path, numbers=-NUMBERS, year=2024)
    with pytest.raises(UserError, match="has tiles of several years: 2023, 2024"):
        rows(twelve, tmp_path)
    np.testing.assert_allclose(rows(twelve, tmp_path, year=2023), -rows(twelve, tmp_path, year=2024), atol=1e-6)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda file: file.with_name(f"{GRID}_scales.npy").unlink(), rf"codes without their scales; put {GRID}_scales"),
        (lambda file: next(file.parents[3].glob("*/*.tiff")).unlink(), rf"where it lies; put {GRID}\.tiff of the"),
        (
            lambda file: np.save(file.with_name(f"{GRID}_scales.npy"), np.ones((3, 24), np.float32)),
            r"shape \(3, 24\), expected \(2, 24\) or \(2, 24, 128\)",
        ),
        (lambda file: np.save(file, NUMBERS[:, :20]), r"2 × 24 cells, but .* 2 × 20: they are not of one tile"),
        (lambda file: np.save(file, np.ones((12, 128))), "a table of vectors needs ids: write it as CSV or Parquet"),
        (lambda file: np.save(file, np.array([{}]), allow_pickle=True), "holds pickled Python objects"),
    ],
)
def test_incomplete_tiles_of_tessera_are_refused(twelve: City, tmp_path: Path, change: Any, says: str) -> None:
    change(tessera(tmp_path / "tessera"))
    with pytest.raises(UserError, match=says):
        rows(twelve, tmp_path / "tessera")


def test_hash_of_tiles_changes_with_each_of_their_files(twelve: City, tmp_path: Path) -> None:
    file = tessera(tmp_path / "tessera")
    params = Precomputed.Params(file=tmp_path / "tessera")
    hashes = [cached_hashes(Precomputed.reads(params, twelve))]
    np.save(file.with_name(f"{GRID}_scales.npy"), SCALES * 2)
    hashes.append(cached_hashes(Precomputed.reads(params, twelve)))
    shifted = Affine.translation(50, 0) @ from_origin(EAST, TOP, 50, 50)
    write_raster(next(tmp_path.rglob("*.tiff")), np.ones((2, 24), np.uint8), transform=shifted)
    hashes.append(cached_hashes(Precomputed.reads(params, twelve)))
    assert hashes[0] != hashes[1] != hashes[2] != hashes[0]


@pytest.mark.parametrize(
    "source",
    [
        {"images": {"rsi": {"mosaic": ["a.tif"], "extent_m": 100, "size": 8}}},
        {"targets": {"a": {"raster": "a.tif", "statistic": "mean", "band": 3}}},
    ],
)
def test_city_that_takes_codes_for_amounts_is_refused(twelve: City, tmp_path: Path, source: dict) -> None:
    alphaearth(tmp_path / "a.tif")
    twelve.regions.to_file(tmp_path / "regions.gpkg")
    spec = {"name": "coded", "regions": {"file": "regions.gpkg", "id": "region_id"}} | source
    (tmp_path / "city.yaml").write_text(yaml.safe_dump(spec))
    with pytest.raises(UserError, match=r"has 64 bands of 8-bit codes.*by the modality `precomputed`"):
        City.prepare(tmp_path / "city.yaml", out=tmp_path / "prepared")
