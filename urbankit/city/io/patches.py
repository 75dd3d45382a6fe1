"""Patches cut from raster mosaics: one per region, north-up in the city's CRS, centred on the region."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import NotGeoreferencedWarning
from rasterio.warp import reproject
from rasterio.windows import Window

from urbankit.city.io.access import NO_REFERENCES, Access
from urbankit.city.io.nodata import NodataWatch
from urbankit.city.io.raster import read_cells, refuse_codes
from urbankit.city.io.raster_file import open_raster, raster_crs
from urbankit.utils.errors import Problem, Problems, UserError
from urbankit.utils.geometry import units_per_metre
from urbankit.utils.prefetch import thread_map

_BATCH_BYTES = 32 << 20
_MAX_CELLS = 4_000_000_000


@dataclass(frozen=True)
class Band:
    """One band of one file."""

    path: Path
    number: int
    dtype: str

    @property
    def name(self) -> str:
        return f"{self.path.stem}:{self.number}"


@dataclass(frozen=True)
class Mosaic:
    """Bands of rasters that patches are cut from.

    Attributes:
        bands: The bands in their order.
        crs: The CRS of the rasters that have none, or a local one.
        nodata: Further values that stand for a missing cell.
        access: What the rasters may refer to.
        watches: One for each band, for values that look like nodata.
    """

    bands: list[Band]
    crs: str | None = None
    nodata: tuple[float, ...] = ()
    access: Access = NO_REFERENCES
    watches: list[NodataWatch] = field(default_factory=list)

    def notes(self) -> list[str]:
        """Return sentences for the user on the values of all cells that have been read."""
        return [note for band, watch in zip(self.bands, self.watches, strict=True) for note in watch.notes(band.name)]


def open_mosaic(
    paths: list[Path],
    chosen: list[int] | None = None,
    *,
    crs: str | None = None,
    nodata: Sequence[float] = (),
    access: Access = NO_REFERENCES,
) -> Mosaic:
    """The bands of all `paths` in order, or those `chosen` by their number in that stack, counted from 1.

    An alpha band is a mask, not a band. `crs`, `nodata` and `access` are as for `Mosaic`. Raises UserError with every
    file that cannot be used, or for a number outside the stack.
    """
    stack: list[Band] = []
    problems = Problems()
    for path in paths:
        with problems.collect(), open_raster(path, crs=crs, access=access) as dataset:
            refuse_codes(dataset)
            for number, dtype in zip(dataset.indexes, dataset.dtypes, strict=True):
                if dtype.startswith("complex"):
                    raise UserError(Problem(f"band {number} holds complex numbers", path))
                if dataset.colorinterp[number - 1] == ColorInterp.palette:
                    raise UserError(Problem("holds numbers of a palette; use `gdal_translate -expand rgb`", path))
                plain = (dataset.scales[number - 1], dataset.offsets[number - 1]) == (1.0, 0.0)
                if dataset.colorinterp[number - 1] != ColorInterp.alpha:
                    stack.append(Band(path, number, dtype if plain else "float32"))
    problems.raise_if_any()
    unknown = [number for number in chosen or [] if not 1 <= number <= len(stack)]
    if unknown:
        names = ", ".join(f"{number} {band.name}" for number, band in enumerate(stack, 1))
        raise UserError(Problem(f"there is no band {unknown[0]}; the bands are {names}"))
    bands = stack if chosen is None else [stack[number - 1] for number in chosen]
    return Mosaic(bands, crs, tuple(nodata), access, [NodataWatch() for _ in bands])


def cut_patches(
    mosaic: Mosaic, centres: np.ndarray, crs: Any, extent_m: float, size: tuple[int, int]
) -> Iterator[np.ndarray]:
    """Patches around `centres`, in order, as batches float32[k, bands, h, w].

    `centres` float64[N, 2] are x, y in the projected `crs`. A patch is a square of `extent_m` metres on the ground;
    its first row is the northernmost, its first column the westernmost. Finer cells are averaged, coarser
    cells interpolated bilinearly; a pixel whose centre lies on no valid cell is NaN. Only the cells below one
    patch are in memory. Cells much finer than the patch's pixels are thinned first, through the raster's overviews if
    it has them. Raises `UserError` for a damaged file.
    """
    bands = mosaic.bands
    each = max(1, min(64, _BATCH_BYTES // (4 * len(bands) * math.prod(size))))
    sides = extent_m * units_per_metre(centres, crs)

    def cut(start: int) -> np.ndarray:
        rows = slice(start, start + each)
        patches = np.full((len(centres[rows]), len(bands), *size), np.nan, dtype=np.float32)
        for path in dict.fromkeys(band.path for band in bands):
            numbers = [number for number, band in enumerate(bands) if band.path == path]
            with open_raster(path, crs=mosaic.crs, access=mosaic.access) as dataset:
                cells = _Cells(dataset, mosaic, numbers, centres[rows], crs, sides[rows], size)
                for row in range(len(patches)):
                    patches[row, numbers] = cells.warp(row)
        return patches

    ahead = 2 * (os.cpu_count() or 1)
    yield from thread_map(cut, range(0, len(centres), each), ahead, NotGeoreferencedWarning)


class _Cells:
    """The cells of one dataset under a chunk of patches, and their warp onto the patches."""

    def __init__(
        self,
        dataset: rasterio.DatasetReader,
        mosaic: Mosaic,
        numbers: list[int],
        centres: np.ndarray,
        crs: Any,
        sides: np.ndarray,
        size: tuple[int, int],
    ) -> None:
        self._dataset, self._mosaic, self._numbers, self._size = dataset, mosaic, numbers, size
        self._crs, self._sides, self._centres = CRS.from_user_input(crs), sides, centres
        own_crs = raster_crs(dataset, mosaic.crs)
        self._dataset_crs = CRS.from_user_input(own_crs.to_wkt()) if dataset.crs is None or mosaic.crs else dataset.crs
        # The cells of a raster round the Earth go on beyond its ends.
        turn = 360 / abs(dataset.transform.a) if own_crs.is_geographic and dataset.transform.a else 0
        self._is_round = abs(turn - dataset.width) < 0.5 and not dataset.transform.d
        columns, rows = self._border_in_cells(crs, own_crs)
        self._columns, self._column_step = _spans(columns, size[1], dataset.width, self._is_round)
        self._rows, self._row_step = _spans(rows, size[0], dataset.height)

    def warp(self, row: int) -> np.ndarray:
        """The patch of one row of `centres`: float32[bands, h, w]."""
        patch = np.full((len(self._numbers), *self._size), np.nan, dtype=np.float32)
        cells, transform = self._read(row)
        if not cells.size:
            return patch
        (x, y), (wide, high), (height, width) = self._centres[row], self._sides[row], self._size
        reproject(
            cells,
            patch,
            src_transform=transform,
            src_crs=self._dataset_crs,
            src_nodata=np.nan,
            dst_transform=Affine(wide / width, 0, x - wide / 2, 0, -high / height, y + high / 2),
            dst_crs=self._crs,
            dst_nodata=np.nan,
            resampling=Resampling.bilinear,
            UNIFIED_SRC_NODATA="NO",  # a cell may be missing in one band and valid in another
        )
        return patch

    def _read(self, row: int) -> tuple[np.ndarray, Any]:
        """Cells below one patch, float32[bands, rows, columns] with NaN where missing, and their affine transform."""
        (left, right), (top, bottom) = self._columns[row], self._rows[row]
        if left >= right or top >= bottom:
            return np.empty((0, 0, 0), np.float32), None
        if (right - left) * (bottom - top) > _MAX_CELLS:
            message = f"a patch would cover {(right - left) * (bottom - top):,} cells; use a smaller `extent_m`"
            raise UserError(Problem(message, self._dataset.name))
        width = self._dataset.width
        ends = [left, *(end for end in (0, width) if left < end < right), right]
        strips = [
            self._read_window(Window(start % width, top, stop - start, bottom - top), row)
            for start, stop in pairwise(ends)
        ]
        cells = np.concatenate(strips, axis=2)
        wide, high = (right - left) / cells.shape[2], (bottom - top) / cells.shape[1]
        a, b, _, d, e, _ = self._dataset.transform[:6]
        x, y = _apply(self._dataset.transform, left, top)
        return cells, Affine(a * wide, b * high, x, d * wide, e * high, y)

    def _read_window(self, window: Window, row: int) -> np.ndarray:
        shape = (
            math.ceil(window.height / self._row_step[row]),
            math.ceil(window.width / self._column_step[row]),
        )
        strips = []
        for number in self._numbers:
            cells = read_cells(
                self._dataset, self._mosaic.bands[number].number, self._mosaic.nodata, window=window, out_shape=shape,
                resampling=Resampling.average,
            )  # fmt: skip
            self._mosaic.watches[number].add(cells)
            strips.append(np.ma.filled(cells.astype(np.float32), np.nan))
        return np.stack(strips)

    def _border_in_cells(self, crs: Any, own_crs: pyproj.CRS) -> tuple[np.ndarray, np.ndarray]:
        """Column and row coordinates [k, points] of points along the border of every patch."""
        along = np.linspace(-0.5, 0.5, 9)
        edge = np.full_like(along, 0.5)
        x = self._centres[:, :1] + self._sides[:, :1] * np.concatenate([along, along, edge, -edge])
        y = self._centres[:, 1:] + self._sides[:, 1:] * np.concatenate([edge, -edge, along, along])
        to_dataset = pyproj.Transformer.from_crs(crs, own_crs, always_xy=True)
        x, y = to_dataset.transform(x, y)
        if own_crs.is_geographic:
            # Longitudes turn with the centre of the patch to where the raster has them.
            centre, _ = to_dataset.transform(*self._centres.T)
            bounds = self._dataset.bounds
            centre = centre + 360 * np.round(((bounds.left + bounds.right) / 2 - centre) / 360)
            x = x + 360 * np.round((centre[:, None] - x) / 360)
        return _apply(~self._dataset.transform, x, y)


def _apply(transform: Affine, x: Any, y: Any) -> tuple[Any, Any]:
    return transform.a * x + transform.b * y + transform.c, transform.d * x + transform.e * y + transform.f


def _spans(border: np.ndarray, pixels: int, cells: int, is_round: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Cells `[first, last)` int[k, 2] of one axis below every patch with a margin, and the thinning int[k].

    With `is_round`, the axis wraps around: cells continue beyond its ends, by up to its length.
    Thinning keeps at least two cells a patch pixel, so that the bilinear kernel still averages what is left.
    """
    low, high = border.min(1), border.max(1)
    outside = ~np.isfinite(low + high)
    low, high = np.where(outside, 0.0, low), np.where(outside, -1e9, high)
    step = np.maximum(1, np.floor((high - low) / (2 * pixels))).astype(np.int64)
    first = np.floor(low).astype(np.int64) - 2 * step
    last = np.ceil(high).astype(np.int64) + 2 * step
    lowest, highest = (-cells + 1, 2 * cells - 1) if is_round else (0, cells)
    return np.stack([first, last], 1).clip(lowest, highest), step
