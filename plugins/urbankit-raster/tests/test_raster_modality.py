"""Statistics of rasters by region: conformance, values, missing cells and errors."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from pydantic import ValidationError
from rasterio.transform import from_origin
from urbankit_raster.encoder import Raster

from urbankit import Recipe, UserError, testing
from urbankit.pipeline.resume import changed_files
from urbankit.runs.files_read import files_read

EAST, NORTH = 500_000.0, 4_500_000.0


def write(path: Path, cells: np.ndarray, **options: Any) -> str:
    """Write a GeoTIFF of `cells` [bands, h, w], 100 m each from (EAST, NORTH) unless `options` say otherwise."""
    profile = {
        "driver": "GTiff", "count": len(cells), "height": cells.shape[1], "width": cells.shape[2],
        "dtype": cells.dtype, "crs": "EPSG:32618", "transform": from_origin(EAST, NORTH, 100, 100),
    } | options  # fmt: skip
    with rasterio.open(path, "w", **profile) as raster:
        raster.write(cells)
    return str(path)


def squares(*cells: tuple[int, int, int]) -> SimpleNamespace:
    """Return a city of square regions, each given by its first column, first row and side in cells."""
    shapes = [
        shapely.box(EAST + 100 * c, NORTH - 100 * (r + side), EAST + 100 * (c + side), NORTH - 100 * r)
        for c, r, side in cells
    ]
    regions = gpd.GeoDataFrame(geometry=shapes, crs="EPSG:32618")
    return city_of(regions)


def city_of(regions: gpd.GeoDataFrame) -> SimpleNamespace:
    """Return a city with these regions."""
    city = SimpleNamespace(regions=regions, n_regions=len(regions), content_hash=f"{len(regions)} regions")
    city.members = {"city": city}
    return city


def features(city: SimpleNamespace, file: str, **params: Any) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the features by name, and the regions of the rows."""
    encoder = Raster(Raster.Params(file=file, **params), city, "raster", 4)
    values, region = encoder.features(city)
    return dict(zip(encoder.names(city), values.T, strict=True)), region


@pytest.mark.parametrize(
    "params",
    [{"nodata": [-9999]}, {"nodata": [-9999], "scale": "log", "bands": [2], "hidden": 8}, {"statistics": ["min"]}],
    ids=["all", "log", "min"],
)
def test_raster_conforms(params):
    """The raster is in degrees and does not cover the last region."""
    testing.check_modality("raster", file="nightlight.tif", **params)


def test_regions_without_a_valid_cell_lack_the_modality(tiny_city):
    encoder = Raster(Raster.Params(file="nightlight.tif", nodata=[-9999]), tiny_city, "raster", 4)
    assert encoder.observations().tolist() == list(range(tiny_city.n_regions - 1))


def test_statistics_match_the_cells(tmp_path):
    cells = np.arange(64, dtype=np.float32).reshape(1, 8, 8)
    file = write(tmp_path / "a.tif", cells)
    result, region = features(
        squares((0, 0, 4), (4, 4, 2)), file, statistics=["mean", "std", "min", "max", "valid"], quantiles=[0.5]
    )
    for row, block in enumerate((cells[0, :4, :4], cells[0, 4:6, 4:6])):
        expected = {"mean": block.mean(), "std": block.std(), "min": block.min(), "max": block.max(), "valid": 1}
        for name, value in expected.items():
            assert result[f"band 1 {name}"][row] == pytest.approx(value, rel=1e-5), name
    assert result["band 1 quantile 0.5"][1] in (36, 37, 44, 45, 40.5)
    assert region.tolist() == [0, 1]


def test_region_smaller_than_a_cell_has_the_value_of_the_cell(tmp_path):
    file = write(tmp_path / "a.tif", np.full((1, 4, 4), 7.0, np.float32))
    small = shapely.box(EAST + 110, NORTH - 130, EAST + 120, NORTH - 120)
    result, _ = features(city_of(gpd.GeoDataFrame(geometry=[small], crs="EPSG:32618")), file)
    assert result["band 1 mean"] == pytest.approx([7]) and result["band 1 valid"] == pytest.approx([1])


@pytest.mark.parametrize("how", ["tag", "parameter", "nan", "parameter and tag"])
def test_missing_cells_are_ignored(tmp_path, how):
    cells = np.full((1, 4, 8), 2.0, np.float32)
    cells[0, :2, :4] = np.nan if how == "nan" else -9999
    tag = {"tag": {"nodata": -9999}, "parameter and tag": {"nodata": -1}}.get(how, {})
    file = write(tmp_path / "a.tif", cells, **tag)
    result, _ = features(squares((0, 0, 4), (4, 0, 4)), file, nodata=[-9999] if "parameter" in how else [])
    assert result["band 1 mean"].tolist() == [2, 2]
    assert result["band 1 valid"] == pytest.approx([0.5, 1])


def test_band_without_cells_in_a_region_is_nan(tmp_path):
    cells = np.ones((2, 4, 8), np.float32)
    cells[1, :, :4] = np.nan
    result, region = features(squares((0, 0, 4), (4, 0, 4)), write(tmp_path / "a.tif", cells), quantiles=[])
    assert region.tolist() == [0, 1]
    assert np.isnan(result["band 2 mean"]).tolist() == [True, False] and result["band 2 valid"].tolist() == [0, 1]


