"""Patches cut from raster mosaics: one a region, north-up in the city's CRS, centred on the region."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
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

from urbankit.city.io.raster import open_raster, read_cells
from urbankit.utils.errors import Problem, Problems, UserError
from urbankit.utils.prefetch import thread_map

_BATCH_BYTES = 32 << 20


@dataclass(frozen=True)
class Band:
    """One band of one file."""

    path: Path
    number: int
    dtype: str

    @property
    def name(self) -> str:
        return f"{self.path.stem}:{self.number}"


def mosaic_bands(paths: list[Path], chosen: list[int] | None) -> list[Band]:
    """The bands of all `paths` in order, or those `chosen` by their number in that stack, counted from 1.

    An alpha band is a mask, not a band. Raises UserError with every file that cannot be used, or for a number
    outside the stack.
    """
    stack: list[Band] = []
    problems = Problems()
    for path in paths:
        with problems.collect(), open_raster(path) as dataset:
            for number, dtype in zip(dataset.indexes, dataset.dtypes, strict=True):
                if dtype.startswith("complex"):
                    raise UserError(Problem(f"band {number} holds complex numbers", path))
                if dataset.colorinterp[number - 1] == ColorInterp.palette:
                    raise UserError(Problem("holds numbers of a palette; use `gdal_translate -expand rgb`", path))
                plain = (dataset.scales[number - 1], dataset.offsets[number - 1]) == (1.0, 0.0)
                if dataset.colorinterp[number - 1] != ColorInterp.alpha:
                    stack.append(Band(path, number, dtype if plain else "float32"))
    problems.raise_if_any()
    if chosen is None:
        return stack
    unknown = [number for number in chosen if not 1 <= number <= len(stack)]
    if unknown:
        names = ", ".join(f"{number} {band.name}" for number, band in enumerate(stack, 1))
        raise UserError(Problem(f"no band {unknown[0]} among {names}"))
    return [stack[number - 1] for number in chosen]


def cut_patches(
    bands: list[Band], centres: np.ndarray, crs: Any, extent_m: float, size: tuple[int, int]
) -> Iterator[np.ndarray]:
    """Patches around `centres`, in order, as batches float32[k, bands, h, w].

    `centres` float64[N, 2] are x, y in the projected `crs`. A patch is a square of `extent_m` metres;
    its first row is the northernmost, its first column the westernmost. Finer cells are averaged, coarser
    cells interpolated bilinearly; a pixel whose centre lies on no valid cell is NaN. Only the cells below one
    patch are in memory. Cells much finer than the patch's pixels are thinned first, through the raster's overviews if
    it has them. Raises `UserError` for a damaged file.
    """
    each = max(1, min(64, _BATCH_BYTES // (4 * len(bands) * math.prod(size))))

    def cut(start: int) -> np.ndarray:
        chunk = centres[start : start + each]
        patches = np.full((len(chunk), len(bands), *size), np.nan, dtype=np.float32)
        for path in dict.fromkeys(band.path for band in bands):
            numbers = {number: band.number for number, band in enumerate(bands) if band.path == path}
            with open_raster(path) as dataset:
                cells = _Cells(dataset, list(numbers.values()), chunk, crs, extent_m, size)
                for row in range(len(chunk)):
                    patches[row, list(numbers)] = cells.warp(row)
        return patches

    ahead = 2 * (os.cpu_count() or 1)
    yield from thread_map(cut, range(0, len(centres), each), ahead, NotGeoreferencedWarning)


class _Cells:
    """The cells of some bands of one dataset that lie below a chunk of patches, and how they are warped onto them."""

    def __init__(
        self,
        dataset: rasterio.DatasetReader,
        bands: list[int],
        centres: np.ndarray,
        crs: Any,
        extent_m: float,
        size: tuple[int, int],
    ) -> None:
        self._dataset, self._bands, self._size = dataset, bands, size
        self._crs, self._extent_m, self._centres = CRS.from_user_input(crs), extent_m, centres
        columns, rows = self._border_in_cells(crs)
        self._columns, self._column_step = _spans(columns, size[1], dataset.width)
        self._rows, self._row_step = _spans(rows, size[0], dataset.height)

    def warp(self, row: int) -> np.ndarray:
        """The patch of one row of `centres`: float32[bands, h, w]."""
        patch = np.full((len(self._bands), *self._size), np.nan, dtype=np.float32)
        cells, transform = self._read(row)
        if not cells.size:
            return patch
        (x, y), (height, width) = self._centres[row], self._size
        half, across, down = self._extent_m / 2, self._extent_m / width, self._extent_m / height
        reproject(
            cells,
            patch,
            src_transform=transform,
            src_crs=self._dataset.crs,
            src_nodata=np.nan,
            dst_transform=Affine(across, 0, x - half, 0, -down, y + half),
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
        window = Window(left, top, right - left, bottom - top)
        shape = math.ceil((bottom - top) / self._row_step[row]), math.ceil((right - left) / self._column_step[row])
        cells = [
            read_cells(self._dataset, band, window=window, out_shape=shape, resampling=Resampling.average)
            for band in self._bands
        ]
        wide, high = (right - left) / shape[1], (bottom - top) / shape[0]
        a, b, _, d, e, _ = self._dataset.transform[:6]
        x, y = _apply(self._dataset.transform, left, top)
        filled = np.stack([np.ma.filled(band.astype(np.float32), np.nan) for band in cells])
        return filled, Affine(a * wide, b * high, x, d * wide, e * high, y)

    def _border_in_cells(self, crs: Any) -> tuple[np.ndarray, np.ndarray]:
        """Column and row coordinates [k, points] of points along the border of every patch."""
        half = self._extent_m / 2
        along = np.linspace(-half, half, 9)
        edge = np.full_like(along, half)
        x = self._centres[:, :1] + np.concatenate([along, along, edge, -edge])
        y = self._centres[:, 1:] + np.concatenate([edge, -edge, along, along])
        to_dataset = pyproj.Transformer.from_crs(crs, self._dataset.crs, always_xy=True)
        return _apply(~self._dataset.transform, *to_dataset.transform(x, y))


def _apply(transform: Affine, x: Any, y: Any) -> tuple[Any, Any]:
    return transform.a * x + transform.b * y + transform.c, transform.d * x + transform.e * y + transform.f


def _spans(border: np.ndarray, pixels: int, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Cells `[first, last)` int[k, 2] of one axis below every patch with a margin, and the thinning int[k].

    Thinning keeps at least two cells a patch pixel, so that the bilinear kernel still averages what is left.
    """
    low, high = border.min(1), border.max(1)
    outside = ~np.isfinite(low + high)
    low, high = np.where(outside, 0.0, low), np.where(outside, -1e9, high)
    step = np.maximum(1, np.floor((high - low) / (2 * pixels))).astype(np.int64)
    first = np.floor(low).astype(np.int64) - 2 * step
    last = np.ceil(high).astype(np.int64) + 2 * step
    return np.stack([first, last], 1).clip(0, cells), step
