"""An OpenStreetMap extract: points of interest, roads, buildings and land use by region."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import geopandas as gpd
import numpy as np
import polars as pl
import shapely
from pydantic import Field

from urbankit.city.datasets.base import AnyLayer, BaseMap, DataFolder, Dataset, DatasetParams, PoiPoints, Regions, Table
from urbankit.city.datasets.osm_file import LAND_USE, ROADS, Objects, read_categories, read_objects
from urbankit.city.datasets.overlay import overlay
from urbankit.utils.base_map import base_map_frame
from urbankit.utils.errors import UserError
from urbankit.utils.geometry import reproject
from urbankit.utils.text import list_some

CATEGORIES = Path(__file__).with_name("osm_categories.csv")
Part = Literal["poi", "roads", "buildings", "land_use", "base_map"]
CREDIT = "© OpenStreetMap contributors"


class OSMParams(DatasetParams):
    """The extract, and what is read from it."""

    file: str = Field(description="The extract: .osm.pbf, .osm, .osm.gz, .osm.bz2 or .o5m.")
    use: Annotated[list[Part], Field(min_length=1)] = Field(
        ["poi", "roads", "buildings", "land_use", "base_map"], description="What is read from the extract."
    )
    categories: str | None = Field(
        None,
        description="CSV with the columns `category`, `key` and `value` that says which tags are points of interest; "
        "the value `*` is any. Null takes the table of 34 categories that comes with urbankit.",
    )


class OSM(Dataset[OSMParams]):
    """Points of interest, the tables `osm_roads`, `osm_buildings` and `osm_land_use`, and the base map of reports.

    Lengths are in km, areas in km², shares are of the area of the region. Regions outside the extract are missing.
    """

    params: OSMParams

    def files(self, data: DataFolder) -> Sequence[Path]:
        files = [data.file(self.params.file, "osm.file")]
        return [*files, *([self._categories(data)] if self.params.categories else [])]

    def provides(self, data: DataFolder) -> Sequence[str]:
        return [
            name if name in ("poi", "base_map") else f"tables.osm_{name}" for name in dict.fromkeys(self.params.use)
        ]

    def read(self, data: DataFolder, regions: Regions) -> Mapping[str, AnyLayer]:
        categories = read_categories(self._categories(data), "osm.categories")
        lonlat = reproject(regions.frame.geometry, "EPSG:4326")
        west, south, east, north = lonlat.total_bounds.tolist()
        box = (west, south, east, north)
        objects = read_objects(self.files(data)[0], self.params.use, categories, box)
        present, notes = _covered(objects, lonlat, regions.frame["region_id"].to_numpy())
        notes += [f"{what} without a usable geometry, left out: {count:,}" for what, count in objects.broken.items()]
        layers: dict[str, AnyLayer] = {}
        for name in self.params.use:
            if name == "poi":
                names = {category for values in categories.values() for category in values.values()}
                layers["poi"] = _poi(objects, sorted(names), present)
            elif name == "base_map":
                layers["base_map"] = _base_map(objects)
            else:
                table = {"roads": _roads, "buildings": _buildings, "land_use": _land_use}[name](objects, regions)
                table.values[~present] = np.nan
                layers[f"tables.osm_{name}"] = table
        next(iter(layers.values())).notes += notes
        return layers

    def _categories(self, data: DataFolder) -> Path:
        name = self.params.categories
        return CATEGORIES if name is None else data.file(name, "osm.categories")


def _covered(objects: Objects, lonlat: gpd.GeoSeries, ids: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Return the regions that the extract covers at least in part, bool[N], and notes on the others."""
    if objects.box is None:
        return np.ones(len(ids), bool), []
    box, shapes = shapely.box(*objects.box), lonlat.to_numpy()
    present, within = shapely.intersects(shapes, box), shapely.covered_by(shapes, box)
    if not present.any():
        west, south, east, north = objects.box
        area = f"longitude {west:.3f} to {east:.3f}, latitude {south:.3f} to {north:.3f}"
        raise UserError(f"covers no region: it holds {area}; take the extract of the city")
    notes = []
    if not present.all():
        notes.append(f"regions outside the extract, which are missing: {list_some(ids[~present])}")
    if (present & ~within).any():
        notes.append(f"regions that the extract covers in part: {list_some(ids[present & ~within])}")
    return present, notes


def _poi(objects: Objects, categories: list[str], present: np.ndarray) -> PoiPoints:
    if not objects.category:
        raise UserError("has no object with a tag of the categories; leave points of interest out by `use`")
    lon, lat = np.array(objects.lon), np.array(objects.lat)
    return PoiPoints(lon, lat, pl.Series(objects.category, dtype=pl.String), categories, present)


def _base_map(objects: Objects) -> BaseMap:
    water, waters = objects.water.arrays()
    roads, classes = objects.main_roads.arrays()
    places = sorted(objects.places, key=lambda place: (-place[4], place[1]))
    points = shapely.points([place[2:4] for place in places]) if places else []
    names = [*[None] * (len(water) + len(roads)), *(place[1] for place in places)]
    kinds = [*waters, *classes, *(place[0] for place in places)]
    return BaseMap(base_map_frame(kinds, names, [*water, *roads, *points], "EPSG:4326"), CREDIT, rows=len(kinds))


def _roads(objects: Objects, regions: Regions) -> Table:
    lines, names = objects.roads.arrays()
    classes = list(ROADS)
    length = overlay(lines, regions.frame, lines=True).total(_codes(names, classes), len(regions), len(classes)) / 1000
    length = np.column_stack([length, length.sum(1)])
    density = length / regions.frame["area_km2"].to_numpy()[:, None]
    columns = [f"{name} {unit}" for unit in ("km", "km per km²") for name in (*classes, "all")]
    return Table(np.hstack([length, density]), columns, rows=len(lines))


def _buildings(objects: Objects, regions: Regions) -> Table:
    polygons, _ = objects.buildings.arrays()
    points = shapely.point_on_surface(polygons)
    _, region = regions.points.pairs(shapely.get_x(points), shapely.get_y(points))
    count = np.bincount(region, minlength=len(regions)).astype(float)
    column = np.zeros(len(polygons), np.int64)
    area = overlay(polygons, regions.frame, lines=False).total(column, len(regions), 1)[:, 0] / 1e6
    km2 = regions.frame["area_km2"].to_numpy()
    mean = np.divide(area * 1e6, count, out=np.full(len(regions), np.nan), where=count > 0)
    columns = ["count", "count per km²", "area km²", "share of area", "mean footprint m²"]
    return Table(np.column_stack([count, count / km2, area, area / km2, mean]), columns, rows=len(polygons))


def _land_use(objects: Objects, regions: Regions) -> Table:
    """Shares of the region's area; polygons of one class that overlap are counted once."""
    polygons, names = objects.land_use.arrays()
    classes = list(LAND_USE)
    merged = [shapely.get_parts(shapely.union_all(polygons[names == name])) for name in classes]
    column = np.repeat(np.arange(len(classes)), [len(parts) for parts in merged])
    area = overlay(np.concatenate(merged), regions.frame, lines=False).total(column, len(regions), len(classes))
    share = np.clip(area / (regions.frame["area_km2"].to_numpy()[:, None] * 1e6), 0, 1)
    return Table(share, [f"{name} share" for name in classes], rows=len(polygons))


def _codes(names: np.ndarray, classes: list[str]) -> np.ndarray:
    """Return the position of each of the `names` in `classes`, int64[n]."""
    order = np.argsort(classes)
    return order[np.searchsorted(np.array(classes)[order], names.astype(str))].astype(np.int64)
