"""The prepared images of one source, read by memory map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from urbankit.city.io.shards import ShardReader
from urbankit.utils.errors import Problem, UserError


class ImageSource:
    """The M images of one source, by row; several rows may belong to one region. Threads may share it.

    Attributes:
        name: The source's name, such as `rsi`.
        bands: The number of bands, and `band_names` their names.
        size: Height and width in pixels.
        dtype: `uint8`, or `float32` with NaN for a missing pixel.
        region: The region of every image, int64[M], sorted.
        lonlat: Where the images lie or were taken, float64[M, 2] in degrees (WGS 84), longitude first.
        image_ids: The M paths, or the region ids of a source with one image a region.
        files: The M source files, relative to the data folder; the rasters of a mosaic are joined by `+`.
        band_mean: Mean of every band over valid pixels, float64[bands]; pixels of uint8 are scaled to 0..1.
        band_std: Standard deviation, likewise.
        content_hash: Changes with any pixel or row.
    """

    def __init__(self, folder: Path, entry: dict[str, Any]) -> None:
        self.name: str = entry["name"]
        self.bands, self.band_names = int(entry["bands"]), list(entry["band_names"])
        height, width = entry["size"]
        self.size: tuple[int, int] = (height, width)
        self.dtype: str = entry["dtype"]
        self.band_mean, self.band_std = np.array(entry["band_mean"]), np.array(entry["band_std"])
        self.content_hash: str = entry["content_hash"]
        try:
            index = pd.read_parquet(folder / "index.parquet")
            self._shards = ShardReader(folder, entry["shards"])
        except (OSError, ValueError) as error:
            message = f"the prepared images are damaged ({error}); prepare the city again"
            raise UserError(Problem(message, folder)) from None
        self.region = index["region"].to_numpy(np.int64)
        self.lonlat = index[["lon", "lat"]].to_numpy(np.float64)
        self.image_ids: list[str] = index["image_id"].tolist()
        self.files: list[str] = index["file"].tolist()

    @classmethod
    def open(cls, folder: str | Path, entry: dict[str, Any]) -> ImageSource:
        """Open the images in `folder`.

        Args:
            folder: The source's folder in the city's.
            entry: What the city's manifest records of it.

        Raises:
            UserError: If files are damaged or missing.
        """
        return cls(Path(folder), entry)

    def __len__(self) -> int:
        return len(self.region)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Read images.

        Args:
            rows: int[n], in any order.

        Returns:
            Pixels [n, bands, height, width] of `dtype`.

        Raises:
            IndexError: For a row that does not exist.
        """
        return self._shards.read(rows)
