"""The objects of an OpenStreetMap file: points of interest, roads, buildings and land use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import shapely

from urbankit.utils.base_map import MAIN_ROADS, PLACES, WATER
from urbankit.utils.errors import Problem, UserError

Box = tuple[float, float, float, float]
"""West, south, east and north in degrees."""

Categories = Mapping[str, Mapping[str, str]]
"""The category of points of interest by key and value of a tag; the value `*` stands for all others."""

ROADS = {
    "motorway": ("motorway",),
    "trunk": ("trunk",),
    "primary": ("primary",),
    "secondary": ("secondary",),
    "tertiary": ("tertiary",),
    "residential": ("residential", "living_street", "unclassified", "road"),
    "service": ("service",),
    "path": ("footway", "cycleway", "path", "pedestrian", "steps", "track", "bridleway", "corridor"),
}
"""Values of `highway` by class of road; a value with `_link` belongs to the class of its road."""

LAND_USE: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "residential": {"landuse": ("residential",)},
    "commercial": {"landuse": ("commercial",)},
    "retail": {"landuse": ("retail",)},
    "industrial": {"landuse": ("industrial", "port", "quarry", "landfill", "railway", "depot")},
    "institutional": {"landuse": ("education", "religious", "institutional", "military", "cemetery")},
    "construction": {"landuse": ("construction", "brownfield", "greenfield")},
    "farmland": {"landuse": ("farmland", "farmyard", "orchard", "vineyard", "allotments", "greenhouse_horticulture")},
    "green": {
        "landuse": ("grass", "meadow", "village_green", "recreation_ground", "greenery"),
        "leisure": ("park", "garden", "golf_course", "nature_reserve", "dog_park", "common"),
        "natural": ("grassland", "heath", "scrub"),
    },
    "forest": {"landuse": ("forest",), "natural": ("wood",)},
    "water": {"natural": ("water", "wetland", "bay"), "landuse": ("basin", "reservoir"), "waterway": ("riverbank",)},
}
"""Tags of polygons by class of land use."""

WATER_TAGS = {
    ("natural", "water"), ("natural", "bay"), ("landuse", "basin"), ("landuse", "reservoir"), ("waterway", "riverbank"),
}  # fmt: skip
"""Tags of the polygons that maps show as water; wetland is none."""

CHUNK = 200_000
NOT_INSTALLED = "reading OpenStreetMap needs the package osmium: pip install 'urbankit[sources]'"

_ROAD_CLASS = {value: name for name, values in ROADS.items() for value in values}
_LAND_CLASS = {
    (key, value): name for name, tags in LAND_USE.items() for key, values in tags.items() for value in values
}
_LAND_KEYS = sorted({key for key, _ in _LAND_CLASS})


class Shapes:
    """Shapes with a class, of which those in a box are stored; they are parsed in chunks.

    Attributes:
        box: West, south, east and north in degrees.
    """

    def __init__(self, box: Box) -> None:
        self.box = shapely.box(*box)
        self._texts: list[str] = []
        self._classes: list[str] = []
        self._shapes: list[np.ndarray] = []
        self._names: list[np.ndarray] = []

    def add(self, wkb: str, name: str) -> None:
        """Add a shape, as hexadecimal WKB, of the class `name`."""
        self._texts.append(wkb)
        self._classes.append(name)
        if len(self._texts) == CHUNK:
            self._parse()

    def _parse(self) -> None:
        shapes = shapely.from_wkb(np.array(self._texts, dtype=object), on_invalid="ignore")
        invalid = ~shapely.is_valid(shapes)
        shapes[invalid] = shapely.make_valid(shapes[invalid])
        near = shapely.intersects(shapely.envelope(shapes), self.box)
        self._shapes.append(shapes[near])
        self._names.append(np.array(self._classes, dtype=object)[near])
        self._texts, self._classes = [], []

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the shapes, object[n], and their classes, object[n]."""
        self._parse()
        return np.concatenate(self._shapes), np.concatenate(self._names)


