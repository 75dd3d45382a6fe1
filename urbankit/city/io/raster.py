"""Exact area-weighted statistics of the cells of a raster within regions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import geopandas as gpd
import numpy as np
import pandas as pd
import pyproj
import rasterio
import shapely
from exactextract import exact_extract
from exactextract.raster import RasterSource
from rasterio.enums import ColorInterp
from rasterio.windows import Window

from urbankit.city.io.access import NO_REFERENCES, Access
from urbankit.city.io.codes import ALPHAEARTH_GDAL, FEWEST
from urbankit.city.io.nodata import NodataWatch
from urbankit.city.io.raster_file import open_raster, raster_crs
from urbankit.utils.errors import Problem, UserError
from urbankit.utils.geometry import reproject, split_longitudes, unwrap
from urbankit.utils.text import first_line

Statistic = Literal["mean", "sum", "density", "majority"]

_CELLS_IN_MEMORY = 8_000_000
_MAX_CELLS = 10_000_000_000
_MAX_INTEGER = 2**53
# Rounding alone covers less than this share of a region (or of a cell): it does not count as overlap.
LEAST_SHARE = 1e-9


class ZonalResult(NamedTuple):
    """`values` float64[N], one per region, NaN where it overlaps no valid cell; `notes` for the report."""

    values: np.ndarray
    notes: list[str]


def zonal(
    path: str | Path,
    regions: gpd.GeoDataFrame,
    statistic: Statistic,
    band: int | None = None,
    nodata: Collection[float] = (),
    *,
    crs: str | None = None,
    access: Access = NO_REFERENCES,
) -> ZonalResult:
    """A statistic of one raster band over every region, each cell weighted by its part within the region.

    That part is computed from the exact intersection of polygon and cell (exactextract), so it also holds for
    regions smaller than a cell. Cells are missing where the raster declares nodata or a mask, and where they
    are NaN or infinite.

    Args:
        path: The raster file.
        regions: N rows, in any CRS.
        statistic: `mean`: mean of the cells, weighted by covered area (on the sphere, for a raster in degrees).
            `sum`: sum of the cells, each times its covered fraction: for counts, such as people per cell.
            `density`: that sum divided by the region's area in km² (on the ellipsoid) that has valid cells, so that
            water or a missing edge does not lower it.
            `majority`: the class code with the largest covered area; the larger code of two that tie.
        band: Counted from 1; None for a raster of one band.
        nodata: Further values that stand for a missing cell.
        crs: The CRS of a raster that has none, or a local one.
        access: What the raster may refer to.

    Raises:
        UserError: For a raster that cannot be used, or that has no valid cell in any region.
    """
    with open_raster(path, crs=crs, access=access) as dataset:
        shapes = in_raster(regions.geometry, dataset, crs)
        number = _chosen_band(dataset, band)
        if statistic != "majority":
            check_amounts(dataset, number)
        cells = _Cells(dataset, number, nodata)
        weighted = {"mean": "mean", "majority": "mode"}.get(statistic)
        table = _extract(cells, shapes, {"value": _by_area(weighted, shapes) if weighted else "sum"})
        values, share = table["value"].to_numpy(np.float64), _valid_share(table, shapes, cells)
        present = share > LEAST_SHARE
        if not present.any():
            raise UserError(Problem(explain_no_overlap(dataset, shapes), path))
    if statistic == "density":
        with np.errstate(divide="ignore", invalid="ignore"):
            values = values / (share * ellipsoidal_area_km2(regions))
    return ZonalResult(np.where(present, values, np.nan), [*share_notes(share), *cells.watch.notes("the raster")])


def cell_statistics(
    path: str | Path,
    regions: gpd.GeoDataFrame,
    operations: Mapping[str, str],
    band: int | None = None,
    nodata: Collection[float] = (),
    *,
    access: Access = NO_REFERENCES,
) -> pd.DataFrame:
    """Statistics of the cells of one raster band within every region.

    Each cell counts by its part within the region, as in `zonal`: by covered area, on the sphere for a raster in
    degrees. Cells are missing as in `zonal`, and where they equal a number of `nodata`.

    Args:
        path: The raster file.
        regions: N rows, in any CRS.
        operations: Operations of exactextract (`mean`, `stdev`, `quantile(q=0.1)`, …) by the name of their column.
        band: Counted from 1; None for a raster of one band.
        nodata: Further values that stand for a missing cell.
        access: What the raster may refer to.

    Returns:
        float64 [N, operations + 1] in the order of the regions. The last column, `valid`, is the share, 0 to 1, of
        the region's area on valid cells; where it is 0, all others are NaN.

    Raises:
        UserError: For a raster that cannot be used, lacks the band, or has no valid cell in any region.
    """
    with open_raster(path, access=access) as dataset:
        shapes = in_raster(regions.geometry, dataset)
        number = _chosen_band(dataset, band)
        check_amounts(dataset, number)
        cells = _Cells(dataset, number, nodata)
        table = _extract(cells, shapes, {name: _by_area(how, shapes) for name, how in operations.items()})
        share = _valid_share(table, shapes, cells)
        if not (share > LEAST_SHARE).any():
            raise UserError(Problem(explain_no_overlap(dataset, shapes), path))
    values = table[list(operations)].astype(np.float64).where(pd.Series(share > LEAST_SHARE), np.nan)
    return values.assign(valid=np.where(share > LEAST_SHARE, share, 0.0))


def covering_mask(
    path: str | Path, boxes: gpd.GeoSeries, *, crs: str | None = None, access: Access = NO_REFERENCES
) -> np.ndarray:
    """bool[N]: which of `boxes` (in any CRS) overlap at least one valid cell of the raster's first band.

    `crs` and `access` are as for `zonal`. Raises UserError for a raster that cannot be used.
    """
    with open_raster(path, crs=crs, access=access) as dataset:
        table = _extract(_Cells(dataset, 1), in_raster(boxes, dataset, crs), {})
        return table["count"].to_numpy() > LEAST_SHARE


def extent(
    path: str | Path, *, crs: str | None = None, access: Access = NO_REFERENCES
) -> tuple[tuple[float, float, float, float], pyproj.CRS]:
    """`(left, bottom, right, top)` of a raster in its own CRS, and that CRS. Raises UserError."""
    with open_raster(path, crs=crs, access=access) as dataset:
        return _bounds(dataset), raster_crs(dataset, crs)


def ellipsoidal_area_km2(regions: gpd.GeoDataFrame | gpd.GeoSeries) -> np.ndarray:
    """float64[N]: areas on the ellipsoid, through an equal-area projection centred on the regions.

    A UTM zone is off by up to 0.1 %, Web Mercator by a factor of two at 45 degrees.
    """
    lonlat = unwrap(regions.geometry.to_crs("EPSG:4326"))
    left, bottom, right, top = lonlat.total_bounds
    equal_area = f"+proj=laea +lon_0={(left + right) / 2:.4f} +lat_0={(bottom + top) / 2:.4f} +ellps=WGS84 +units=m"
    return lonlat.to_crs(equal_area).area.to_numpy() / 1e6


def _bounds(dataset: rasterio.DatasetReader) -> tuple[float, float, float, float]:
    """`(left, bottom, right, top)`, also of a raster whose rows run northwards or whose columns run westwards."""
    (left, right), (bottom, top) = sorted(dataset.bounds[::2]), sorted(dataset.bounds[1::2])
    return left, bottom, right, top


def in_raster(shapes: gpd.GeoSeries, dataset: rasterio.DatasetReader, declared: str | None = None) -> gpd.GeoSeries:
    """Return polygons in the CRS of a raster, with longitudes in the range of its cells."""
    crs = raster_crs(dataset, declared)
    shapes = reproject(shapes, crs)
    if crs.is_geographic:
        left, _, right, _ = _bounds(dataset)
        bounds = shapes.bounds.to_numpy()[:, [0, 2]]
        if any(((bounds[:, 0] + turn < right) & (bounds[:, 1] + turn > left)).any() for turn in (-360, 360)):
            shapes = split_longitudes(shapes, left)
    west, south, east, north = _bounds(dataset)
    bounds = shapes.bounds.clip([west, south, west, south], [east, north, east, north], axis=1).to_numpy()
    cells = np.nansum(np.prod(bounds[:, 2:] - bounds[:, :2], axis=1)) / (dataset.res[0] * dataset.res[1])
    if cells > _MAX_CELLS:
        message = f"has {cells:,.0f} cells over the regions, too many to read; make a coarser one with `gdalwarp -tr`"
        raise UserError(Problem(message, dataset.name))
    return shapes


def read_cells(
    dataset: rasterio.DatasetReader, band: int, nodata: Collection[float] = (), **window: Any
) -> np.ma.MaskedArray:
    """Cells of one band, scale and offset applied, masked where nodata, masked, NaN or infinite.

    `nodata` are further values of missing cells, as stored in the file, before scale and offset. `window` is passed
    to `DatasetReader.read` (`window=`, `out_shape=`, `resampling=`).
    """
    cells = dataset.read(band, masked=True, **window)
    if nodata:
        # In the cells' own precision: the lowest float32 is not what its decimal form says in float64.
        exact = cells.dtype if np.issubdtype(cells.dtype, np.floating) else np.float64
        cells = np.ma.masked_where(np.isin(cells.data, np.asarray(list(nodata), exact)), cells, copy=False)
    scale, offset = dataset.scales[band - 1], dataset.offsets[band - 1]
    if (scale, offset) != (1.0, 0.0):
        cells = cells * scale + offset
    if np.issubdtype(cells.dtype, np.floating):
        cells = np.ma.masked_where(~np.isfinite(cells.data), cells, copy=False)
    return cells


def refuse_codes(dataset: rasterio.DatasetReader) -> None:
    """Raise `UserError` for an embedding in 8-bit codes, which are no numbers to average or to draw."""
    if dataset.count >= FEWEST and set(dataset.dtypes) == {"int8"}:
        message = (
            f"has {dataset.count} bands of 8-bit codes, as embeddings are published; read it by the modality "
            f"`precomputed`, which decodes those of AlphaEarth, or decode it first, such as by {ALPHAEARTH_GDAL}"
        )
        raise UserError(Problem(message, dataset.name))


def _chosen_band(dataset: rasterio.DatasetReader, band: int | None) -> int:
    count = dataset.count
    refuse_codes(dataset)
    if band is None and count > 1:
        raise UserError(Problem(f"the raster has {count} bands; choose one with `band`, counted from 1", dataset.name))
    if band is not None and not 1 <= band <= count:
        raise UserError(Problem(f"has no band {band}; its bands are 1 to {count}", dataset.name))
    band = band or 1
    if dataset.dtypes[band - 1].startswith("complex"):
        raise UserError(Problem(f"band {band} holds complex numbers", dataset.name))
    return band


def refuse_rotated(dataset: rasterio.DatasetReader) -> None:
    """Raise `UserError` for a raster whose rows do not run from west to east."""
    if dataset.transform.b or dataset.transform.d:
        message = "the raster is rotated; warp it to north-up first, such as with gdalwarp"
        raise UserError(Problem(message, dataset.name))


def check_amounts(dataset: rasterio.DatasetReader, band: int) -> None:
    """Raise `UserError` for a band with a colour table: its cells are codes of classes or colours, not amounts."""
    if dataset.colorinterp[band - 1] == ColorInterp.palette:
        message = (
            f"band {band} has a colour table, so its cells are codes, which have no mean and no sum; for classes use "
            "`statistic: majority`; if they are amounts, remove the table with "
            "`gdal_translate -colorinterp gray IN.tif OUT.tif`"
        )
        raise UserError(Problem(message, dataset.name))


def _by_area(operation: str, shapes: gpd.GeoSeries) -> str:
    """An operation of exactextract that weights cells by covered area, on the sphere for shapes in degrees."""
    if not shapes.crs.is_geographic:
        return operation
    name, _, arguments = operation.removesuffix(")").partition("(")
    return f"{name}({arguments + ',' if arguments else ''}coverage_weight=area_spherical_m2)"


def _extract(cells: Any, shapes: gpd.GeoSeries, operations: Mapping[str, str]) -> pd.DataFrame:
    """A column for each operation and `count`, the number of valid cells covered, in the order of `shapes`."""
    features = gpd.GeoDataFrame({"row": np.arange(len(shapes))}, geometry=shapes.array, crs=None)
    try:
        table = exact_extract(
            cells,
            features,
            [*(f"s{i}={operation}" for i, operation in enumerate(operations.values())), "count=count"],
            include_cols=["row"],
            output="pandas",
            strategy="raster-sequential",
            max_cells_in_memory=_CELLS_IN_MEMORY,
        )
    except RuntimeError as error:  # exactextract raises it for sizes and positions that it cannot compute with
        message = f"cannot be laid over the regions ({first_line(error)}); check its georeference and cell size"
        raise UserError(Problem(message, cells.path)) from None
    table = table.set_index("row").reindex(np.arange(len(shapes)))
    # exactextract allows no blanks in a name and extends that of a quantile, so the columns are named afterwards.
    return table.set_axis([*operations, "count"], axis=1)


def _valid_share(table: pd.DataFrame, shapes: gpd.GeoSeries, cells: Any) -> np.ndarray:
    """float64[N]: the share of each shape's area, in the raster's CRS, that valid cells cover."""
    cell_area = cells.res()[0] * cells.res()[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.minimum(table["count"].to_numpy() * cell_area / shapely.area(shapes.array), 1.0)


def _Cells(dataset: rasterio.DatasetReader, band: int, nodata: Collection[float] = ()) -> Any:
    """An exactextract source over one band, with every form of missing cell masked, `nodata` included."""
    refuse_rotated(dataset)
    transform = dataset.transform
    step_y, step_x = -1 if transform.e > 0 else 1, -1 if transform.a < 0 else 1

    class Cells(RasterSource):
        path = Path(dataset.name)
        watch = NodataWatch()

        def res(self) -> tuple[float, float]:
            return abs(transform.a), abs(transform.e)

        def extent(self) -> tuple[float, float, float, float]:
            return _bounds(dataset)

        def srs_wkt(self) -> None:
            return None

        def nodata_value(self) -> None:
            return None

        def read_window(self, x: int, y: int, width: int, height: int) -> np.ndarray:
            row = y if step_y > 0 else dataset.height - y - height
            column = x if step_x > 0 else dataset.width - x - width
            cells = read_cells(dataset, band, nodata, window=Window(column, row, width, height))
            check_exact(cells, Path(dataset.name))
            self.watch.add(cells)
            return np.ma.filled(cells.astype(np.float64), np.nan)[::step_y, ::step_x]

    return Cells()


def check_exact(cells: np.ma.MaskedArray, path: Path) -> None:
    """Raise `UserError` for integers that float64 would round: two codes would become one."""
    values = cells.compressed() if cells.dtype.kind in "iu" and cells.dtype.itemsize == 8 else np.empty(0)
    if len(values) and not -_MAX_INTEGER <= values.min() <= values.max() <= _MAX_INTEGER:
        raise UserError(Problem("holds integers beyond 2^53, which would be rounded; give its cells other codes", path))


def share_notes(share: np.ndarray) -> list[str]:
    """Return sentences on regions of which little or nothing, float64[N] from 0 to 1, has valid cells."""
    notes = []
    absent, partly = int((share <= LEAST_SHARE).sum()), int(((share > LEAST_SHARE) & (share < 0.5)).sum())
    if absent:
        notes.append(f"{absent} of {len(share)} regions overlap no valid cell")
    if partly:
        notes.append(f"{partly} of {len(share)} regions have valid cells on less than half of their area")
    return notes


def explain_no_overlap(dataset: rasterio.DatasetReader, shapes: gpd.GeoSeries) -> str:
    """Return a message with the extents of a raster and of shapes in its CRS."""
    return (
        f"no region overlaps a valid cell; the raster covers {_box(dataset.bounds)}, "
        f"the regions {_box(shapes.total_bounds)} ({shapes.crs.to_string()}): check both CRS"
    )


def _box(bounds: Any) -> str:
    left, bottom, right, top = bounds
    return f"x {left:.6g} to {right:.6g}, y {bottom:.6g} to {top:.6g}"
