"""Vector files: GeoPackage, Shapefile, GeoJSON and GeoParquet, always with an explicit CRS."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
from pyproj import CRS

from urbankit.utils.errors import Problem, UserError
from urbankit.utils.paths import explain_missing

SUFFIXES = (".gpkg", ".shp", ".geojson", ".fgb")


def is_vector(path: Path) -> bool:
    """Whether a file holds geometries: by its suffix, and for Parquet by its metadata."""
    suffix = path.suffix.lower()
    if suffix in (".parquet", ".geoparquet") and path.is_file():
        try:
            return b"geo" in (pq.read_schema(path).metadata or {})
        except (pa.ArrowException, OSError):
            return False
    return suffix in SUFFIXES


def read_vector(path: Path, key: str, *, layer: str | None = None, crs: str | None = None) -> gpd.GeoDataFrame:
    """All features of a file, in its CRS.

    `crs` is what the file's CRS must be; a file without one is read as being in it. Raises `UserError` under `key` for
    a file that cannot be read, has no features, no CRS, or coordinates that its CRS does not allow.
    """
    if not path.is_file():
        raise UserError(Problem(explain_missing(path), path, key=key))
    try:
        if path.suffix.lower() in (".parquet", ".geoparquet"):
            frame = gpd.read_parquet(path)
        else:
            frame = gpd.read_file(path, layer=_check_layer(path, layer, key))
    except UserError:
        raise
    except Exception as error:  # (GDAL, Arrow and geopandas raise kinds of their own)
        raise UserError(Problem(f"cannot be read, it may be truncated: {error}", path, key=key)) from None
    if not isinstance(frame, gpd.GeoDataFrame) or not len(frame):
        raise UserError(Problem("holds no features", path, key=key))
    if frame.crs is None:
        if crs is None:
            raise UserError(Problem("has no CRS; declare it with `crs`, or save the file with one", path, key=key))
        frame = frame.set_crs(crs)
    if crs is not None and not frame.crs.equals(CRS.from_user_input(crs), ignore_axis_order=True):
        raise UserError(Problem(f"is in {_name(frame.crs)}, but {crs} is declared", path, key=f"{key}.crs"))
    left, bottom, right, top = frame.total_bounds
    if frame.crs.is_geographic and not (left >= -360 and right <= 360 and bottom >= -90.001 and top <= 90.001):
        message = (
            f"is declared in {_name(frame.crs)}, in degrees, but its coordinates span x {left:.6g} to {right:.6g}, "
            f"y {bottom:.6g} to {top:.6g}: they are in another CRS"
        )
        raise UserError(Problem(message, path, key=key))
    return frame


def _check_layer(path: Path, layer: str | None, key: str) -> str | None:
    layers = [str(name) for name in pyogrio.list_layers(path)[:, 0]]
    if layer is None and len(layers) > 1:
        raise UserError(Problem(f"has several layers, name one as `layer`: {', '.join(layers)}", path, key=key))
    if layer is not None and layer not in layers:
        raise UserError(Problem(f"has no layer '{layer}', only {', '.join(layers)}", path, key=f"{key}.layer"))
    return layer


def _name(crs: CRS) -> str:
    return crs.to_string() if len(crs.to_string()) < 40 else crs.name
