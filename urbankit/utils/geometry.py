"""Positions and sizes of geometries in any CRS, and geometries in another CRS."""

from __future__ import annotations

import warnings
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Geod, Transformer
from pyproj.exceptions import ProjError
from scipy.spatial import cKDTree

TOLERANCE_M = 1.0
"""How far the edge of a polygon may lie from where it lies in the polygon's first CRS."""

SCALE_TOLERANCE = 0.01
"""How far the metres of a CRS may be from those on the ground, as a share; within a UTM zone it is 0.1 %."""

_MOST_PIECES = 1000
_DEGREE_M = 111_320.0
_POLYGON, _MULTIPOLYGON, _COLLECTION = 3, 6, 7


def lonlat(geometry: gpd.GeoSeries) -> NDArray[np.float64]:
    """Centroids [N, 2] in degrees, longitude first; NaN for an empty geometry, and everywhere without a CRS."""
    if geometry.crs is None:
        return np.full((len(geometry), 2), np.nan)
    centroid = in_plane(geometry).centroid.to_crs("EPSG:4326")
    return np.column_stack([centroid.x, centroid.y])


def side_m(geometry: gpd.GeoSeries) -> float:
    """The size of a region in metres: the side of a square of the median area.

    For points it is the median distance to the nearest other point; NaN for a single point.
    """
    plane = in_plane(geometry)
    metres = 1.0 if plane.crs is None else unit(plane.crs)
    if geometry.crs is not None and plane is geometry:
        left, bottom, right, top = plane.total_bounds
        middle = np.array([[(left + right) / 2, (bottom + top) / 2]])
        metres = 1.0 / float(np.sqrt(np.prod(units_per_metre(middle, plane.crs))))
    plane = plane[~(plane.isna() | plane.is_empty)]
    area = plane.area.to_numpy()
    if len(area) and np.median(area) > 0:
        return float(np.sqrt(np.median(area))) * metres
    centre = np.unique(np.column_stack([plane.centroid.x, plane.centroid.y]), axis=0)
    if len(centre) < 2:
        return float("nan")
    return float(np.median(cKDTree(centre).query(centre, k=2)[0][:, 1])) * metres


def unit(crs: CRS) -> float:
    """The length of one unit of `crs`: in metres for a projected CRS, in radians for a geographic one."""
    return float(crs.axis_info[0].unit_conversion_factor)


def units_per_metre(points: NDArray[np.float64], crs: Any) -> NDArray[np.float64]:
    """Return how many units of a projected CRS one metre on the ground is at points [N, 2], along x and y: [N, 2].

    A CRS in metres that is true to 1 % at a point counts as true there, and gives 1.
    """
    crs = CRS.from_user_input(crs)
    metres = unit(crs)
    if not placeable(crs):
        return np.full(np.shape(points), 1.0 / metres)
    half = 50.0 / metres
    to_lonlat = Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform
    lengths = []
    for step in ([half, 0], [0, half]):
        start, end = to_lonlat(*(points - step).T), to_lonlat(*(points + step).T)
        lengths.append(np.asarray(Geod(ellps="WGS84").inv(*start, *end)[2]))
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = 2 * half * metres / np.column_stack(lengths)
    scale[~np.isfinite(scale) | (np.abs(scale - 1) < SCALE_TOLERANCE)] = 1.0
    return scale / metres


def true_metres(points: NDArray[np.float64], crs: Any) -> NDArray[np.float64]:
    """Return positions [N, 2] in metres between which distances are true.

    These are the coordinates in `crs`, or, where that is off by more than 1 % at a point, those in an azimuthal
    equidistant projection around the middle of the points.
    """
    crs = CRS.from_user_input(crs)
    if not len(points) or (units_per_metre(points, crs) == 1.0).all():
        return points
    lon, lat = Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(*points.T)
    lon = unwrap(gpd.GeoSeries(shapely.points(lon, lat), crs="EPSG:4326")).x.to_numpy()
    middle = f"+lon_0={(lon.min() + lon.max()) / 2:.4f} +lat_0={(lat.min() + lat.max()) / 2:.4f}"
    plane = f"+proj=aeqd {middle} +ellps=WGS84 +units=m"
    return np.column_stack(Transformer.from_crs("EPSG:4326", plane, always_xy=True).transform(lon, lat))


