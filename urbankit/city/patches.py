"""Patches cut from raster mosaics: one a region, north-up in the city's projected CRS, centred on the region."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from urbankit.city.raster import opened, read_cells
from urbankit.errors import Problem, UserError

if TYPE_CHECKING:
    import rasterio

_BATCH_BYTES = 64 << 20


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
    from rasterio.enums import ColorInterp

    stack: list[Band] = []
    problems: list[Problem] = []
    for path in paths:
        try:
            with opened(path) as dataset:
                for number, dtype in zip(dataset.indexes, dataset.dtypes, strict=True):
                    if dtype.startswith("complex"):
                        raise UserError(Problem(f"band {number} holds complex numbers", path))
                    plain = (dataset.scales[number - 1], dataset.offsets[number - 1]) == (1.0, 0.0)
                    if dataset.colorinterp[number - 1] != ColorInterp.alpha:
                        stack.append(Band(path, number, dtype if plain else "float32"))
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(problems)
    if chosen is None:
        return stack
    wrong = [number for number in chosen if not 1 <= number <= len(stack)]
    if wrong:
        names = ", ".join(f"{number} {band.name}" for number, band in enumerate(stack, 1))
        raise UserError(Problem(f"no band {wrong[0]} among {names}"))
    return [stack[number - 1] for number in chosen]


def cut_patches(
    bands: list[Band], centres: np.ndarray, crs: Any, extent_m: float, size: tuple[int, int]
) -> Iterator[np.ndarray]:
    """Patches around `centres` float64[N, 2] (x, y in the projected `crs`), in order, as batches float32[k, bands, h, w].

    A patch is a square of `extent_m` metres, its first row the northernmost, its first column the westernmost.
    Where it covers finer cells they are averaged, coarser cells are interpolated bilinearly; a pixel whose
    centre lies on no valid cell is NaN. Only the cells below one patch are in memory, thinned beforehand (through the
    raster's overviews where it has them) when they are much finer than the patch's pixels.
    Raises UserError for a file that turns out to be damaged.
    """
    each = max(1, min(64, _BATCH_BYTES // (4 * len(bands) * math.prod(size))))
    starts = range(0, len(centres), each)

    def cut(start: int) -> np.ndarray:
        chunk = centres[start : start + each]
        patches = np.full((len(chunk), len(bands), *size), np.nan, dtype=np.float32)
        for path in dict.fromkeys(band.path for band in bands):
            with opened(path) as dataset:
                cells = _Cells(dataset, chunk, crs, extent_m, size)
                for number, band in enumerate(bands):
                    if band.path == path:
                        cells.warp(band.number, patches[:, number])
        return patches

    workers = os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[np.ndarray]] = deque()
        for start in starts:
            waiting.append(pool.submit(cut, start))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


class _Cells:
    """The windows of one dataset that lie below a chunk of patches, and how they are warped onto them."""

    def __init__(
        self,
        dataset: rasterio.DatasetReader,
        centres: np.ndarray,
        crs: Any,
        extent_m: float,
        size: tuple[int, int],
    ) -> None:
        from rasterio.crs import CRS
        from rasterio.transform import from_origin

        self._dataset, self._crs = dataset, CRS.from_user_input(crs)
        half, (height, width) = extent_m / 2, size
        self._grids = [
            from_origin(x - half, y + half, extent_m / width, extent_m / height) for x, y in centres
        ]
        columns, rows = self._border_in_cells(centres, crs, half)
        self._columns, self._column_step = _spans(columns, width, dataset.width)
        self._rows, self._row_step = _spans(rows, height, dataset.height)

    def warp(self, band: int, patches: np.ndarray) -> None:
        """Fill `patches` float32[k, h, w], NaN before, with this band's cells."""
        import rasterio
        from rasterio.enums import Resampling
        from rasterio.warp import reproject
        from rasterio.windows import Window

        spans = zip(self._columns, self._rows, self._column_step, self._row_step, strict=True)
        for patch, grid, ((left, right), (top, bottom), across, down) in zip(
            patches, self._grids, spans, strict=True
        ):
            if left >= right or top >= bottom:
                continue
            window = Window(left, top, right - left, bottom - top)
            shape = (math.ceil(window.height / down), math.ceil(window.width / across))
            cells = read_cells(
                self._dataset, band, window=window, out_shape=shape, resampling=Resampling.average
            )
            scale = rasterio.Affine.scale(window.width / shape[1], window.height / shape[0])
            reproject(
                cells.astype(np.float32).filled(np.nan),
                patch,
                src_transform=self._dataset.window_transform(window) * scale,
                src_crs=self._dataset.crs,
                src_nodata=np.nan,
                dst_transform=grid,
                dst_crs=self._crs,
                dst_nodata=np.nan,
                resampling=Resampling.bilinear,
            )

    def _border_in_cells(self, centres: np.ndarray, crs: Any, half: float) -> tuple[np.ndarray, np.ndarray]:
        """Column and row coordinates [k, points] of points along the border of every patch."""
        import pyproj

        along = np.linspace(-half, half, 9)
        edge = np.full_like(along, half)
        x = centres[:, :1] + np.concatenate([along, along, edge, -edge])
        y = centres[:, 1:] + np.concatenate([edge, -edge, along, along])
        to_dataset = pyproj.Transformer.from_crs(crs, self._dataset.crs, always_xy=True)
        return ~self._dataset.transform * to_dataset.transform(x, y)


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
