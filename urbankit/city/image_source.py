"""TODO"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from urbankit.city.io.shards import ShardReader
from urbankit.utils.errors import Problem, UserError


class ImageSource:
    """The images of one source, by row; several rows may belong to one region. Safe to share between threads.

    name; `bands` and their `band_names`; `size` (h, w); `dtype` 'uint8', or 'float32' with NaN where a pixel is missing
    region: int64[M], sorted; lonlat: float64[M, 2] in degrees; image_ids: the M paths or region ids
    files: the M paths in the data folder of what was read; of a mosaic, its rasters joined by +
    band_mean, band_std: float64[bands] over valid pixels, those of uint8 scaled to 0..1
    content_hash: of pixels and index
    """

    def __init__(self, folder: Path, entry: dict[str, Any]) -> None:
        self.name: str = entry["name"]
        self.bands, self.band_names = int(entry["bands"]), list(entry["band_names"])
        self.size: tuple[int, int] = tuple(entry["size"])
        self.dtype: str = entry["dtype"]
        self.band_mean, self.band_std = np.array(entry["band_mean"]), np.array(entry["band_std"])
        self.content_hash: str = entry["content_hash"]
        try:
            index = pd.read_parquet(folder / "index.parquet")
            self._shards = ShardReader(folder, entry["shards"])
        except (OSError, ValueError) as error:
            raise UserError(
                Problem(f"the prepared images are damaged ({error}); prepare the city again", folder)
            ) from None
        self.region = index["region"].to_numpy(np.int64)
        self.lonlat = index[["lon", "lat"]].to_numpy(np.float64)
        self.image_ids: list[str] = index["image_id"].tolist()
        self.files: list[str] = index["file"].tolist()

    @classmethod
    def open(cls, folder: str | Path, entry: dict[str, Any]) -> ImageSource:
        """The images in `folder`, described by their `entry` in the manifest. Raises UserError for damaged files."""
        return cls(Path(folder), entry)

    def __len__(self) -> int:
        return len(self.region)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """[n, bands, h, w] of `dtype` for int rows [n], in any order. Raises IndexError for no such row."""
        return self._shards.read(rows)