def in_plane(geometry: gpd.GeoSeries) -> gpd.GeoSeries:
    """The geometry in a projected CRS: unchanged, or from degrees into a global equal-area CRS.

    The edge of that CRS lies at 180 degrees, or on the other side of the Earth if geometries cross 180 degrees.
    """
    if geometry.crs is None or not geometry.crs.is_geographic:
        return geometry
    geometry = unwrap(geometry)
    left, _, right, _ = geometry.total_bounds
    if not (left < -180 or right > 180):
        return geometry.to_crs("EPSG:6933")
    return geometry.to_crs(f"+proj=cea +lat_ts=30 +lon_0={(left + right) / 2:.4f} +ellps=WGS84 +units=m")


def reproject(geometry: gpd.GeoSeries, crs: Any) -> gpd.GeoSeries:
    """Return polygons in another CRS with edges that follow the straight edges of their first CRS.

    Edges that would lie more than `TOLERANCE_M` off are divided. In a geographic CRS, longitudes are continuous where
    polygons cross 180 degrees, as by `unwrap`. Other geometries are reprojected point by point.
    """
    target = CRS.from_user_input(crs)
    is_polygon = np.isin(shapely.get_type_id(geometry.array), [_POLYGON, _MULTIPOLYGON])
    if is_polygon.any() and geometry.crs != target:
        geometry = geometry.copy()
        geometry[is_polygon] = _divide_edges(np.asarray(geometry[is_polygon].array), geometry.crs, target)
    return unwrap(geometry.to_crs(target))


def _divide_edges(polygons: NDArray[np.object_], source: CRS, target: CRS) -> NDArray[np.object_]:
    """Polygons with more points on the edges that are not straight in `target`; both CRS with x before y."""
    kind, points, (ring_ends, *other_ends) = shapely.to_ragged_array(shapely.force_2d(polygons))
    start, end = points[:-1], points[1:]
    project = Transformer.from_crs(source, target, always_xy=True).transform
    corners, middle = (np.column_stack(project(*xy.T)) for xy in (points, (start + end) / 2))
    step, half = corners[1:] - corners[:-1], middle - corners[:-1]
    if target.is_geographic:
        for delta in (step, half):
            delta[:, 0] = (delta[:, 0] + 180) % 360 - 180  # by the shorter way round
        scale = np.column_stack([np.cos(np.radians(middle[:, 1])), np.ones(len(middle))]) * _DEGREE_M
        error = np.hypot(*((half - step / 2) * scale).T)
    else:
        error = np.hypot(*(half - step / 2).T) * unit(target)
    with np.errstate(invalid="ignore"):
        pieces = np.ceil(np.sqrt(error / TOLERANCE_M)).clip(1, _MOST_PIECES)
    pieces[~np.isfinite(error)] = 1
    pieces[ring_ends[1:-1] - 1] = 1  # from the last point of a ring to the first of the next
    if (pieces == 1).all():
        return polygons
    repeats = np.append(pieces.astype(np.int64), 1)
    first = np.repeat(np.arange(len(points)), repeats)
    offset = np.concatenate([[0], np.cumsum(repeats)])
    share = (np.arange(len(first)) - offset[first]) / repeats[first]
    following = points[np.minimum(first + 1, len(points) - 1)]
    divided = np.where(share[:, None] > 0, points[first] + share[:, None] * (following - points[first]), points[first])
    return shapely.from_ragged_array(kind, divided, (offset[ring_ends], *other_ends))


