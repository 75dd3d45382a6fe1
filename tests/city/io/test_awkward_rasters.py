"""Values that look like nodata, rasters side by side, without a transform, of several variables, or far too large."""

from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import rasterio
from helpers.rasters import EAST, UTM, write_raster
from helpers.small_city import CRS, NORTH, Sources
from rasterio.control import GroundControlPoint
from rasterio.transform import from_origin

from urbankit.city.io.nodata import NodataWatch
from urbankit.city.io.raster_file import open_raster
from urbankit.utils.errors import UserError

TOP = NORTH + 3000
LOWEST = float(np.finfo("float32").min)


def notes(sources: Sources) -> str:
    return "\n".join(note for _, note in sources.prepare().report.suspicious)


def suspects(*values: float, dtype: str = "float32") -> list[float]:
    watch = NodataWatch()
    watch.add(np.ma.array(values, dtype=dtype))
    return watch.suspects()


@pytest.mark.parametrize("value", [-9999, -99999, -32768, -666666666, -999, LOWEST, 1e20, -2147483648])
def test_suspicious_nodata_values_are_detected(value: float) -> None:
    assert suspects(0, 3, 250.5, value, value) == [np.float32(value)]


def test_ordinary_raster_has_no_suspicious_nodata_values() -> None:
    assert suspects(*range(256), dtype="uint8") == [] and suspects(0, 255, dtype="uint8") == []
    assert suspects(-200, 30, 998, 999) == [] and suspects(-10994, -9999, 5000) == []
    assert suspects(1, 5, 60, 255, dtype="uint8") == [255]
    assert suspects(0, 100, 4095, 65535, dtype="uint16") == [65535]
    assert suspects(np.nan, np.nan) == [] and suspects() == []


def test_amounts_of_a_raster_with_a_colour_table_are_refused(sources: Sources) -> None:
    write_raster(sources.folder / "x.tif", np.full((30, 30), 3, np.uint8), north=TOP)
    with rasterio.open(sources.folder / "x.tif", "r+") as file:
        file.write_colormap(1, {3: (255, 0, 0, 255)})
    for statistic in ("mean", "sum", "density"):
        sources.spec["targets"] = {"t": {"raster": "x.tif", "statistic": statistic}}
        with pytest.raises(UserError, match=r"has a colour table.*statistic: majority.*-colorinterp gray"):
            sources.prepare()
    sources.spec["targets"]["t"]["statistic"] = "majority"
    assert set(sources.prepare().target("t").values) == {"3"}


def test_a_value_that_looks_like_nodata_is_reported_and_can_be_declared(sources: Sources) -> None:
    cells = np.ones((30, 30), np.float32)
    cells[:5] = -99999
    write_raster(sources.folder / "x.tif", cells, north=TOP)
    sources.spec |= {
        "targets": {"t": {"raster": "x.tif", "statistic": "sum"}},
        "images": {"i": {"mosaic": "x.tif", "size": 10}},
    }
    assert notes(sources).count("holds the value -99999, which looks like nodata") == 2
    for layer in ("targets", "images"):
        next(iter(sources.spec[layer].values()))["nodata"] = [-99999]
    assert "nodata" not in notes(sources)
    city = sources.prepare()
    assert city.target("t").values.sum() == pytest.approx(750)
    assert np.nanmin(city.images("i").read(np.arange(9))) == 1


def test_rasters_side_by_side_are_reported(sources: Sources) -> None:
    """They are stacked as bands, each of which half of the pixels lack."""
    for name, left in (("west", 0), ("east", 1500)):
        transform = from_origin(EAST + left, TOP, 100, 100)
        write_raster(sources.folder / f"{name}.tif", np.full((30, 15), 9, np.uint8), transform=transform)
    sources.spec["images"] = {"i": {"mosaic": ["west.tif", "east.tif"], "size": 10}}
    assert "Rasters side by side are stacked as bands" in notes(sources)
    write_raster(sources.folder / "west.tif", np.full((30, 30), 9, np.uint8), north=TOP)
    write_raster(sources.folder / "east.tif", np.full((30, 30), 9, np.uint8), north=TOP)
    assert "stacked" not in notes(sources)


