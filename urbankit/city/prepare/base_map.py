"""`base_map.parquet`: water, main roads and names of places around the regions, as small as maps on a screen need."""

from __future__ import annotations

from collections.abc import Mapping

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from urbankit.city.io.columns import texts
from urbankit.city.io.vectors import read_vector
from urbankit.city.points import NEEDS_GEOMETRY
from urbankit.city.prepare.context import Built, Context
from urbankit.city.prepare.points import read_points
from urbankit.city.report import SourceReport
from urbankit.city.spec_base_map import BaseMapSpec, PlaceFile, ShapeFile
from urbankit.utils.base_map import FILE, PLACES, WATER, base_map_frame
from urbankit.utils.errors import Problem, UserError
from urbankit.utils.geometry import reproject
from urbankit.utils.text import list_some

MARGIN = 0.1
"""How far the base map reaches beyond the regions, as a share of their longer side."""

STEPS = 16_000
"""Details smaller than the longer side over this are left out: a pixel, where 1,000 pixels are zoomed 16 times."""

MOST_POINTS = 100_000
"""Most points of all shapes; with more, they are simplified further. They take less than 1 MB of the page."""

MOST_PLACES = 500
_LONGEST_NAME = 60


def build_base_map(spec: BaseMapSpec, context: Context, report: SourceReport) -> Built:
    """Read the files of a city file's `base_map`. Raises `UserError` for one that lacks the shapes or columns."""
    frames = []
    if spec.water is not None:
        frames.append(_shapes(spec.water, "water", (3, 6), "polygons", WATER, context))
    if spec.roads is not None:
        frames.append(_shapes(spec.roads, "roads", (1, 5), "lines", "primary", context))
    if spec.places is not None:
        frames.append(_places(spec.places, context, report))
    rows = sum(map(len, frames))
    frame = gpd.GeoDataFrame(pd.concat([one.to_crs("EPSG:4326") for one in frames], ignore_index=True))
    report.rows += rows
    return built_base_map(frame, spec.credit, context, report)


def _shapes(
    spec: ShapeFile, name: str, types: tuple[int, int], what: str, kind: str, context: Context
) -> gpd.GeoDataFrame:
    path, key = context.path(spec.file), f"base_map.{name}"
    frame = read_vector(path, key, layer=spec.layer, crs=spec.crs, access=context.access)
    shapes = frame.geometry[np.isin(shapely.get_type_id(frame.geometry.to_numpy()), types)]
    if shapes.empty:
        raise UserError(Problem(f"holds no {what}", path, key=key))
    return base_map_frame([kind] * len(shapes), [None] * len(shapes), shapes.to_numpy(), frame.crs)


def _places(spec: PlaceFile, context: Context, report: SourceReport) -> gpd.GeoDataFrame:
    path, key = context.path(spec.file), "base_map.places"
    points = read_points(path, {"name": spec.name, "place": spec.place}, spec, context.access, key)
    kinds = texts(points.columns, spec.place, path, f"{key}.place")
    known = kinds.is_in(PLACES).fill_null(False).to_numpy()
    if not known.any():
        message = f"column '{spec.place}' has none of the kinds {', '.join(PLACES)}, but {list_some(kinds.unique(), 5)}"
        raise UserError(Problem(message, path, key=f"{key}.place"))
    report.rows += int((~known).sum())
    report.drop((~known).sum(), f"places of another kind than {', '.join(PLACES)}")
    names = texts(points.columns, spec.name, path, f"{key}.name").to_numpy()[known]
    where = shapely.points(points.lon[known], points.lat[known])
    return base_map_frame(kinds.to_numpy()[known], names, where, "EPSG:4326")


def built_base_map(frame: gpd.GeoDataFrame, credit: str, context: Context, report: SourceReport) -> Built:
    """The layer of a base map from a frame as `base_map_frame` makes it, places in the order of their importance."""
    if not context.has_geometry:
        raise UserError(NEEDS_GEOMETRY)
    if frame.empty:
        return Built({FILE: frame}, {"credit": credit})
    left, low, right, high = context.regions.total_bounds.tolist()
    side = max(right - left, high - low)
    box = (left - MARGIN * side, low - MARGIN * side, right + MARGIN * side, high + MARGIN * side)
    shapes = reproject(frame.geometry, context.regions.crs).to_numpy()
    shapes[~shapely.is_valid(shapes)] = shapely.make_valid(shapes[~shapely.is_valid(shapes)])
    inside = shapely.intersects(shapes, shapely.box(*box))
    report.matched = int(inside.sum())
    report.drop((~inside).sum(), "outside the map")
    frame, shapes = frame[inside], shapes[inside]
    places = frame["kind"].isin(PLACES).to_numpy()
    kinds = frame["kind"].to_numpy()
    lines = {
        kind: _merged(shapely.clip_by_rect(shapes[kinds == kind], *box), kind) for kind in dict.fromkeys(kinds[~places])
    }
    simple = _simplified(lines, side / STEPS)
    named = _important(frame[places].assign(geometry=shapes[places]))
    built = base_map_frame(
        [*simple, *named["kind"]], [*[None] * len(simple), *named["name"]], [*simple.values(), *named.geometry],
        context.regions.crs,
    )  # fmt: skip
    return Built({FILE: built}, {"credit": credit})


def _merged(shapes: np.ndarray, kind: str) -> shapely.Geometry:
    """The shapes of one kind as one; roads without the nodes at which they only continue."""
    union = shapely.union_all(shapes)
    return union if kind == WATER else shapely.line_merge(union)


def _simplified(shapes: Mapping[str, shapely.Geometry], tolerance: float) -> dict[str, shapely.Geometry]:
    while True:
        simple = {
            kind: _without_specks(shapely.simplify(shape, tolerance), kind, tolerance) for kind, shape in shapes.items()
        }
        simple = {kind: shape for kind, shape in simple.items() if not shapely.is_empty(shape)}
        if sum(map(shapely.get_num_coordinates, simple.values())) <= MOST_POINTS:
            return simple
        tolerance *= 1.5


def _without_specks(shape: shapely.Geometry, kind: str, tolerance: float) -> shapely.Geometry:
    """The parts that are more than a few pixels where details of `tolerance` are one."""
    parts = shapely.get_parts(shape)
    if kind != WATER:
        return shapely.multilinestrings(
            parts[(shapely.get_type_id(parts) == 1) & (shapely.length(parts) > 4 * tolerance)]
        )
    return shapely.multipolygons(
        parts[(shapely.get_type_id(parts) == 3) & (shapely.area(parts) > (6 * tolerance) ** 2)]
    )


def _important(places: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """The first places with a name, by kind and then as they are ordered, each once."""
    names = places["name"].fillna("").str.split().str.join(" ").str.slice(0, _LONGEST_NAME)
    places = places.assign(name=names)[(names != "").to_numpy()]
    order = np.argsort(places["kind"].map(PLACES.index).to_numpy(np.int64), kind="stable")
    places = places.iloc[order].drop_duplicates(["kind", "name"])
    return places.head(MOST_PLACES)
