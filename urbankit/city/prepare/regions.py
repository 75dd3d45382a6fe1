"""The regions of a city: polygons from a file, a square grid, or H3 cells, always in a projected CRS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import geopandas as gpd
import h3
import numpy as np
import polars as pl
import shapely
from pyproj import CRS

from urbankit.city.ids import id_text
from urbankit.city.io import raster
from urbankit.city.io.access import Access
from urbankit.city.io.columns import check_text, from_pandas
from urbankit.city.io.raster import ellipsoidal_area_km2
from urbankit.city.io.tables import check_columns
from urbankit.city.io.vectors import is_vector, read_vector
from urbankit.city.prepare.context import Context
from urbankit.city.report import SourceReport
from urbankit.city.spec import H3, Grid, GridRegions, H3Regions, RegionFile, RegionSpec
from urbankit.utils.errors import Problem, Problems, UserError
from urbankit.utils.geometry import polygon_parts, reproject, split_longitudes, unwrap
from urbankit.utils.text import list_some

MAX_CELLS = 5_000_000
MAX_BOX_CELLS = 100_000_000
SLIVER = 1e-2


def build_regions(spec: RegionSpec, crs: str | None, context: Context, report: SourceReport) -> gpd.GeoDataFrame:
    """The regions in their order: `region_id` (text), `area_km2`, centroids `lon`, `lat`, `x`, `y`, `geometry`.

    `crs`: a projected CRS in metres, or None for the UTM zone of the regions. `x`, `y` are in it, areas on the
    ellipsoid.
    """
    if isinstance(spec, RegionFile):
        shapes = _from_file(spec, context, report)
    else:
        shapes = _cells(spec, crs, context, report)
        report.rows = len(shapes)
    shapes = shapes.set_geometry(reproject(shapes.geometry, crs or utm(shapes)))
    lonlat = shapes.geometry.to_crs("EPSG:4326")
    if not np.isfinite([*shapes.total_bounds, *lonlat.total_bounds]).all():
        raise UserError(Problem(f"cannot be projected to {shapes.crs.to_string()}; check both CRS", key="regions"))
    _repair(shapes, report)
    _report_overlaps(shapes, report)
    report.matched = len(shapes)
    if len(shapes) == 1:
        report.note("the city has one region: views and splits need more")
    return _with_measures(shapes, report)


def regions_without_geometry(ids: Sequence[str]) -> gpd.GeoDataFrame:
    """Return regions as `build_regions` does, with missing geometry, measures and CRS."""
    missing = np.full(len(ids), np.nan)
    columns = {"region_id": list(ids)} | {name: missing for name in ("area_km2", "lon", "lat", "x", "y")}
    return gpd.GeoDataFrame(columns, geometry=[None] * len(ids))


def utm(shapes: gpd.GeoDataFrame | gpd.GeoSeries) -> CRS:
    """The UTM zone of the middle of the shapes. Raises `UserError` near the poles, which have none."""
    try:
        if not shapes.crs.is_geographic:
            return shapes.estimate_utm_crs()
        left, bottom, right, top = unwrap(shapes.geometry).total_bounds
        middle = shapely.Point(((left + right) / 2 + 180) % 360 - 180, (bottom + top) / 2)
        return gpd.GeoSeries([middle], crs=shapes.crs).estimate_utm_crs()
    except RuntimeError:
        raise UserError(Problem("no UTM zone covers the regions; give a projected CRS in metres", key="crs")) from None


def _from_file(spec: RegionFile, context: Context, report: SourceReport) -> gpd.GeoDataFrame:
    path = context.path(spec.file)
    frame = read_vector(path, "regions", layer=spec.layer, crs=spec.crs, access=context.access)
    check_columns(path, {"id": spec.id}, frame.columns, "regions")
    report.rows = len(frame)
    problems = Problems(path)
    column = from_pandas(frame[spec.id], path, "regions.id")
    check_text(spec.id, column.dtype, path, "regions.id")
    ids = column.to_frame("id").select(id_text("id", column.dtype)).to_series()
    if ids.null_count():
        rows = list_some(np.flatnonzero(ids.is_null().to_numpy()) + 1)
        problems.add(f"regions without an id: row {rows}; give each its own", key="regions.id")
    repeated = ids.drop_nulls().value_counts().filter(pl.col("count") > 1).sort("id")
    if len(repeated):
        problems.add(f"ids that occur more than once: {list_some(repeated['id'])}", key="regions.id")
    empty = frame.geometry.isna() | frame.geometry.is_empty
    polygons, mixed = polygon_parts(frame.geometry)
    other = ~empty & polygons.isna()
    mixed &= polygons.notna().to_numpy()
    if mixed.any():
        report.note(
            f"regions with points or lines besides polygons, which are left out: {list_some(frame[spec.id][mixed])}"
        )
    for mask, fault in [(empty, "no geometry"), (other, "a geometry that is not a polygon")]:
        if mask.any():
            problems.add(f"regions with {fault}: {list_some(frame[spec.id][mask])}", key="regions.file")
    problems.raise_if_any()
    return gpd.GeoDataFrame({"region_id": ids.to_list()}, geometry=polygons.to_numpy(), crs=frame.crs)


def _repair(shapes: gpd.GeoDataFrame, report: SourceReport) -> None:
    """Make invalid polygons valid in place. Raises `UserError` for regions without area."""
    invalid = ~shapes.is_valid
    if invalid.any():
        repaired = shapely.make_valid(shapes.geometry[invalid].to_numpy(), method="structure", keep_collapsed=False)
        shapes.loc[invalid, "geometry"] = repaired
        report.note(f"invalid polygons, repaired: {list_some(shapes.region_id[invalid])}")
    flat = shapes.region_id[~(shapes.area > 0)]
    if len(flat):
        raise UserError(Problem(f"regions without area: {list_some(flat)}; remove or redraw them", key="regions"))


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
    area_km2 = ellipsoidal_area_km2(shapes)
    unmeasured = shapes.region_id[~np.isfinite(area_km2)]
    if len(unmeasured):
        message = f"regions whose area cannot be measured: {list_some(unmeasured)}; they reach too far round the Earth"
        raise UserError(Problem(message, key="regions"))
    columns = {
        "region_id": shapes.region_id.to_numpy(),
        "area_km2": area_km2,
        "lon": lonlat.x.to_numpy(),
        "lat": lonlat.y.to_numpy(),
        "x": centroid.x.to_numpy(),
        "y": centroid.y.to_numpy(),
    }
    return gpd.GeoDataFrame(columns, geometry=shapes.geometry.to_numpy(), crs=shapes.crs)


def _cells(spec: GridRegions | H3Regions, crs: str | None, context: Context, report: SourceReport) -> gpd.GeoDataFrame:
    """The cells of a square or H3 grid that overlap a valid raster cell or a polygon of the file `covering`."""
    kind, grid = ("grid", spec.grid) if isinstance(spec, GridRegions) else ("h3", spec.h3)
    path, key, access = context.path(grid.covering), f"regions.{kind}.covering", context.access
    is_polygons = is_vector(path)
    if is_polygons:
        area = _polygons(path, key, grid, access, report)
    else:
        problems = Problems()
        with problems.collect(key):
            bounds, raster_crs = raster.extent(path, crs=grid.crs, access=access)
        problems.raise_if_any()
        area = gpd.GeoSeries([shapely.segmentize(shapely.box(*bounds), (bounds[2] - bounds[0]) / 50)], crs=raster_crs)
    if isinstance(grid, Grid):
        cells = _squares(grid.size_m, reproject(area, crs or utm(area)))
    else:
        cells = _hexagons(grid.resolution, area)
    if is_polygons:
        rows = np.unique(reproject(area, cells.crs).sindex.query(cells.geometry, predicate="intersects")[0])
    else:
        rows = np.flatnonzero(raster.covering_mask(path, cells.geometry, crs=grid.crs, access=access))
    if not len(rows):
        raise UserError(Problem("no cell overlaps it", path, key=key))
    return cells.iloc[rows].reset_index(drop=True)


def _polygons(path: Path, key: str, grid: Grid | H3, access: Access, report: SourceReport) -> gpd.GeoSeries:
    """The valid polygons of the file `covering`."""
    area, mixed = polygon_parts(read_vector(path, key, layer=grid.layer, crs=grid.crs, access=access).geometry)
    if area.isna().all():
        raise UserError(Problem("holds no polygons", path, key=key))
    if mixed.any() or area.isna().any():
        report.note(
            f"features of {path.name} that are not only polygons; other geometries are ignored: "
            f"{int((mixed | area.isna()).sum())}"
        )
    return area.dropna().make_valid()


def _squares(size_m: float, area: gpd.GeoSeries) -> gpd.GeoDataFrame:
    bounds = np.floor(area.total_bounds / size_m)
    if not np.isfinite(bounds).all():
        raise UserError(Problem(f"cannot be projected to {area.crs.to_string()}; check both CRS", key="regions.grid"))
    count = (bounds[2] - bounds[0] + 1) * (bounds[3] - bounds[1] + 1)
    if count > MAX_CELLS:
        message = f"{size_m:g} m would make {count:,.0f} cells, more than {MAX_CELLS:,}"
        raise UserError(Problem(message, key="regions.grid.size_m"))
    left, bottom, right, top = bounds.astype(np.int64)
    row, column = (index.ravel() for index in np.mgrid[bottom : top + 1, left : right + 1])
    boxes = shapely.box(column * size_m, row * size_m, (column + 1) * size_m, (row + 1) * size_m)
    ids = [f"{i}_{j}" for i, j in zip(column.tolist(), row.tolist(), strict=True)]
    return gpd.GeoDataFrame({"region_id": ids}, geometry=boxes, crs=area.crs)


def _hexagons(resolution: int, area: gpd.GeoSeries) -> gpd.GeoDataFrame:
    # h3 knows longitudes of -180 to 180, and edges that do not cross 180 degrees.
    lonlat = split_longitudes(reproject(area, "EPSG:4326"), -180)
    parts = shapely.get_parts(polygon_parts(gpd.GeoSeries([lonlat.union_all()], crs=lonlat.crs))[0].to_numpy())
    if not len(parts) or not np.isfinite(shapely.bounds(parts)).all():
        raise UserError(Problem("no cell overlaps the area", key="regions.h3"))
    # h3 looks at the cells of the bounding box of each part.
    boxes = gpd.GeoSeries(shapely.box(*shapely.bounds(parts).T), crs=lonlat.crs).to_crs("EPSG:6933")
    for shapes, most in ((gpd.GeoSeries(parts, crs=lonlat.crs).to_crs("EPSG:6933"), MAX_CELLS), (boxes, MAX_BOX_CELLS)):
        count = shapes.area.sum() / h3.average_hexagon_area(resolution, unit="m^2")
        count += shapes.length.sum() / h3.average_hexagon_edge_length(resolution, unit="m") / 2
        if count > most:
            message = f"would make about {count:,.0f} cells, more than {most:,}"
            raise UserError(Problem(message, key="regions.h3.resolution"))
    # A cell that overlaps two parts is one region.
    cells = sorted({
        cell
        for part in parts
        for cell in h3.h3shape_to_cells_experimental(h3.geo_to_h3shape(part), resolution, "overlap")
    })  # fmt: skip
    if not cells:
        raise UserError(Problem("no cell overlaps the area", key="regions.h3"))
    corners = [h3.cell_to_boundary(cell) for cell in cells]
    outlines = shapely.polygons([shapely.linearrings([(lon, lat) for lat, lon in ring]) for ring in corners])
    return gpd.GeoDataFrame({"region_id": cells}, geometry=unwrap(gpd.GeoSeries(outlines, crs="EPSG:4326")))
