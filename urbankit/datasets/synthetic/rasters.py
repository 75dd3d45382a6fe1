"""The targets of the synthetic city: rasters in longitude and latitude, and a land-use survey."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import rasterio
import shapely
from pyproj import Transformer
from rasterio.features import rasterize
from rasterio.transform import from_origin

from urbankit.datasets.synthetic.air import Air
from urbankit.datasets.synthetic.lattice import CRS
from urbankit.datasets.synthetic.model import CLASSES, CityModel

_FINE = 1 / 1920
"""Degrees; the step at which regions are turned into raster cells (about 55 m)."""
AIR_CELL, POPULATION_CELL = 8 * _FINE, 4 * _FINE
"""Degrees: about 450 m and 230 m."""
_POINTS_PER_REGION = 75


def write_rasters(folder: Path, model: CityModel, air: Air, seed: int) -> None:
    """Write co.tif (mg/m³), pm25.tif (µg/m³) and population.tif (people per cell), EPSG:4326, nodata NaN."""
    rng = np.random.default_rng([seed, 9])
    cell, west, north = _fine_cells(model)
    valid = cell >= 0
    weight = np.exp(0.5 * rng.standard_normal(cell.shape)) * valid
    total = np.bincount(cell[valid], weight[valid], minlength=model.lattice.cells)
    people = model.residents * model.lattice.area_km2 / np.maximum(total, 1e-12)
    for name, values in (("co.tif", air.co), ("pm25.tif", air.pm25)):
        mean = _blocks(np.where(valid, values[cell], np.nan), AIR_CELL, np.nanmean)
        _write(folder / name, mean, west, north, AIR_CELL)
    residents = _blocks(np.where(valid, people[cell] * weight, np.nan), POPULATION_CELL, np.nansum)
    _write(folder / "population.tif", residents, west, north, POPULATION_CELL)


def land_use_points(model: CityModel, seed: int) -> pd.DataFrame:
    """A survey: labelled points (lon, lat, land_use) all over the regions, one in twenty labelled at random."""
    rng = np.random.default_rng([seed, 10])
    cell = np.repeat(model.lattice.city, _POINTS_PER_REGION)
    odds = model.mixture[cell].cumsum(axis=1)
    use = np.minimum((rng.random(len(cell))[:, None] > odds).sum(axis=1), len(CLASSES) - 1)
    use = np.where(rng.random(len(cell)) < 0.05, rng.integers(0, len(CLASSES), len(cell)), use)
    lon, lat = to_lonlat(model.lattice.points_in(cell, rng))
    frame = pd.DataFrame({"lon": lon.round(6), "lat": lat.round(6), "land_use": np.array(CLASSES)[use]})
    return frame.iloc[rng.permutation(len(frame))].reset_index(drop=True)


def to_lonlat(xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Degrees east and north (WGS 84) of projected points float[n, 2]."""
    return Transformer.from_crs(CRS, "EPSG:4326", always_xy=True).transform(xy[:, 0], xy[:, 1])


def _fine_cells(model: CityModel) -> tuple[np.ndarray, float, float]:
    """The lattice cell under every fine step, -1 outside, with the western and northern edge in degrees."""
    lattice = model.lattice
    lon, lat = (degrees.reshape(-1, 4) for degrees in to_lonlat(lattice.quads.reshape(-1, 2)))
    west, south = (np.floor(d.min() / AIR_CELL) * AIR_CELL for d in (lon, lat))
    east, north = (np.ceil(d.max() / AIR_CELL) * AIR_CELL for d in (lon, lat))
    shape = round((north - south) / _FINE), round((east - west) / _FINE)
    polygons = np.asarray(shapely.polygons(np.stack([lon, lat], axis=-1)))
    cell = rasterize(
        zip(polygons, np.arange(lattice.cells), strict=True), out_shape=shape, fill=-1, dtype="int32",
        transform=from_origin(west, north, _FINE, _FINE),
    )  # fmt: skip
    return cell, west, north


def _blocks(fine: np.ndarray, size: float, statistic: Callable[..., np.ndarray]) -> np.ndarray:
    """float32: the statistic of the valid fine steps in every raster cell, NaN if none is valid."""
    step = round(size / _FINE)
    blocks = fine.reshape(fine.shape[0] // step, step, fine.shape[1] // step, step)
    empty = np.isnan(blocks).all(axis=(1, 3))
    values = statistic(np.where(empty[:, None, :, None], 0, blocks), axis=(1, 3))
    return np.where(empty, np.nan, values).astype(np.float32)


def _write(path: Path, values: np.ndarray, west: float, north: float, size: float) -> None:
    with rasterio.open(
        path, "w", driver="GTiff", width=values.shape[1], height=values.shape[0], count=1, dtype="float32",
        crs="EPSG:4326", transform=from_origin(west, north, size, size), nodata=float("nan"), compress="deflate",
        predictor=3,
    ) as raster:  # fmt: skip
        raster.write(values, 1)