@dataclass
class Objects:
    """What a file holds.

    Attributes:
        roads: Lines by class of road.
        buildings: Polygons of buildings.
        land_use: Polygons by class of land use.
        lon: Longitudes of the points of interest.
        lat: Their latitudes.
        category: Their categories.
        box: West, south, east and north of the extract in degrees, as its header says; None if it does not.
        water: Polygons of water for maps, in a wider box.
        main_roads: Main roads for maps, by class, in a wider box.
        places: Names for maps: kind, name, longitude, latitude and population of each place in the wider box.
        broken: Numbers of objects without a usable geometry, by what they are.
    """

    roads: Shapes
    buildings: Shapes
    land_use: Shapes
    water: Shapes
    main_roads: Shapes
    places: list[tuple[str, str, float, float, float]] = field(default_factory=list)
    lon: list[float] = field(default_factory=list)
    lat: list[float] = field(default_factory=list)
    category: list[str] = field(default_factory=list)
    box: Box | None = None
    broken: Counter[str] = field(default_factory=Counter)


def read_categories(path: Path, key: str) -> Categories:
    """Return the table of categories in a CSV file with the columns `category`, `key` and `value`.

    Raises `UserError` if a column or a value is missing.
    """
    try:
        table = pl.read_csv(path, infer_schema=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise UserError(Problem(f"is no table of categories: {error}", path, key=key)) from None
    columns = ["category", "key", "value"]
    if absent := [name for name in columns if name not in table.columns]:
        message = f"has no column {', '.join(absent)}; a table of categories has {', '.join(columns)}"
        raise UserError(Problem(message, path, key=key))
    empty = table.with_row_index("row", offset=2).filter(pl.any_horizontal(pl.col(columns).is_null()))
    if len(empty):
        raise UserError(Problem("has an empty value", path, line=int(empty["row"][0]), key=key))
    categories: dict[str, dict[str, str]] = {}
    for category, tag, value in table.select(columns).iter_rows():
        categories.setdefault(tag, {}).setdefault(value, category)
    return categories


def read_objects(path: Path, use: Collection[str], categories: Categories, box: Box) -> Objects:
    """Return the objects of an OpenStreetMap file in a box around the regions.

    Args:
        path: The file: `.osm.pbf`, `.osm` or another format of osmium.
        use: What to read: `poi`, `roads`, `buildings`, `land_use`, `base_map`.
        categories: The categories of points of interest.
        box: West, south, east and north in degrees.

    Raises:
        UserError: If osmium is not installed, or the file is cut short or of another format.
    """
    try:
        import osmium  # noqa: PLC0415 - optional
        import osmium.filter  # noqa: PLC0415 - optional
        import osmium.geom  # noqa: PLC0415 - optional
    except ImportError:
        raise UserError(Problem(NOT_INSTALLED, path)) from None
    wide = widened(box)
    objects = Objects(Shapes(box), Shapes(box), Shapes(box), Shapes(wide), Shapes(wide))
    keys = set(categories) if "poi" in use else set()
    keys |= {"highway"} if "roads" in use else set()
    keys |= {"building"} if "buildings" in use else set()
    keys |= set(_LAND_KEYS) if "land_use" in use else set()
    keys |= {"highway", "place", *(key for key, _ in WATER_TAGS)} if "base_map" in use else set()
    wkb = osmium.geom.WKBFactory()
    try:
        objects.box = _box(path)
        processor = osmium.FileProcessor(str(path)).with_locations()
        if set(use) - {"roads"}:
            processor = processor.with_areas(osmium.filter.KeyFilter(*sorted(keys)))
        for item in processor.with_filter(osmium.filter.KeyFilter(*sorted(keys))):
            _add(item, objects, use, categories, wkb)
    except RuntimeError as error:
        message = f"cannot be read, it may be cut short or of another format: {error}; fetch it again"
        raise UserError(Problem(message, path)) from None
    return objects


def _box(path: Path) -> Box | None:
    import osmium.io  # noqa: PLC0415 - optional

    with osmium.io.Reader(str(path), osmium.osm.NOTHING) as reader:
        box = reader.header().box()
        return (box.bottom_left.lon, box.bottom_left.lat, box.top_right.lon, box.top_right.lat) if box.valid() else None


def _add(item: Any, objects: Objects, use: Collection[str], categories: Categories, wkb: Any) -> None:
    """Add a node, way or area to what was read."""
    tags = item.tags
    category = category_of(tags.get, categories) if "poi" in use and not item.is_way() else None
    if item.is_node():
        if "base_map" in use and tags.get("place") in PLACES and tags.get("name") and item.location.valid():
            place = (tags["place"], tags["name"], item.location.lon, item.location.lat, _number(tags.get("population")))
            objects.places.append(place)
        if category is not None and item.location.valid():
            _add_point(objects, item.location.lon, item.location.lat, category)
        return
    if item.is_way():
        road = road_class(tags.get("highway", "")) if tags.get("area") != "yes" else None
        kept = [objects.roads] if "roads" in use and road else []
        kept += [objects.main_roads] if "base_map" in use and road in MAIN_ROADS else []
        if road is not None and kept:
            _add_shape(objects, kept, lambda: wkb.create_linestring(item), road)
        return
    if not item.is_area():
        return
    is_building = "buildings" in use and tags.get("building", "no") != "no"
    land = land_class(tags.get) if "land_use" in use else None
    is_water = "base_map" in use and any(tags.get(key) == value for key, value in WATER_TAGS)
    if category is None and not is_building and land is None and not is_water:
        return
    try:
        shape = wkb.create_multipolygon(item)
    except RuntimeError:
        objects.broken["polygons"] += 1
        return
    if is_building:
        objects.buildings.add(shape, "building")
    if land is not None:
        objects.land_use.add(shape, land)
    if is_water:
        objects.water.add(shape, WATER)
    if category is not None:
        point = shapely.point_on_surface(shapely.from_wkb(shape))
        _add_point(objects, point.x, point.y, category)


def _add_point(objects: Objects, lon: float, lat: float, category: str) -> None:
    objects.lon.append(lon)
    objects.lat.append(lat)
    objects.category.append(category)


def _add_shape(objects: Objects, kept: Sequence[Shapes], write: Callable[[], str], name: str) -> None:
    try:
        shape = write()
        for shapes in kept:
            shapes.add(shape, name)
    except RuntimeError:  # a node of it is not in the extract, or it has one node
        objects.broken["roads"] += 1


def widened(box: Box, share: float = 0.15) -> Box:
    """Return a box with a margin on every side, which is a share of its longer side on the ground."""
    west, south, east, north = box
    east_west = max(0.01, float(np.cos(np.radians((south + north) / 2))))
    margin = share * max((east - west) * east_west, north - south)
    return west - margin / east_west, south - margin, east + margin / east_west, north + margin


def _number(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:
        return 0.0


def category_of(get: Callable[[str], str | None], categories: Categories) -> str | None:
    """Return the category of an object by its tags; exact values come before `*`, keys in the order of the table."""
    general = None
    for key, values in categories.items():
        if (text := get(key)) is None or text == "no":
            continue
        for value in text.split(";"):
            if (name := values.get(value.strip())) is not None:
                return name
        general = general or values.get("*")
    return general


def road_class(highway: str) -> str | None:
    """Return the class of a road by its tag `highway`; None for others, such as a bus stop or a planned road."""
    return _ROAD_CLASS.get(highway.removesuffix("_link"))


def land_class(get: Callable[[str], str | None]) -> str | None:
    """Return the class of land use of a polygon by its tags."""
    tags = ((key, get(key)) for key in _LAND_KEYS)
    return next((_LAND_CLASS[key, value] for key, value in tags if value and (key, value) in _LAND_CLASS), None)