def unwrap(geometry: gpd.GeoSeries) -> gpd.GeoSeries:
    """Return geometries in degrees with continuous longitudes, such as 179 to 181, where they cross 180 degrees.

    They do if they span more than 180 degrees, but less with their western longitudes counted from 180.
    """
    if geometry.crs is None or not geometry.crs.is_geographic or not len(geometry):
        return geometry
    longitude = shapely.get_coordinates(geometry.array)[:, 0]
    longitude = longitude[np.isfinite(longitude)]
    if not len(longitude) or np.ptp(longitude) <= 180 or np.abs(longitude).max() > 180.001:
        return geometry
    if not 0 < np.ptp(np.where(longitude < 0, longitude + 360, longitude)) < 180:
        return geometry

    def shift(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.column_stack([np.where(points[:, 0] < 0, points[:, 0] + 360, points[:, 0]), points[:, 1]])

    return gpd.GeoSeries(shapely.transform(geometry.array, shift), index=geometry.index, crs=geometry.crs)


def translate(shapes: NDArray[np.object_], x: float) -> NDArray[np.object_]:
    """Return geometries moved along x."""
    return np.asarray(shapely.transform(shapes, lambda points: points + np.array([x, 0.0])))


def split_longitudes(geometry: gpd.GeoSeries, left: float) -> gpd.GeoSeries:
    """Return polygons in degrees with longitudes from `left` to `left + 360`; those that cross its ends are cut."""
    bounds = geometry.bounds
    outside = ((bounds["minx"] < left) | (bounds["maxx"] > left + 360)).to_numpy()
    if not outside.any():
        return geometry
    world = shapely.box(left, -90.001, left + 360, 90.001)
    shapes = np.asarray(geometry[outside].array)
    turned = [translate(shapes, 360.0 * turn) for turn in (-1, 0, 1)]
    geometry = geometry.copy()
    geometry[outside] = shapely.union_all([shapely.intersection(shape, world) for shape in turned], axis=0)
    return geometry


def polygon_parts(geometry: gpd.GeoSeries) -> tuple[gpd.GeoSeries, NDArray[np.bool_]]:
    """Return the polygons of geometries of any kind, in two dimensions, and which geometries had others too.

    A geometry without polygons, or none at all, becomes None.
    """
    shapes = shapely.force_2d(np.asarray(geometry.array))
    kind = shapely.get_type_id(shapes)
    parts, row = shapely.get_parts(shapes, return_index=True)
    while (nested := shapely.get_type_id(parts) == _COLLECTION).any():
        inner, inner_row = shapely.get_parts(parts[nested], return_index=True)
        parts, row = np.append(parts[~nested], inner), np.append(row[~nested], row[nested][inner_row])
    deeper, deeper_row = shapely.get_parts(parts, return_index=True)  # multipolygons in collections
    parts, row = deeper, row[deeper_row]
    polygon = (shapely.get_type_id(parts) == _POLYGON) & ~shapely.is_empty(parts)
    others = np.zeros(len(shapes), bool)
    others[row[~polygon]] = True
    result = shapes.copy()
    result[~np.isin(kind, [_POLYGON, _MULTIPOLYGON]) | shapely.is_empty(shapes)] = None
    collected = np.unique(row[polygon & ~np.isin(kind, [_POLYGON, _MULTIPOLYGON])[row]])
    for i in collected:
        result[i] = shapely.union_all(parts[polygon & (row == i)])
    return gpd.GeoSeries(result, index=geometry.index, crs=geometry.crs), others


def placeable(crs: CRS) -> bool:
    """Return whether positions in a CRS have a longitude and latitude.

    Those of a local engineering CRS have none. A damaged CRS may have units of no length, or of a negative one.
    """
    if not (crs.is_geographic or crs.is_projected) or "undefined" in crs.name.lower() or not unit(crs) > 0:
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    except ProjError:
        return False
    return True
