"""The tiny city, in which every source lacks some regions, and a city on a grid, with many equal distances."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import rasterio
import shapely
from PIL import Image
from pyproj import Transformer
from rasterio.transform import from_origin

from urbankit.city.city import City
from urbankit.city.prepare.prepare import prepare

COLUMNS, ROWS = 5, 4
N = COLUMNS * ROWS
ISLAND = N - 1
CRS = "EPSG:32618"
WEST, SOUTH, SIDE = 580_000.0, 4_505_000.0, 800.0

# The regions that lack each source.
LACKS = {
    "rsi": {ISLAND},
    "svi": {3, 7, ISLAND},
    "captions": {4, ISLAND},
    "poi": {5, ISLAND},
    "flows": {6, ISLAND},
    "census": {8},
    "nightlight": {ISLAND},
}
CATEGORIES = ("cafe", "office", "park", "school")
WORDS = ("a dense block of towers", "low houses with gardens", "a wide road by the water", "a park with old trees")

SPEC = """\
name: tiny
crs: {crs}
regions: {{file: regions.gpkg, id: region}}
images:
  rsi: {{mosaic: satellite.tif, extent_m: 480, size: 16}}
  svi: {{points: street_views.csv, image: image, lon: lon, lat: lat, size: [16, 24]}}
captions:
  rsi: {{file: satellite_captions.jsonl, region: region, text: text}}
  svi: {{file: street_view_captions.jsonl, image: image, text: text}}
poi: {{points: pois.csv, category: category, lon: lon, lat: lat}}
flows: {{file: trips.csv, origin: origin, destination: destination, weight: trips, time: time}}
tables:
  census: {{file: census.csv, region: region}}
targets:
  density: {{table: targets.csv, region: region, column: density, unit: people/km²}}
  land_use: {{table: targets.csv, region: region, column: land_use, kind: classification}}
"""
GRID = """\
name: grid
crs: {crs}
regions: {{file: regions.gpkg, id: region}}
poi: {{points: pois.csv, category: category, lon: lon, lat: lat}}
flows: {{file: trips.csv, origin: origin, destination: destination, weight: trips, time: time}}
tables:
  census: {{file: census.csv, region: region}}
