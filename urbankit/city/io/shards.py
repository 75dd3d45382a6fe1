"""Image shards: plain `.npy` files of decoded images, written once and read by memory map."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from urbankit.utils.errors import UserError

SHARD_BYTES = 256 << 20


@dataclass(frozen=True)
class Shards:
    """Written shards: `files` with their rows, in order; statistics of every band; the hash `digest` of all pixels.

    `mean` and `std` float64[bands] are over valid pixels, those of uint8 scaled to 0..1.
    """

    files: list[dict[str, Any]]
    mean: np.ndarray
    std: np.ndarray
    digest: str


def write_shards(
    new_file: Callable[[str], Path],
    batches: Iterable[np.ndarray],
    shape: tuple[int, int, int],
    dtype: str,
    band_names: list[str],
    shard_bytes: int = SHARD_BYTES,
) -> Shards:
    """Write `batches`, each [k, bands, h, w], `shape` = (bands, h, w), as files of at most `shard_bytes`.

    `new_file` returns the path to write the file of a name to.
    A batch is of `dtype`, or of float32 with NaN for missing pixels. A missing pixel is stored as 0 in uint8 and left
    out of the statistics. One batch at a time is in memory. Raises `UserError` if a band has no valid pixel in any
    image.
    """
    rows_each = max(1, shard_bytes // (math.prod(shape) * np.dtype(dtype).itemsize))
    statistics = _Statistics(shape[0], scale=255.0 if dtype == "uint8" else 1.0)
    digest = hashlib.sha256(f"{shape} {dtype}".encode())
    files: list[dict[str, Any]] = []
    with ExitStack() as open_files:
        shard: _Shard | None = None
        for batch in batches:
            statistics.add(batch)
            pixels = _stored(batch, dtype)
            digest.update(pixels.data.cast("B"))
            while len(pixels):
                if shard is None or shard.rows == rows_each:
                    files.append({"file": f"shard-{len(files):05d}.npy", "rows": 0})
                    stream = open_files.enter_context(new_file(files[-1]["file"]).open("wb"))
                    shard = _Shard(stream, shape, dtype)
                head, pixels = np.split(pixels, [rows_each - shard.rows])
                shard.append(head)
                files[-1]["rows"] = shard.rows
        mean, std = statistics.finish()
        empty = [name for name, value in zip(band_names, mean, strict=True) if np.isnan(value)]
        if empty:
            raise UserError(
                f"no image has a valid pixel in band {', '.join(empty)}: check its CRS, its nodata value, and that it "
                "covers the regions"
            )
    return Shards(files, mean, std, digest.hexdigest())


class ShardReader:
    """Rows across the shards of one source, `arrays` of so many `rows` each. Safe to share between threads."""

    def __init__(self, arrays: list[np.ndarray], rows: list[int]) -> None:
        self._maps = arrays
        self._starts = np.cumsum([0, *rows])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def read(self, rows: np.ndarray) -> np.ndarray:
        """[n, bands, h, w] for int rows [n], in any order. Raises IndexError for no such row."""
        rows = np.asarray(rows, dtype=np.int64)
        if rows.size and (rows.min() < 0 or rows.max() >= len(self)):
            raise IndexError(f"image rows are 0 to {len(self) - 1}, not {rows.min()} to {rows.max()}")
        shard = np.searchsorted(self._starts, rows, side="right") - 1
        out = np.empty((len(rows), *self._maps[0].shape[1:]), dtype=self._maps[0].dtype)
        for number in np.unique(shard):
            chosen = np.flatnonzero(shard == number)
            out[chosen] = self._maps[number][rows[chosen] - self._starts[number]]
        return out


class _Shard:
    """A `.npy` file that grows: numpy's header leaves room for the final number of rows."""

    def __init__(self, stream: BinaryIO, shape: tuple[int, int, int], dtype: str) -> None:
        self._stream, self._shape, self._dtype, self.rows = stream, shape, np.dtype(dtype), 0
        self._write_header()

    def append(self, pixels: np.ndarray) -> None:
        self._stream.seek(0, 2)
        self._stream.write(pixels.data.cast("B"))
        self.rows += len(pixels)
        self._write_header()

    def _write_header(self) -> None:
        self._stream.seek(0)
        descr = np.lib.format.dtype_to_descr(self._dtype)
        header = {"descr": descr, "fortran_order": False, "shape": (self.rows, *self._shape)}
        np.lib.format.write_array_header_1_0(self._stream, header)


class _Statistics:
    """Mean and standard deviation of every band over valid pixels, merged by batch (Chan et al. 1983)."""

    def __init__(self, bands: int, scale: float) -> None:
        self._scale = scale
        self._count, self._mean, self._squares = np.zeros(bands), np.zeros(bands), np.zeros(bands)

    def add(self, batch: np.ndarray) -> None:
        if batch.dtype == np.uint8:
            # A histogram is exact and needs no float copy of the pixels.
            levels = np.arange(256) / self._scale
            histogram = np.stack([np.bincount(batch[:, band].ravel(), minlength=256) for band in range(batch.shape[1])])
            count = histogram.sum(1)
            mean = histogram @ levels / np.maximum(count, 1)
            squares = (histogram * (levels - mean[:, None]) ** 2).sum(1)
        else:
            valid = np.isfinite(batch)
            batch = batch / self._scale
            count = valid.sum((0, 2, 3))
            mean = np.where(valid, batch, 0).sum((0, 2, 3), dtype=np.float64) / np.maximum(count, 1)
            deviation = np.where(valid, batch - mean[:, None, None], 0)
            squares = (deviation**2).sum((0, 2, 3))
        total = np.maximum(self._count + count, 1)
        shift = mean - self._mean
        self._squares += squares + shift**2 * self._count * count / total
        self._mean += shift * count / total
        self._count += count

    def finish(self) -> tuple[np.ndarray, np.ndarray]:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(self._count > 0, self._mean, np.nan), np.sqrt(self._squares / self._count)


def _stored(batch: np.ndarray, dtype: str) -> np.ndarray:
    if batch.dtype == np.dtype(dtype):
        return np.ascontiguousarray(batch)
    return np.rint(np.nan_to_num(batch)).clip(0, 255).astype(dtype)
