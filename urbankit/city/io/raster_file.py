"""Raster files, opened with checks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyproj
import rasterio
from rasterio.errors import CRSError, RasterioError

from urbankit.city.io.access import NO_REFERENCES, Access, explain_other_format, gdal_raster, read_files
from urbankit.city.io.crs import source_crs
from urbankit.utils.errors import Problem, UserError

_CACHE_BYTES = 256 << 20
_MAX_BLOCK = 1 << 30


def raster_files(path: str | Path, access: Access = NO_REFERENCES) -> list[Path]:
    """Return a raster, its companion files, and the files it refers to. Raises `UserError` as `open_raster`."""
    with open_raster(path, access=access):
        return read_files(Path(path), access)


@contextmanager
def open_raster(
    path: str | Path, *, crs: str | None = None, access: Access = NO_REFERENCES
) -> Iterator[rasterio.DatasetReader]:
    """Open a georeferenced raster for reading.

    `crs` is the CRS of a raster that has none, or a local one; `access` says what the raster may refer to. Raises
    `UserError` for a file that is missing, not a raster, without CRS or georeference, or truncated; a truncated file
    may raise it only at a later read inside the block.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(Problem("file not found", path))
    is_open = False
    try:
        # GDAL would cache blocks in 5 % of the machine's memory.
        with gdal_raster(path, access, GDAL_CACHEMAX=_CACHE_BYTES) as dataset:
            _check_usable(dataset, path)
            raster_crs(dataset, crs)
            is_open = True
            yield dataset
    except UserError as error:
        absolute = str(path.absolute())  # GDAL knows the file by this name
        problems = [replace(one, file=path) if str(one.file) == absolute else one for one in error.problems]
        raise UserError(problems) from None
    except Exception as error:  # (damaged metadata raises errors of many kinds while a raster is opened)
        if is_open and not isinstance(error, RasterioError | CRSError | UnicodeDecodeError):
            raise
        other = explain_other_format(path)
        if is_open:
            message = f"cannot be read to its end: truncated or damaged ({_cause(error)}); fetch it again"
        elif other:
            message = f"cannot be opened as a raster, its suffix says another format{other}"
        else:
            message = f"cannot be opened as a raster; it may be truncated ({_cause(error)})"
        raise UserError(Problem(message, path)) from None


def raster_crs(dataset: rasterio.DatasetReader, declared: str | None = None) -> pyproj.CRS:
    """Return the CRS of an open raster, or else the declared CRS. Raises `UserError` if neither is usable."""
    crs = None if dataset.crs is None else pyproj.CRS.from_wkt(dataset.crs.to_wkt())
    return source_crs(crs, declared, Path(dataset.name))


def _check_usable(dataset: rasterio.DatasetReader, path: Path) -> None:
    """Raise `UserError` for a raster without cells or position, or with blocks too large to be read."""
    if dataset.count == 0:
        names = [name.rpartition(":")[2].strip('"/') for name in dataset.subdatasets]
        if not names:
            raise UserError(Problem("holds no cells", path))
        message = (
            f"holds several variables ({', '.join(names[:10])}); write one of them into a GeoTIFF, such as with "
            f"`gdal_translate {dataset.subdatasets[0]} OUT.tif`"
        )
        raise UserError(Problem(message, path))
    if dataset.transform.is_identity:
        if dataset.gcps[0] or dataset.rpcs:
            kind = "ground control points" if dataset.gcps[0] else "rational polynomials"
            message = (
                f"its cells are placed by {kind} only; warp it to a north-up raster, such as with "
                "`gdalwarp -t_srs EPSG:4326 IN.tif OUT.tif`"
            )
            raise UserError(Problem(message, path))
        message = "raster without georeference: its cells have no position on the map"
        raise UserError(Problem(message, path))
    if not math.isfinite(dataset.transform.determinant) or not all(map(math.isfinite, dataset.bounds)):
        raise UserError(Problem("has cells whose size or position is no number; its georeference is damaged", path))
    if dataset.transform.determinant == 0:
        raise UserError(Problem("has cells of the size 0; its georeference is damaged", path))
    block = max(
        math.prod(shape) * np.dtype(dtype.replace("complex_int16", "complex64")).itemsize
        for shape, dtype in zip(dataset.block_shapes, dataset.dtypes, strict=True)
    )
    if block > _MAX_BLOCK:
        message = f"is stored in blocks of {block / 1e9:,.1f} GB; rewrite it with `gdal_translate -co TILED=YES IN OUT`"
        raise UserError(Problem(message, path))


def _cause(error: Exception) -> str:
    """The message of GDAL: rasterio chains it behind "Read failed. See previous exception for details"."""
    return str(error.__cause__ or error).strip()
