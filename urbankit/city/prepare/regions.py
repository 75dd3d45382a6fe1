"""The regions of a city: polygons from a file, a square grid, or H3 cells, always in a projected CRS."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import h3
import numpy as np
import polars as pl
import shapely
from pyproj import CRS

from urbankit.city.ids import id_text
from urbankit.city.io import raster
from urbankit.city.io.raster import ellipsoidal_area_km2
from urbankit.city.io.tables import check_columns
from urbankit.city.io.vectors import is_vector, read_vector
from urbankit.city.report import SourceReport
from urbankit.city.spec import GridRegions, RegionFile, RegionSpec
from urbankit.utils.errors import Problem, Problems, UserError
from urbankit.utils.paths import resolve_inside
from urbankit.utils.text import list_some

MAX_CELLS = 5_000_000
SLIVER = 1e-2


def build_regions(
    spec: RegionSpec, crs: str | None, data: Path, problems: Problems, report: SourceReport
) -> gpd.GeoDataFrame | None:
    """The regions in their order: `region_id` (text), `area_km2`, centroids `lon`, `lat`, `x`, `y`, `geometry`.

    `crs`: a projected CRS in metres, or None for the UTM zone of the regions. `x`, `y` are in it, areas on the
    ellipsoid. None when `problems` says why.
    """
    if isinstance(spec, RegionFile):
        shapes = _from_file(spec, data, problems, report)
    else:
        shapes = _cells(spec, crs, data, problems)
        report.rows = 0 if shapes is None else len(shapes)
    if shapes is None:
        return None
    shapes = shapes.to_crs(crs or utm(shapes))
    if not np.isfinite(shapes.total_bounds).all():
        problems.add(f"cannot be projected to {shapes.crs.to_string()}; check both CRS", key="regions")
        return None
    if not _mend(shapes, problems, report):
        return None
    _report_overlaps(shapes, report)
    report.matched = len(shapes)
    if len(shapes) == 1:
        report.note("the city has one region: views and splits need more")
    return _with_measures(shapes, report)


def utm(shapes: gpd.GeoDataFrame | gpd.GeoSeries) -> CRS:
    """The UTM zone of the middle of the shapes. Raises `UserError` near the poles, which have none."""
    try:
        return shapes.estimate_utm_crs()
    except RuntimeError:
        raise UserError(Problem("there is no UTM zone here; name a projected CRS in metres", key="crs")) from None


def _from_file(spec: RegionFile, data: Path, problems: Problems, report: SourceReport) -> gpd.GeoDataFrame | None:
    path = resolve_inside(data, spec.file)
    frame = read_vector(path, problems, "regions", layer=spec.layer, crs=spec.crs)
    if frame is None or not check_columns(path, {"id": spec.id}, frame.columns, problems, "regions"):
        return None
    report.rows = len(frame)
    column = pl.from_pandas(frame[spec.id])
    ids = column.to_frame("id").select(id_text("id", column.dtype)).to_series()
    null = ids.is_null()
    if null.any():
        rows = list_some(np.flatnonzero(null.to_numpy()) + 1)
        problems.add(f"regions without an id: row {rows}; give each its own", file=path, key="regions.id")
    twice = ids.drop_nulls().value_counts().filter(pl.col("count") > 1).sort("id")
    if len(twice):
        problems.add(f"ids that occur more than once: {list_some(twice['id'])}", file=path, key="regions.id")
    empty = frame.geometry.isna() | frame.geometry.is_empty
    flat = ~empty & ~frame.geom_type.isin(["Polygon", "MultiPolygon", "GeometryCollection"])
    for mask, what in [(empty, "no geometry"), (flat, "a geometry that is not a polygon")]:
        if mask.any():
            problems.add(f"regions with {what}: {list_some(frame[spec.id][mask])}", file=path, key="regions.file")
    if null.any() or len(twice) or empty.any() or flat.any():
        return None
    return gpd.GeoDataFrame({"region_id": ids.to_list()}, geometry=frame.geometry.force_2d().to_numpy(), crs=frame.crs)


def _mend(shapes: gpd.GeoDataFrame, problems: Problems, report: SourceReport) -> bool:
    """Make invalid polygons valid in place; a region without area is a mistake."""
    invalid = ~shapes.is_valid
    if invalid.any():
        mended = shapely.make_valid(shapes.geometry[invalid].to_numpy(), method="structure", keep_collapsed=False)
        shapes.loc[invalid, "geometry"] = mended
        report.note(f"invalid polygons, mended: {list_some(shapes.region_id[invalid])}")
    flat = shapes.region_id[~(shapes.area > 0)]
    if len(flat):
        problems.add(f"regions without area: {list_some(flat)}; remove or redraw them", key="regions")
    return not len(flat)


def _report_overlaps(shapes: gpd.GeoDataFrame, report: SourceReport) -> None:
    geometry = shapes.geometry.to_numpy()
    left, right = shapes.sindex.query(geometry, predicate="intersects")
    left, right = left[left < right], right[left < right]
    shared = shapely.area(shapely.intersection(geometry[left], geometry[right]))
    share = shared / np.minimum(shapely.area(geometry[left]), shapely.area(geometry[right]))
    many, slivers = share > SLIVER, (share > 1e-9) & (share <= SLIVER)
    if many.any():
        ids = shapes.region_id.to_numpy()
        worst = np.flatnonzero(many)[np.argsort(-share[many], kind="stable")]
        pairs = list_some((f"{ids[left[i]]} and {ids[right[i]]} by {share[i]:.1%}" for i in worst), 3)
        report.note(f"regions that overlap: {pairs}")
    if slivers.any():
        report.note(f"pairs of regions that overlap by slivers, under {SLIVER:.0%} of their area: {slivers.sum()}")


def _with_measures(shapes: gpd.GeoDataFrame, report: SourceReport) -> gpd.GeoDataFrame:
    centroid = shapes.geometry.centroid
    outside = shapes.region_id[~shapes.covers(centroid)]
    if len(outside):
        report.note(f"regions whose centroid lies outside them: {list_some(outside)}")
    lonlat = centroid.to_crs("EPSG:4326")
    columns = {
        "region_id": shapes.region_id.to_numpy(),
        "area_km2": ellipsoidal_area_km2(shapes),
        "lon": lonlat.x.to_numpy(),
        "lat": lonlat.y.to_numpy(),
        "x": centroid.x.to_numpy(),
        "y": centroid.y.to_numpy(),
    }
    return gpd.GeoDataFrame(columns, geometry=shapes.geometry.to_numpy(), crs=shapes.crs)


def _cells(spec: RegionSpec, crs: str | None, data: Path, problems: Problems) -> gpd.GeoDataFrame | None:
    """The cells of a grid or of H3 that overlap what they cover."""
    is_grid = isinstance(spec, GridRegions)
    key = "regions.grid" if is_grid else "regions.h3"
    path = resolve_inside(data, spec.grid.covering if is_grid else spec.h3.covering)
    if is_vector(path):
        frame = read_vector(path, problems, f"{key}.covering")
        if frame is None:
            return None
        area = frame.geometry
    else:
        try:
            bounds, raster_crs = raster.extent(path)
        except UserError as error:
            problems.extend(Problem(one.message, one.file, key=f"{key}.covering") for one in error.problems)
            return None
        area = gpd.GeoSeries([shapely.segmentize(shapely.box(*bounds), (bounds[2] - bounds[0]) / 50)], crs=raster_crs)
    cells = _squares(spec, area.to_crs(crs or utm(area)), problems) if is_grid else _hexagons(spec, area, problems)
    if cells is None:
        return None
    if is_vector(path):
        kept = np.unique(area.to_crs(cells.crs).sindex.query(cells.geometry, predicate="intersects")[0])
    else:
        kept = np.flatnonzero(raster.covering_mask(path, cells.geometry))
    if not len(kept):
        problems.add("no cell overlaps it", file=path, key=f"{key}.covering")
        return None
    return cells.iloc[kept].reset_index(drop=True)


def _squares(spec: GridRegions, area: gpd.GeoSeries, problems: Problems) -> gpd.GeoDataFrame | None:
    size = spec.grid.size_m
    left, bottom, right, top = np.floor(area.total_bounds / size).astype(np.int64)
    count = (right - left + 1) * (top - bottom + 1)
    if count > MAX_CELLS:
        problems.add(f"{size:g} m would make {count:,} cells, more than {MAX_CELLS:,}", key="regions.grid.size_m")
        return None
    row, column = (part.ravel() for part in np.mgrid[bottom : top + 1, left : right + 1])
    boxes = shapely.box(column * size, row * size, (column + 1) * size, (row + 1) * size)
    ids = np.char.add(np.char.add(column.astype(str), "_"), row.astype(str))
    return gpd.GeoDataFrame({"region_id": ids.astype(object)}, geometry=boxes, crs=area.crs)


def _hexagons(spec: RegionSpec, area: gpd.GeoSeries, problems: Problems) -> gpd.GeoDataFrame | None:
    resolution = spec.h3.resolution
    outline = area.to_crs("EPSG:4326").union_all()
    count = shapely.area(gpd.GeoSeries([outline], crs="EPSG:4326").to_crs("EPSG:6933"))[0]
    count /= h3.average_hexagon_area(resolution, unit="m^2")
    if count > MAX_CELLS:
        problems.add(f"would make about {count:,.0f} cells, more than {MAX_CELLS:,}", key="regions.h3.resolution")
        return None
    cells = sorted(h3.h3shape_to_cells_experimental(h3.geo_to_h3shape(outline), resolution, "overlap"))
    if not cells:
        problems.add("no cell overlaps the area", key="regions.h3")
        return None
    corners = [h3.cell_to_boundary(cell) for cell in cells]
    outlines = shapely.polygons([shapely.linearrings([(lon, lat) for lat, lon in ring]) for ring in corners])
    return gpd.GeoDataFrame({"region_id": cells}, geometry=outlines, crs="EPSG:4326")
