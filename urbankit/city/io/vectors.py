"""Vector files, read by the source of their format, always with an explicit CRS."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

import geopandas as gpd
import pyogrio

from urbankit.city.io.access import NO_REFERENCES, VECTOR_DRIVERS, Access, companions, vector_name
from urbankit.city.io.crs import crs_name, source_crs
from urbankit.city.io.source import Source, find_source, reading
from urbankit.utils.errors import Problem, UserError
from urbankit.utils.geometry import unwrap
from urbankit.utils.paths import explain_missing


class VectorFile(Source):
    """Vector files that GDAL reads."""

    suffixes = (*VECTOR_DRIVERS, ".zip")

    def read_vector(self, path: Path, layer: str | None) -> gpd.GeoDataFrame:
        if path.suffix.lower() == ".shp":
            _check_shapefile(path)
        with vector_name(path) as name:
            return pyogrio.read_dataframe(name, layer=layer)

    def layers(self, path: Path) -> Sequence[str]:
        with vector_name(path) as name:
            return [str(layer) for layer in pyogrio.list_layers(name)[:, 0]]

    def files(self, path: Path) -> Sequence[Path]:
        """A Shapefile is several files, and a GeoPackage that is being written has another beside it."""
        if path.suffix.lower() == ".shp":
            return sorted(file for file in path.parent.glob(f"{glob.escape(path.stem)}.*") if file.is_file())
        return [path, *(file for file in [path.with_name(f"{path.name}-wal")] if file.is_file())]


def is_vector(path: Path) -> bool:
    """Return whether a file holds geometries, as the source of its format says."""
    source = find_source(path)
    return source is not None and source.is_vector(path)


def read_vector(
    path: Path, key: str, *, layer: str | None = None, crs: str | None = None, access: Access = NO_REFERENCES
) -> gpd.GeoDataFrame:
    """All features of a file, in its CRS.

    `crs` is what the file's CRS must be; a file without one, or with a local one, is read as being in it. Longitudes
    are continuous where features cross 180 degrees. `access` says what the file may refer to. Raises `UserError` under
    `key` for a file that cannot be read, has no features, no CRS, or coordinates that its CRS does not allow.
    """
    if not path.is_file():
        raise UserError(Problem(explain_missing(path), path, key=key))
    # `VectorFile` says what to do about a suffix that no source has.
    source = find_source(path, key) or VectorFile(VectorFile.Params())
    for file in source.files(path):
        access.check(file, path, key)
    with reading(path, key):
        frame = source.read_vector(path, _check_layer(source.layers(path), layer, path, key))
    if not isinstance(frame, gpd.GeoDataFrame) or not len(frame):
        raise UserError(Problem("holds no features", path, key=key))
    frame = frame.set_crs(source_crs(frame.crs, crs, path, key), allow_override=True)
    left, bottom, right, top = frame.total_bounds
    if frame.crs.is_geographic and not (left >= -360 and right <= 360 and bottom >= -90.001 and top <= 90.001):
        message = (
            f"is declared in {crs_name(frame.crs)}, in degrees, but its coordinates span x {left:.6g} to {right:.6g}, "
            f"y {bottom:.6g} to {top:.6g}: they are in another CRS"
        )
        raise UserError(Problem(message, path, key=key))
    return frame.set_geometry(unwrap(frame.geometry))


def _check_shapefile(path: Path) -> None:
    """Refuse a Shapefile that is shorter than its header says, or whose parts have different numbers of records.

    GDAL reads the features that such a file lacks without a geometry, or not at all.
    """
    with path.open("rb") as stream:
        words = int.from_bytes(stream.read(28)[24:], "big")  # a word has 16 bits
    size = path.stat().st_size
    if size < 2 * words:
        raise UserError(f"has {size:,} of {2 * words:,} bytes, so the file was cut short; fetch it again")
    parts = {file.suffix.lower(): file for file in companions(path)}
    if ".shx" not in parts or ".dbf" not in parts:
        return
    with parts[".shx"].open("rb") as stream:
        shapes = (2 * int.from_bytes(stream.read(28)[24:], "big") - 100) // 8
    with parts[".dbf"].open("rb") as stream:
        rows = int.from_bytes(stream.read(8)[4:], "little")
    if shapes != rows:
        message = f"{parts['.shx'].name} has {shapes:,} shapes, but {parts['.dbf'].name} {rows:,} rows"
        raise UserError(f"{message}: they are not of one file, or one was cut short; fetch all parts again")


def _check_layer(layers: Sequence[str], layer: str | None, path: Path, key: str) -> str | None:
    if layer is None and len(layers) > 1:
        raise UserError(Problem(f"has several layers, name one as `layer`: {', '.join(layers)}", path, key=key))
    if layer is not None and layer not in layers:
        message = f"has no layer '{layer}', only {', '.join(layers)}" if layers else "has no layers; remove the key"
        raise UserError(Problem(message, path, key=f"{key}.layer"))
    return layer
