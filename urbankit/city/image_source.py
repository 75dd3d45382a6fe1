"""The prepared images of one source, read by memory map."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from urbankit.city.files import CityFiles
from urbankit.city.io.shards import ShardReader
from urbankit.utils.errors import Problem, UserError
from urbankit.utils.files import hash_json
from urbankit.utils.parquet import valid_text


class ImageSource:
    """The M images of one source, by row; several rows may belong to one region. Threads may share it.

    Attributes:
        name: The source's name, such as `rsi`.
        bands: The number of bands, and `band_names` their names.
        size: Height and width in pixels.
        dtype: `uint8`, or `float32` with NaN for a missing pixel.
        region: The region of every image, int64[M], sorted.
        lonlat: Where the images lie or were taken, float64[M, 2] in degrees (WGS 84), longitude first.
        image_ids: The M paths, or the region ids of a source with one image for each region.
        files: The M source files, relative to the data folder; the rasters of a mosaic are joined by `+`.
        band_mean: Mean of every band over valid pixels, float64[bands]; pixels of uint8 are scaled to 0..1.
        band_std: Standard deviation, likewise.
        content_hash: Changes with any pixel or row.
    """

    def __init__(self, files: CityFiles, entry: dict[str, Any]) -> None:
        self.name: str = entry["name"]
        self.bands, self.band_names = int(entry["bands"]), list(entry["band_names"])
        height, width = entry["size"]
        self.size: tuple[int, int] = (height, width)
        self.dtype: str = entry["dtype"]
        self.band_mean, self.band_std = np.array(entry["band_mean"]), np.array(entry["band_std"])
        self.content_hash: str = entry["content_hash"]
        folder = f"images/{self.name}"
        index = pd.read_parquet(valid_text(files.read(f"{folder}/index.parquet")))
        shards = entry["shards"]
        arrays = [files.map_array(f"{folder}/{shard['file']}") for shard in shards]
        expected = [(shard["rows"], self.bands, *self.size) for shard in shards]
        if [array.shape for array in arrays] != expected or sum(rows for rows, *_ in expected) != len(index):
            message = "the images have other numbers or sizes than the manifest says; prepare the city again"
            raise UserError(Problem(message, files.folder / folder))
        self._order: list[int] | None = None
        self._shards = ShardReader(arrays, [shard["rows"] for shard in shards])
        self.region = index["region"].to_numpy(np.int64)
        self.lonlat = index[["lon", "lat"]].to_numpy(np.float64)
        self.image_ids: list[str] = index["image_id"].tolist()
        self.files: list[str] = index["file"].tolist()

    @classmethod
    def open(cls, files: CityFiles, entry: dict[str, Any]) -> ImageSource:
        """Open the images of one source.

        Args:
            files: The files of the city.
            entry: What the city's manifest records of the source under `image`.

        Raises:
            UserError: If files are damaged or missing.
        """
        return cls(files, entry)

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
        pixels = self._shards.read(rows)
        return pixels if self._order is None else pixels[:, self._order]

    def with_bands(self, order: Sequence[int]) -> ImageSource:
        """The same images with the bands at the positions `order`, in this order."""
        images, order = copy.copy(self), list(order)
        images._order, images.bands = order, len(order)
        images.band_names = [self.band_names[i] for i in order]
        images.band_mean, images.band_std = self.band_mean[order], self.band_std[order]
        images.content_hash = hash_json([self.content_hash, order])
        return images
