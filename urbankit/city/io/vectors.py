"""Vector files, read by the source of their format, always with an explicit CRS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import geopandas as gpd
import pyogrio
from pyproj import CRS

from urbankit.city.io.source import Source, find_source, reading
from urbankit.utils.errors import Problem, UserError
from urbankit.utils.paths import explain_missing


class VectorFile(Source):
    """Vector files that GDAL reads."""

    suffixes = (".gpkg", ".shp", ".geojson", ".fgb")

    def read_vector(self, path: Path, layer: str | None) -> gpd.GeoDataFrame:
        return gpd.read_file(path, layer=layer)

    def layers(self, path: Path) -> Sequence[str]:
        return [str(name) for name in pyogrio.list_layers(path)[:, 0]]

    def files(self, path: Path) -> Sequence[Path]:
        """A Shapefile is several files."""
        if path.suffix.lower() != ".shp":
            return [path]
        return sorted(file for file in path.parent.glob(f"{path.stem}.*") if file.is_file())


def is_vector(path: Path) -> bool:
    """Return whether a file holds geometries, as the source of its format says."""
    source = find_source(path)
    return source is not None and source.is_vector(path)


def read_vector(path: Path, key: str, *, layer: str | None = None, crs: str | None = None) -> gpd.GeoDataFrame:
    """All features of a file, in its CRS.

    `crs` is what the file's CRS must be; a file without one is read as being in it. Raises `UserError` under `key` for
    a file that cannot be read, has no features, no CRS, or coordinates that its CRS does not allow.
    """
    if not path.is_file():
        raise UserError(Problem(explain_missing(path), path, key=key))
    # GDAL reads more formats than `is_vector` lists.
    source = find_source(path, key) or VectorFile(VectorFile.Params())
    with reading(path, key):
        frame = source.read_vector(path, _check_layer(source.layers(path), layer, path, key))
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


def _check_layer(layers: Sequence[str], layer: str | None, path: Path, key: str) -> str | None:
    if layer is None and len(layers) > 1:
        raise UserError(Problem(f"has several layers, name one as `layer`: {', '.join(layers)}", path, key=key))
    if layer is not None and layer not in layers:
        message = f"has no layer '{layer}', only {', '.join(layers)}" if layers else "has no layers; remove the key"
        raise UserError(Problem(message, path, key=f"{key}.layer"))
    return layer


def _name(crs: CRS) -> str:
    return crs.to_string() if len(crs.to_string()) < 40 else crs.name