"""
BARE = "name: bare\ncrs: {crs}\nregions: {{file: regions.gpkg, id: region}}\n"


@cache
def tiny_city() -> City:
    """Return a city of 20 regions, the last one apart from the others."""
    return _prepared(SPEC, np.arange(N))


@cache
def shuffled_city() -> tuple[City, np.ndarray]:
    """Return the tiny city with its regions reordered, and the order: region i is region `order[i]` of `tiny_city`."""
    order = np.random.default_rng(5).permutation(N)
    return _prepared(SPEC, order), order


@cache
def grid_city() -> City:
    """Return a city of 20 square regions on a grid, the last one apart from the others and equally near to two of them.

    Its points of interest, flows and table have few distinct values, so that many regions are equally similar.
    """
    return _prepared(GRID, np.arange(N), write_grid)


@cache
def shuffled_grid_city() -> tuple[City, np.ndarray]:
    """Return the grid city with its regions in reverse order, and the order."""
    order = np.arange(N)[::-1]
    return _prepared(GRID, order, write_grid), order


@cache
def bare_city() -> City:
    """Return a city with the regions of the tiny city and no other data."""
    return _prepared(BARE, np.arange(N))


def write_sources(folder: Path, order: np.ndarray, spec: str = SPEC) -> Path:
    """Write the sources to `folder`, the polygons in `order`, and return the path of the `city.yaml`."""
    draw = np.random.default_rng(11)
    regions = _regions(draw.uniform(-0.2, 0.2, (ROWS + 1, COLUMNS + 1, 2)), np.array([3000.0, 0.0]))
    regions.iloc[order].to_file(folder / "regions.gpkg", driver="GPKG", layer="regions")
    _write_satellite(folder / "satellite.tif", draw)
    _write_nightlight(folder / "nightlight.tif", draw)
    _write_street_views(folder, regions, draw)
    _write_lines(
        folder / "satellite_captions.jsonl",
        [{"region": _id(i), "text": _text(i)} for i in range(N) if i not in LACKS["captions"]],
    )
    _points(regions, draw).to_csv(folder / "pois.csv", index=False)
    _trips(draw).to_csv(folder / "trips.csv", index=False)
    _census(draw).to_csv(folder / "census.csv", index=False)
    _targets(draw).to_csv(folder / "targets.csv", index=False)
    (folder / "city.yaml").write_text(spec.format(crs=CRS), encoding="utf-8")
    return folder / "city.yaml"


def write_grid(folder: Path, order: np.ndarray, spec: str = GRID) -> Path:
    """Write the sources of the grid city; see `write_sources`."""
    draw = np.random.default_rng(11)
    regions = _regions(np.zeros((ROWS + 1, COLUMNS + 1, 2)), np.array([3 * SIDE, -1.5 * SIDE]))
    regions.iloc[order].to_file(folder / "regions.gpkg", driver="GPKG", layer="regions")
    _write_nightlight(folder / "nightlight.tif", draw)
    points, trips, census = _points(regions, draw), _trips(draw, share=1.0), _census(draw)
    points["category"] = np.array(CATEGORIES)[np.arange(len(points)) % 2]
    # Keep pairs of regions whose numbers are both even or both odd.
    ends = trips["origin"].str[1:].astype(int) + trips["destination"].str[1:].astype(int)
    trips = trips[ends % 2 == 0].assign(trips=1)
    census[["income", "age", "rooms"]] = np.round(census[["income", "age", "rooms"]] / 40)
    points.to_csv(folder / "pois.csv", index=False)
    trips.to_csv(folder / "trips.csv", index=False)
    census.to_csv(folder / "census.csv", index=False)
    (folder / "city.yaml").write_text(spec.format(crs=CRS), encoding="utf-8")
    return folder / "city.yaml"


_FOLDERS: list[tempfile.TemporaryDirectory[str]] = []
"""Folders of cities; each is removed when the process ends."""


def _prepared(spec: str, order: np.ndarray, write: Callable[..., Path] = write_sources) -> City:
    _FOLDERS.append(tempfile.TemporaryDirectory(prefix="urbankit-tiny-"))
    folder = Path(_FOLDERS[-1].name)
    (folder / "sources").mkdir()
    return City.open(prepare(write(folder / "sources", order, spec), out=folder / "prepared"))


def _id(region: int) -> str:
    return f"r{region:02d}"


def _text(number: int) -> str:
    return f"{WORDS[number % len(WORDS)]}, seen {number} times"


def _regions(moved: np.ndarray, apart: np.ndarray) -> gpd.GeoDataFrame:
    """Return four-sided regions: shared corners shifted by `moved` [5, 6, 2] sides, the last by `apart` [2] m."""
    x, y = np.meshgrid(np.arange(COLUMNS + 1), np.arange(ROWS + 1))
    corners = np.stack([x, y], axis=2) + moved
    corners = np.array([WEST, SOUTH]) + SIDE * corners
    around = [corners[:-1, :-1], corners[:-1, 1:], corners[1:, 1:], corners[1:, :-1]]
    rings = np.stack(around, axis=2).reshape(N, 4, 2)
    rings[ISLAND] += apart
    return gpd.GeoDataFrame({"region": [_id(i) for i in range(N)]}, geometry=shapely.polygons(rings), crs=CRS)


def _write_satellite(path: Path, draw: np.random.Generator) -> None:
    """Write a raster of three bands with pixels of 30 m, for all regions except the island."""
    height, width = int((ROWS + 2) * SIDE / 30), int((COLUMNS + 2) * SIDE / 30)
    cells = draw.integers(1, 256, (3, height, width), dtype=np.uint8)
    origin = from_origin(WEST - SIDE, SOUTH + (ROWS + 1) * SIDE, 30, 30)
    profile = {"driver": "GTiff", "count": 3, "height": height, "width": width, "dtype": "uint8"}
    with rasterio.open(path, "w", crs=CRS, transform=origin, **profile) as raster:
        raster.write(cells)


def _write_nightlight(path: Path, draw: np.random.Generator) -> None:
    """Write a raster of two bands in degrees; missing values are NaN (declared) and -9999 (undeclared)."""
    to_degrees = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True)
    left, top = to_degrees.transform(WEST - SIDE, SOUTH + (ROWS + 1) * SIDE)
    right, bottom = to_degrees.transform(WEST + (COLUMNS + 1) * SIDE, SOUTH - SIDE)
    step = 0.002
    height, width = int((top - bottom) / step), int((right - left) / step)
    cells = draw.gamma(2.0, 10.0, (2, height, width)).astype(np.float32)
    cells[draw.random(cells.shape) < 0.1] = np.nan
    cells[draw.random(cells.shape) < 0.05] = -9999
    profile = {"driver": "GTiff", "count": 2, "height": height, "width": width, "dtype": "float32", "nodata": np.nan}
    with rasterio.open(path, "w", crs="EPSG:4326", transform=from_origin(left, top, step, step), **profile) as raster:
        raster.write(cells)


def _write_street_views(folder: Path, regions: gpd.GeoDataFrame, draw: np.random.Generator) -> None:
    """Write one to three images per region, each with a caption except the very first."""
    owner = np.repeat(np.arange(N), [0 if i in LACKS["svi"] else 1 + i % 3 for i in range(N)])
    lonlat = _within(regions, owner, draw)
    names = [f"view{i:02d}.png" for i in range(len(owner))]
    for name in names:
        Image.fromarray(draw.integers(0, 256, (16, 24, 3), dtype=np.uint8)).save(folder / name)
    table = pd.DataFrame({"image": names, "lon": lonlat[:, 0], "lat": lonlat[:, 1]})
    table.to_csv(folder / "street_views.csv", index=False)
    texts = [{"image": name, "text": _text(i)} for i, name in enumerate(names) if i]
    _write_lines(folder / "street_view_captions.jsonl", texts)


def _points(regions: gpd.GeoDataFrame, draw: np.random.Generator) -> pd.DataFrame:
    owner = np.repeat(np.arange(N), [0 if i in LACKS["poi"] else 3 + int(draw.integers(9)) for i in range(N)])
    lonlat = _within(regions, owner, draw)
    category = np.array(CATEGORIES)[draw.integers(0, len(CATEGORIES), len(owner))]
    return pd.DataFrame({"lon": lonlat[:, 0], "lat": lonlat[:, 1], "category": category})


def _trips(draw: np.random.Generator, share: float = 0.7) -> pd.DataFrame:
    """Return trips between a share of the pairs of regions, at random hours of a week, in different numbers."""
    ends = [i for i in range(N) if i not in LACKS["flows"]]
    origin, destination = (grid.ravel() for grid in np.meshgrid(ends, ends))
    selected = draw.random(len(origin)) < share
    origin, destination = origin[selected], destination[selected]
    time = np.datetime64("2024-03-04T00:00:00") + draw.integers(0, 7 * 24, len(origin)).astype("timedelta64[h]")
    trips = 1 + draw.permutation(len(origin))
    ids = np.array([_id(i) for i in range(N)])
    return pd.DataFrame({"origin": ids[origin], "destination": ids[destination], "time": time, "trips": trips})


def _census(draw: np.random.Generator) -> pd.DataFrame:
    """Return a table of three columns; one region has no row, and another has one missing value."""
    table = pd.DataFrame(draw.normal(100, 20, (N, 3)).round(2), columns=["income", "age", "rooms"])
    table.insert(0, "region", [_id(i) for i in range(N)])
    table.loc[2, "age"] = np.nan
    return table.drop(index=list(LACKS["census"]))


def _targets(draw: np.random.Generator) -> pd.DataFrame:
    density = draw.gamma(2.0, 4000.0, N).round(1)
    density[1] = np.nan
    land_use = np.where(np.arange(N) % 2 == 0, "residential", "commercial")
    return pd.DataFrame({"region": [_id(i) for i in range(N)], "density": density, "land_use": land_use})


def _within(regions: gpd.GeoDataFrame, owner: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Return a point in degrees [M, 2] near the centroid of each of the regions `owner` [M]."""
    centre = regions.centroid.iloc[owner]
    x = centre.x.to_numpy() + draw.uniform(-150, 150, len(owner))
    y = centre.y.to_numpy() + draw.uniform(-150, 150, len(owner))
    return np.column_stack(Transformer.from_crs(CRS, "EPSG:4326", always_xy=True).transform(x, y))


def _write_lines(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
