"""Vector files: GeoPackage, Shapefile, GeoJSON and GeoParquet, read with an explicit CRS or not at all."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
from pyproj import CRS

from urbankit.utils.errors import Problems
from urbankit.utils.paths import explain_missing

SUFFIXES = (".gpkg", ".shp", ".geojson", ".fgb")


def is_vector(path: Path) -> bool:
    """Whether a file holds geometries: by its suffix, and for Parquet by its metadata."""
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        return True
    if suffix in (".parquet", ".geoparquet") and path.is_file():
        try:
            return b"geo" in (pq.read_schema(path).metadata or {})
        except (pa.ArrowException, OSError):
            return False
    return False


def read_vector(
    path: Path, problems: Problems, key: str, *, layer: str | None = None, crs: str | None = None
) -> gpd.GeoDataFrame | None:
    """All features of a file, in its own CRS. What is wrong goes to `problems`, and the result is None.

    `crs`: what the file's CRS must be; it stands in where the file has none. Without either, that is a mistake.
    """
    if not path.is_file():
        problems.add(explain_missing(path), file=path, key=key)
        return None
    try:
        if path.suffix.lower() in (".parquet", ".geoparquet"):
            frame = gpd.read_parquet(path)
        else:
            layers = [str(name) for name in pyogrio.list_layers(path)[:, 0]]
            if layer is None and len(layers) > 1:
                problems.add(f"has several layers, name one as `layer`: {', '.join(layers)}", file=path, key=key)
                return None
            if layer is not None and layer not in layers:
                problems.add(f"has no layer '{layer}', only {', '.join(layers)}", file=path, key=f"{key}.layer")
                return None
            frame = gpd.read_file(path, layer=layer)
    except Exception as error:  # (GDAL, Arrow and geopandas raise kinds of their own)
        problems.add(f"cannot be read, it may be truncated: {error}", file=path, key=key)
        return None
    if not isinstance(frame, gpd.GeoDataFrame) or not len(frame):
        problems.add("holds no features", file=path, key=key)
        return None
    if frame.crs is None and crs is None:
        problems.add("has no CRS; declare it with `crs`, or save the file with one", file=path, key=key)
        return None
    if frame.crs is None:
        frame = frame.set_crs(crs)
    if crs is not None and not frame.crs.equals(CRS.from_user_input(crs), ignore_axis_order=True):
        problems.add(f"is in {_name(frame.crs)}, but {crs} is declared", file=path, key=f"{key}.crs")
        return None
    left, bottom, right, top = frame.total_bounds
    if frame.crs.is_geographic and not (left >= -360 and right <= 360 and bottom >= -90.001 and top <= 90.001):
        problems.add(
            f"is declared in {_name(frame.crs)}, in degrees, but its coordinates span x {left:.6g} to {right:.6g}, "
            f"y {bottom:.6g} to {top:.6g}: they are in another CRS",
            file=path,
            key=key,
        )
        return None
    return frame


def _name(crs: object) -> str:
    return crs.to_string() if len(crs.to_string()) < 40 else crs.name  # type: ignore[attr-defined]
