"""GeoTIFF: one raster for each city, with one band for each column, as raster benchmarks such as CityRep read it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import rasterio
from numpy.typing import NDArray
from pyproj import CRS
from rasterio.features import rasterize
from rasterio.transform import from_origin
from rasterio.windows import Window

from urbankit.export.base import Exporter
from urbankit.export.tables import ExportTable
from urbankit.utils.errors import UserError
from urbankit.utils.files import atomic_path
from urbankit.utils.geometry import side_m, unit, units_per_metre, unwrap
from urbankit.utils.text import list_some

MAX_BYTES = 4_000_000_000
"""Of all bands before compression, which is what a reader has to hold."""

CELLS_A_SIDE = 4
"""The width of a median region in cells at the default resolution."""

TILE = 256


class GeoTIFF(Exporter):
    """A raster of one band for each column."""

    files = ("{what}.tif",)
    has_resolution = True
    needs_geometry = True

    def write(self, table: ExportTable, paths: Sequence[Path]) -> list[str]:
        """Float32 bands, NaN outside regions; a cell has the values of the region that its centre lies in.

        Tiled, compressed, with CRS, transform, a description for each band, and tags with the run. All rasters of a run
        of one resolution and CRS have one grid, whose lines are at whole multiples of the cell. Raises `UserError` if
        it would be larger than `MAX_BYTES`.
        """
        [path] = paths
        shapes = unwrap(table.frame.geometry)
        if shapes.crs is None:
            raise UserError("the run's regions have no CRS, which a raster requires")
        metres, notes = _resolution(table, self.resolution)
        grid = Grid.over(shapes, metres)
        grid.check(len(table.columns), metres)
        # The last row is of cells outside regions, which -1 finds.
        values = np.vstack([table.numbers(), np.full((1, len(table.columns)), np.nan)]).astype(np.float32)
        columns = np.ascontiguousarray(values.T)
        has_cells: NDArray[np.bool_] = np.zeros(len(values), bool)
        with (
            atomic_path(path) as temporary,
            rasterio.open(temporary, "w", **grid.profile(len(table.columns))) as raster,
        ):
            raster.update_tags(**_tags(table, metres))
            for band, name in enumerate(table.columns, start=1):
                raster.set_band_description(band, name)
                if name in table.classes:
                    raster.update_tags(band, classes=json.dumps(table.classes[name], ensure_ascii=False))
            for window, region in grid.strips(shapes):
                has_cells[region] = True
                for band, column in enumerate(columns, start=1):
                    raster.write(column[region], band, window=window)
        size = f"{grid.width:,} × {grid.height:,} cells, {len(table.columns)} bands"
        return [f"{size}, {grid.crs.to_string()}", *notes, *_without_cells(table, has_cells[:-1])]


@dataclass(frozen=True)
class Grid:
    """A north-up grid: `left` and `top` in units of `crs`, cells of `dx` by `dy` of them."""

    crs: CRS
    left: float
    top: float
    dx: float
    dy: float
    width: int
    height: int

    @classmethod
    def over(cls, shapes: gpd.GeoSeries, metres: float) -> Grid:
        """The grid of cells of `metres` that covers `shapes`, in their CRS."""
        left, low, right, high = shapes.total_bounds
        if not np.isfinite([left, low, right, high]).all():
            raise UserError(f"the regions cannot be projected to {shapes.crs.to_string()}; check --crs")
        dx, dy = _cell(shapes.crs, metres, (left + right) / 2, (low + high) / 2)
        # A point on a line still needs a cell, hence one more than the ceiling where there is no extent.
        columns, first = _lines(left, right, dx)
        rows, bottom = _lines(low, high, dy)
        return cls(shapes.crs, first * dx, (bottom + rows) * dy, dx, dy, columns, rows)

    def check(self, bands: int, metres: float) -> None:
        """Raises `UserError` where `bands` of it are larger than `MAX_BYTES`, with a resolution that is not."""
        size = self.width * self.height * bands * 4
        if size > MAX_BYTES:
            enough = _round_up(metres * math.sqrt(size / MAX_BYTES) * 1.01)
            raise UserError(
                f"{bands} bands of {self.width:,} × {self.height:,} cells of {metres:g} m are "
                f"{size / 1e9:,.1f} GB, more than {MAX_BYTES / 1e9:g} GB; choose --resolution {enough:g} or more"
            )

    def strips(self, shapes: gpd.GeoSeries) -> Iterator[tuple[Window, NDArray[np.int32]]]:
        """Row by row of tiles, the row in `shapes` of the one that each cell's centre lies in, -1 outside them.

        However fine the grid is, no more of it than one row of tiles is held at a time.
        """
        bounds = shapes.bounds  # NaN of what is missing or empty, which is then in no strip
        low, high = bounds["miny"].to_numpy(), bounds["maxy"].to_numpy()
        for first in range(0, self.height, TILE):
            window = Window(0, first, self.width, min(TILE, self.height - first))
            top, bottom = self.top - first * self.dy, self.top - (first + window.height) * self.dy
            rows = np.flatnonzero((low <= top) & (high >= bottom))
            shape = (window.height, self.width)
            if not len(rows):
                yield window, np.full(shape, -1, np.int32)
                continue
            pairs = zip(shapes.iloc[rows], rows, strict=True)
            transform = self._from(top)
            yield window, rasterize(pairs, shape, fill=-1, transform=transform, dtype="int32")

    @property
    def transform(self) -> Any:
        return self._from(self.top)

    def _from(self, top: float) -> Any:
        return from_origin(self.left, top, self.dx, self.dy)

    def profile(self, bands: int) -> dict[str, Any]:
        return {
            "driver": "GTiff", "dtype": "float32", "nodata": float("nan"), "count": bands, "interleave": "band",
            "width": self.width, "height": self.height, "crs": self.crs.to_wkt(), "transform": self.transform,
            "tiled": True, "blockxsize": TILE, "blockysize": TILE, "compress": "deflate", "predictor": 3,
            "bigtiff": "if_safer",
        }  # fmt: skip


def _resolution(table: ExportTable, resolution: float | None) -> tuple[float, list[str]]:
    """The side of a cell in metres, and a note if it is the default."""
    if resolution is not None:
        return resolution, []
    side = side_m(table.frame.geometry)
    if not side > 0:
        raise UserError("the regions have no size that gives a default resolution; give --resolution in metres")
    metres = _round_down(side / CELLS_A_SIDE)
    return metres, [f"resolution {metres:g} m, since a median region is {side:,.0f} m wide; --resolution sets another"]


def _cell(crs: CRS, metres: float, x: float, y: float) -> tuple[float, float]:
    """The width and height of a square of `metres` on the ground in units of `crs`, at a position in it."""
    if crs.is_geographic:
        assert crs.ellipsoid is not None  # a geographic CRS is on one
        degree = unit(crs) * crs.ellipsoid.semi_major_metre
        dx = metres / (degree * max(math.cos(unit(crs) * y), 1e-6))
        return dx, metres / degree
    across, down = metres * units_per_metre(np.array([[x, y]]), crs)[0]
    return float(across), float(down)


def _lines(low: float, high: float, step: float) -> tuple[int, int]:
    """How many cells of `step` cover `low` to `high`, and the number of the first grid line."""
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return max(last - first, 1), first


def _without_cells(table: ExportTable, has_cells: NDArray[np.bool_]) -> list[str]:
    lost = np.flatnonzero(~has_cells)
    if not len(lost):
        return []
    names = list_some(table.region_ids[i] for i in lost)
    return [
        f"regions that no cell's centre lies in, so that the raster lacks them: {names}; a finer --resolution helps"
    ]


def _tags(table: ExportTable, metres: float) -> dict[str, str]:
    return {**table.facts, "what": table.what, "resolution_m": f"{metres:g}", "software": "urbankit"}


def _round_down(value: float) -> float:
    """To one digit, so that grids of similar runs tend to be the same."""
    power = 10.0 ** math.floor(math.log10(value))
    return math.floor(value / power + 1e-9) * power


def _round_up(value: float) -> float:
    """To two digits."""
    power = 10.0 ** (math.floor(math.log10(value)) - 1)
    return math.ceil(value / power) * power
