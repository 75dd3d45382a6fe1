"""GeoTIFFs written from arrays."""

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.transform import from_origin

UTM = "EPSG:32618"
EAST, NORTH = 500_000.0, 4_500_000.0


def write_raster(path: Path, cells: np.ndarray, cell: float = 100.0, north: float = NORTH, **options: Any) -> Path:
    """Write `cells` [bands, h, w] or [h, w], the north-west corner at (EAST, north), `cell` metres each."""
    cells = cells if cells.ndim == 3 else cells[None]
    bands, height, width = cells.shape
    profile = {"driver": "GTiff", "count": bands, "height": height, "width": width, "dtype": cells.dtype, "crs": UTM}
    with rasterio.open(path, "w", **profile | {"transform": from_origin(EAST, north, cell, cell)} | options) as raster:
        raster.write(cells)
    return path