def test_log_scale_excludes_the_valid_share(tmp_path):
    file = write(tmp_path / "a.tif", np.full((1, 4, 4), 9.0, np.float32))
    result, _ = features(squares((0, 0, 4)), file, scale="log", statistics=["mean", "valid"], quantiles=[])
    assert result["band 1 mean"] == pytest.approx([np.log(10)]) and result["band 1 valid"].tolist() == [1]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"scale": "log"}, r"negative cells, as low as -3, which `scale: log` cannot take.*add the value to `nodata`"),
        ({"bands": [3]}, "has no band 3; its bands are 1 to 1"),
    ],
)
def test_parameters_that_do_not_fit_the_raster_are_refused(tmp_path, params, message):
    file = write(tmp_path / "a.tif", np.full((1, 4, 4), -3.0, np.float32))
    with pytest.raises(UserError, match=message):
        features(squares((0, 0, 4)), file, **params)


def test_error_gives_the_extents_if_raster_and_regions_do_not_overlap(tmp_path):
    file = write(tmp_path / "a.tif", np.ones((1, 4, 4), np.float32), transform=from_origin(0, 0, 100, 100))
    with pytest.raises(UserError, match=r"no region overlaps a valid cell; the raster covers .* check both CRS"):
        features(squares((0, 0, 4)), file)


def test_error_suggests_the_closest_file_name(tiny_city):
    with pytest.raises(UserError, match=r"nightlihgt.tif: file not found. Did you mean 'nightlight.tif'\?"):
        Raster(Raster.Params(file="nightlihgt.tif"), tiny_city, "raster", 4)
    with pytest.raises(UserError, match=r"'../x.tif' leaves the data folder"):
        Raster(Raster.Params(file="../x.tif"), tiny_city, "raster", 4)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"statistics": [], "quantiles": []}, "nothing to compute"),
        ({"quantiles": [0.5, 0.5]}, "duplicate values"),
        ({"bands": [0]}, "greater than or equal to 1"),
    ],
)
def test_invalid_parameters_are_refused(params, message):
    with pytest.raises(ValidationError, match=message):
        Raster.Params(file="a.tif", **params)


def test_new_york_night_lights_have_plausible_statistics(shared_data):
    """Night light of every tract, in two bands."""
    tracts = gpd.read_file(shared_data / "new-york" / "tracts.gpkg").to_crs(32618)
    result, region = features(city_of(tracts), str(shared_data / "new-york" / "nightlight.tif"), nodata=[-9999])
    assert len(region) > 900 and len(result) == 2 * 6
    assert (result["band 1 quantile 0.1"] <= result["band 1 quantile 0.9"]).all()
    assert ((result["band 1 valid"] > 0) & (result["band 1 valid"] <= 1)).all()


def test_nodata_is_compared_before_scale(tmp_path):
    cells = np.array([[[300, 300], [300, -9999]]], dtype=np.int16)
    file = write(tmp_path / "scaled.tif", cells)
    with rasterio.open(file, "r+") as raster:
        raster.scales = (0.1,)
    result, _ = features(squares((0, 0, 2)), file, statistics=["mean", "valid"], quantiles=[], nodata=[-9999])
    assert result["band 1 mean"] == pytest.approx([30.0]) and result["band 1 valid"] == pytest.approx([0.75])


def test_log_scale_without_other_statistics(tmp_path):
    file = write(tmp_path / "one.tif", np.ones((1, 2, 2), dtype=np.float32))
    result, _ = features(squares((0, 0, 2)), file, statistics=["valid"], quantiles=[], scale="log")
    assert result["band 1 valid"] == pytest.approx([1.0])


def test_runs_record_the_raster_and_its_companion_files(tmp_path):
    path = write(tmp_path / "light.tif", np.ones((1, 4, 4), np.float32))
    recipe = Recipe.load(
        {
            "name": "two",
            "city": {"prepared": str(testing.tiny_city().path)},
            "modalities": {
                "light": {"name": "raster", "file": path},
                "night": {"name": "raster", "file": "nightlight.tif"},
            },
            "method": {"name": "urbanmmcl", "alignments": []},
        }
    )
    before = files_read(recipe, testing.tiny_city())
    assert {key: list(map(Path, read)) for key, read in before.items()} == {
        "modalities.light": [Path(path)],
        "modalities.night": [testing.tiny_city().source("nightlight.tif")],
    }
    (tmp_path / "light.tif.aux.xml").write_text("<PAMDataset/>")
    beside = files_read(recipe, testing.tiny_city())
    write(tmp_path / "light.tif", np.full((1, 4, 4), 2, np.float32))
    (tmp_path / "light.tif.aux.xml").unlink(missing_ok=True)
    changed = files_read(recipe, testing.tiny_city())
    for current in (beside, changed):
        (message,) = changed_files(before, current)
        assert message.startswith(f"modalities.light reads {tmp_path}")
