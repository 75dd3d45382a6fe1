"""Tiles of TESSERA: 8-bit numbers in a `.npy` file, their scales in another, and their position in a GeoTIFF.

The layout is that of geotessera (https://github.com/ucam-eo/geotessera): `2024/grid_LON_LAT/grid_LON_LAT.npy`,
`grid_LON_LAT_scales.npy` beside it, and `global_0.1_degree_tiff_all/grid_LON_LAT.tiff`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from rasterio.windows import Window

from urbankit.city.datasets.arrays import map_array
from urbankit.city.io.cell_vectors import Tile
from urbankit.city.io.codes import Codes
from urbankit.city.io.raster_file import open_raster, raster_files
from urbankit.modalities.embeddings.reader import Reader
from urbankit.utils.errors import Problems

SCALES = "_scales"
POSITIONS = ("global_0.1_degree_tiff_all", "landmasks", ".")
"""The folders of the GeoTIFF files that say where tiles lie, relative to a folder above them."""
_LEVELS = 5
"""The most folders above a tile in which these folders are looked for."""


def is_array_tile(path: Path) -> bool:
    """Return whether a file holds the numbers of a tile."""
    return path.suffix.lower() == ".npy" and not path.stem.endswith(SCALES)


@dataclass
class TesseraTile:
    """A tile of vectors: numbers [h, w, F], scales [h, w] or [h, w, F] (None if the numbers are decoded), and names."""

    path: Path
    scales: Path | None
    position: Path
    names: list[str]

    def files(self) -> list[Path]:
        """Return the files that are read."""
        return [self.path, *([self.scales] if self.scales else []), *raster_files(self.position)]

    def reader(self, bands: Mapping[str, str], codes: Codes) -> Reader:
        """Return what reads the `bands`, a name for each of the new names."""
        values = map_array(self.path, [("rows", "columns", "numbers")])
        scales = None if self.scales is None else map_array(self.scales, [values.shape[:2], values.shape])
        columns = [self.names.index(name) for name in bands.values()]

        def read(dataset: rasterio.DatasetReader, window: Window) -> np.ndarray:
            rows, row_columns = window.toslices()
            cells = values[rows, row_columns][..., columns].astype(np.float32)
            if scales is None:
                return cells
            factors = np.asarray(scales[rows, row_columns], np.float32)
            return cells * (factors[..., np.newaxis] if factors.ndim == 2 else factors[..., columns])

        return Reader(Tile(self.position, list(bands), read), list)


def tessera_tile(path: Path) -> TesseraTile:
    """Return the tile of a `.npy` file.

    Raises:
        UserError: If it is no tile, its scales or its position are missing, or their shapes differ.
    """
    problems = Problems(path)
    values = map_array(
        path, [("rows", "columns", "numbers")], "; a table of vectors needs ids: write it as CSV or Parquet"
    )
    height, width, count = values.shape
    scales: Path | None = path.with_name(f"{path.stem}{SCALES}.npy")
    assert scales is not None
    if scales.is_file():
        with problems.collect():
            map_array(scales, [(height, width), (height, width, count)], f" for the numbers in {path.name}")
    elif values.dtype.kind == "f":
        scales = None  # the numbers are decoded
    else:
        problems.add(f"holds codes without their scales; put {scales.name} beside it")
    position = _position(path)
    if position is None:
        message = f"nothing says where it lies; put {path.stem}.tiff of the folder {POSITIONS[0]} beside it"
        problems.add(message)
    else:
        with problems.collect(), open_raster(position) as dataset:
            if dataset.shape != (height, width):
                size = f"{dataset.height} × {dataset.width} cells, but {path.name} {height} × {width}"
                problems.add(f"has {size}: they are not of one tile", file=position)
    problems.raise_if_any()
    assert position is not None  # it is None only with a problem
    return TesseraTile(path, scales, position, [f"band {number + 1}" for number in range(count)])


def _position(path: Path) -> Path | None:
    names = [f"{path.stem}.tiff", f"{path.stem}.tif"]
    folders = [above / folder for above in path.parents[:_LEVELS] for folder in POSITIONS]
    return next((folder / name for folder in folders for name in names if (folder / name).is_file()), None)