def test_raster_with_control_points_is_refused(tmp_path: Path) -> None:
    points = [GroundControlPoint(row, column, column, -row) for row in (0, 9) for column in (0, 9)]
    profile = {"driver": "GTiff", "width": 10, "height": 10, "count": 1, "dtype": "uint8"}
    with rasterio.open(tmp_path / "x.tif", "w", **profile, gcps=points, crs=CRS) as file:
        file.write(np.ones((1, 10, 10), np.uint8))
    with pytest.raises(UserError, match="control points only; warp it"), open_raster(tmp_path / "x.tif"):
        pass


@pytest.mark.parametrize("tile", [512, None])
def test_enormous_sparse_rasters_are_refused_quickly(sources: Sources, tile: int | None) -> None:
    """Of 200,000 x 200,000 cells, of which none is stored: 40 GB once unpacked, in one block or many."""
    layout: dict[str, Any] = (
        {"tiled": True, "blockxsize": tile, "blockysize": tile} if tile else {"blockysize": 200_000}
    )
    transform = from_origin(EAST, TOP, 0.015, 0.015)
    profile = {"driver": "GTiff", "width": 200_000, "height": 200_000, "count": 1, "dtype": "uint8", "crs": UTM}
    with rasterio.open(sources.folder / "x.tif", "w", **profile, **layout, transform=transform, SPARSE_OK=True):
        pass
    layers: list[dict[str, Any]] = [
        {"targets": {"t": {"raster": "x.tif", "statistic": "mean"}}},
        {"targets": {}, "images": {"i": {"mosaic": "x.tif", "extent_m": 2990, "size": 8}}},
        {"images": {}, "regions": {"grid": {"size_m": 500, "covering": "x.tif"}}},
    ]
    for layer in layers:
        sources.spec |= layer
        with pytest.raises(UserError, match=r"x\.tif: .*(too many to read|blocks of|a patch would cover)"):
            sources.prepare()


@pytest.mark.parametrize("height", [0.0, float("nan"), float("inf")])
def test_raster_with_cells_of_no_size_is_refused(tmp_path: Path, height: float) -> None:
    write_raster(tmp_path / "x.tif", np.ones((3, 3), np.float32))
    path = tmp_path / "x.vrt"
    path.write_text(
        f'<VRTDataset rasterXSize="3" rasterYSize="3"><SRS>{UTM}</SRS><GeoTransform>0,100,0,0,0,{height}</GeoTransform>'
        '<VRTRasterBand dataType="Float32" band="1"/></VRTDataset>'
    )
    with pytest.raises(UserError, match="georeference is damaged"), open_raster(path):
        pass


WKT = pyproj.CRS(UTM).to_wkt("WKT1_GDAL").encode()


@pytest.mark.parametrize("crs", [WKT.replace(b'"metre"', b'"metre\xff"'), WKT[:-60], WKT])
def test_raster_with_a_damaged_crs_beside_it_is_refused(tmp_path: Path, crs: bytes) -> None:
    path = write_raster(tmp_path / "x.tif", np.ones((3, 3), np.float32))
    with rasterio.open(path) as raster:
        profile = raster.profile | {"driver": "PNG", "dtype": "uint8", "crs": None}
    with rasterio.open(tmp_path / "x.png", "w", **profile) as raster:
        raster.write(np.ones((1, 3, 3), np.uint8))
    transform = b"<GeoTransform>0, 100, 0, 0, 0, -100</GeoTransform>"
    (tmp_path / "x.png.aux.xml").write_bytes(b"<PAMDataset><SRS>" + crs + b"</SRS>" + transform + b"</PAMDataset>")
    if crs == WKT:
        with open_raster(tmp_path / "x.png") as raster:
            assert raster.crs == UTM
    else:
        with pytest.raises(UserError), open_raster(tmp_path / "x.png"):
            pass
