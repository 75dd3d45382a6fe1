"""Means over regions of cells that hold vectors, such as the tiles of a published embedding."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import rasterio
import shapely
from exactextract import exact_extract
from exactextract.raster import NumPyRasterSource
from rasterio.windows import Window
from scipy import sparse

from urbankit.city.io.raster import LEAST_SHARE, explain_no_overlap, in_raster, refuse_rotated
from urbankit.city.io.raster_file import open_raster
from urbankit.utils.errors import Problem, UserError

BLOCK = 256
"""The side of the blocks of cells that are read at once."""


@dataclass(frozen=True)
class Tile:
    """Cells that hold vectors.

    Attributes:
        raster: The raster on whose grid they lie.
        names: The F names of the numbers of a vector.
        read: Returns the cells of a window of that raster, float[h, w, F], NaN missing.
    """

    raster: Path
    names: Sequence[str]
    read: Callable[[rasterio.DatasetReader, Window], np.ndarray]


@dataclass(frozen=True)
class CellMeans:
    """Means by region, float64[N, F], NaN where no valid cell is, and the shares of the regions on valid cells, 0 to 1.

    A share is above 1 where tiles overlap.
    """

    values: np.ndarray
    share: np.ndarray


def cell_means(tiles: Sequence[Tile], regions: gpd.GeoDataFrame) -> CellMeans:
    """Return the mean of each number of the vectors over every region.

    A cell counts by its part within the region, computed from the exact intersection (exactextract); on the sphere,
    for cells in degrees. A cell of two tiles counts in both.

    Args:
        tiles: At least one; all have the same names.
        regions: N rows, in any CRS.

    Raises:
        UserError: For a tile that cannot be used, or if no region has a valid cell.
    """
    totals = np.zeros((len(regions), len(tiles[0].names)))
    share = np.zeros_like(totals)
    for tile in tiles:
        with open_raster(tile.raster) as dataset:
            refuse_rotated(dataset)
            shapes = in_raster(regions.geometry, dataset)
            for rows, weights, window in _blocks(dataset, shapes):
                cells = tile.read(dataset, window).reshape(weights.shape[1], -1).astype(np.float64)
                valid = np.isfinite(cells)
                totals[rows] += weights @ np.where(valid, cells, 0.0)
                share[rows] += weights @ valid.astype(np.float64)
    if not (share > LEAST_SHARE).any():
        raise UserError(_explain_no_cell(tiles, regions))
    with np.errstate(divide="ignore", invalid="ignore"):
        return CellMeans(np.where(share > LEAST_SHARE, totals / share, np.nan), share)


def _blocks(
    dataset: rasterio.DatasetReader, shapes: gpd.GeoSeries
) -> Iterator[tuple[np.ndarray, sparse.csr_array, Window]]:
    """Yield blocks of a raster: the rows of the shapes in its CRS that overlap it, weights [n, cells], and its window.

    The weights of a shape are the shares of its area in the cells of the block.
    """
    outlines = _in_cells(shapes, dataset)
    tree = shapely.STRtree(outlines)
    left, bottom, right, top = shapely.total_bounds(outlines)
    first_row, first_column = max(0, int(-top)), max(0, int(left))
    last_row, last_column = min(dataset.height, np.ceil(-bottom)), min(dataset.width, np.ceil(right))
    for row in range(first_row, int(last_row), BLOCK):
        for column in range(first_column, int(last_column), BLOCK):
            height, width = min(BLOCK, dataset.height - row), min(BLOCK, dataset.width - column)
            box = shapely.box(column, -(row + height), column + width, -row)
            rows = np.sort(tree.query(box, predicate="intersects"))
            coverage = _coverage(outlines[rows], row, column, height, width)
            if coverage.nnz:
                weights = sparse.diags_array(1 / shapely.area(outlines[rows])) @ coverage
                if shapes.crs.is_geographic:
                    weights = _on_the_sphere(weights, outlines[rows], dataset, row, height, width)
                yield rows, weights.tocsr(), Window(column, row, width, height)


def _in_cells(shapes: gpd.GeoSeries, dataset: rasterio.DatasetReader) -> np.ndarray:
    """Return shapes in cells: columns from the first, and rows from the first, which are negative downwards.

    The rows of a raster may also run northwards.
    """
    transform = dataset.transform
    origin, step = np.array([transform.c, transform.f]), np.array([transform.a, -transform.e])
    return shapely.transform(shapes.to_numpy(), lambda xy: (xy - origin) / step)


def _coverage(outlines: np.ndarray, row: int, column: int, height: int, width: int) -> sparse.csr_array:
    """Return the share, 0 to 1, of each cell of a block within each of n outlines, [n, height · width]."""
    if not len(outlines):
        return sparse.csr_array((0, height * width))
    grid = NumPyRasterSource(
        np.zeros((height, width), np.int8), xmin=column, ymin=-(row + height), xmax=column + width, ymax=-row
    )
    # exactextract asks for a CRS, whichever it is.
    features = gpd.GeoDataFrame({"row": np.arange(len(outlines))}, geometry=outlines, crs="EPSG:3857")
    table = exact_extract(grid, features, ["cell_id", "coverage"], include_cols=["row"], output="pandas")
    table = pd.DataFrame(table).set_index("row").reindex(np.arange(len(outlines)))
    counts = table["cell_id"].map(len).to_numpy()
    cells = np.concatenate(table["cell_id"].to_list()).astype(np.int64)
    shares = np.concatenate(table["coverage"].to_list()).astype(np.float64)
    return sparse.csr_array(
        (shares, (np.repeat(np.arange(len(outlines)), counts), cells)), (len(outlines), height * width)
    )


def _on_the_sphere(
    weights: sparse.csr_array, outlines: np.ndarray, dataset: rasterio.DatasetReader, row: int, height: int, width: int
) -> sparse.csr_array:
    """Return weights by area on the sphere, where a cell in degrees is narrower the farther from the equator it is."""
    step = dataset.transform.e

    def narrowing(rows: np.ndarray) -> np.ndarray:
        return np.cos(np.radians(dataset.transform.f + rows * step))

    by_cell = np.repeat(narrowing(row + np.arange(height) + 0.5), width)
    by_outline = narrowing(-shapely.get_y(shapely.centroid(outlines)))
    return sparse.diags_array(1 / by_outline) @ weights @ sparse.diags_array(by_cell)


def _explain_no_cell(tiles: Sequence[Tile], regions: gpd.GeoDataFrame) -> Problem:
    first = tiles[0].raster
    with open_raster(first) as dataset:
        message = explain_no_overlap(dataset, in_raster(regions.geometry, dataset))
    return Problem(message if len(tiles) == 1 else f"{message} (of {len(tiles)} tiles, this is the first)", first)
