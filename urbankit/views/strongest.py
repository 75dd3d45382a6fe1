"""The strongest pairs of very many rows, exactly: most similarities are only compared with a bound of their row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray

ROWS, COLUMNS = 256, 2048
"""Similarities that are computed at once; 2 MB stay in the cache of a processor."""
SAMPLED = 4
"""Tiles of columns that give each row its first bound, or more where these do not hold k columns."""

Array = NDArray[np.float32]


class _Entries(NamedTuple):
    """Similarities of some pairs."""

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    values: Array


def strongest_pairs(unit: Array, k: int) -> scipy.sparse.csr_array:
    """Return for each row its k largest inner products with other rows; of equal ones the first columns.

    The bound of a row is the k-th largest of a sample of columns. Only what is above it is sorted.

    Args:
        unit: rows of length 1 or 0 without negative values, float32 [N, C].
        k: less than N - 1.

    Returns:
        float32 [N, N]; inner products of 0 are left out.
    """
    n, others = len(unit), np.ascontiguousarray(unit.T)
    blocks = []
    for start in range(0, n, ROWS):
        entries = _block(_Tiles(unit[start : start + ROWS], others, start), k)
        size = (min(ROWS, n - start), n)
        blocks.append(scipy.sparse.csr_array((entries.values, (entries.rows, entries.columns)), shape=size))
    return scipy.sparse.csr_array(scipy.sparse.vstack(blocks, format="csr"))


class _Tiles:
    """The similarities of a block of rows, in tiles of columns; that of a row with itself is 0.

    A tile has the same bits whenever it is computed, so that equal similarities are found to be equal.
    """

    def __init__(self, block: Array, others: Array, start: int) -> None:
        # With so few columns to sum over, the product of torch takes a tenth of the time of that of numpy.
        self.block, self.others, self.start = torch.from_numpy(block), torch.from_numpy(others), start
        self.begins = range(0, others.shape[1], COLUMNS)

    def tile(self, begin: int) -> Array:
        similar = (self.block @ self.others[:, begin : begin + COLUMNS]).clamp_(max=1).numpy()
        itself = np.arange(self.start, self.start + len(self.block)) - begin
        inside = np.flatnonzero((itself >= 0) & (itself < similar.shape[1]))
        similar[inside, itself[inside]] = 0
        return similar

    def all(self) -> Iterator[tuple[int, Array]]:
        return ((begin, self.tile(begin)) for begin in self.begins)


def _block(tiles: _Tiles, k: int) -> _Entries:
    bound = _bound(tiles, k)
    above = _joined([_entries(tile > bound[:, None], tile, begin) for begin, tile in tiles.all()])
    missing = np.maximum(k - np.bincount(above.rows, minlength=len(bound)), 0)
    missing[bound == 0] = 0
    equal = _first_equal(tiles, bound, missing)
    return _largest(_joined([above, equal]), k)


def _bound(tiles: _Tiles, k: int) -> Array:
    """The k-th largest similarity of each row to a sample of the columns, [rows]."""
    step = max(1, len(tiles.begins) // max(SAMPLED, -(-(k + 1) // COLUMNS) + 1))
    sample = np.concatenate([tiles.tile(begin) for begin in tiles.begins[::step]], axis=1)
    place = sample.shape[1] - k
    sample.partition(place, axis=1)
    return sample[:, place]


def _first_equal(tiles: _Tiles, bound: Array, missing: NDArray[np.int64]) -> _Entries:
    """For each row the first columns that are equal to its bound, as many as `missing` says."""
    entries, missing = [], missing.copy()
    for begin in tiles.begins:
        if not missing.any():
            break
        tile = tiles.tile(begin)
        equal = tile == bound[:, None]
        equal &= np.cumsum(equal, axis=1, dtype=np.int32) <= missing[:, None]
        missing -= equal.sum(axis=1)
        entries.append(_entries(equal, tile, begin))
    return _joined(entries)


def _entries(mask: NDArray[np.bool_], tile: Array, begin: int) -> _Entries:
    flat = np.flatnonzero(mask)
    rows, columns = np.divmod(flat, tile.shape[1])
    return _Entries(rows, columns + begin, tile.ravel()[flat])


def _joined(entries: list[_Entries]) -> _Entries:
    if not entries:
        return _Entries(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
    return _Entries(*map(np.concatenate, zip(*entries, strict=True)))


def _largest(entries: _Entries, k: int) -> _Entries:
    """The k largest of each row; of equal ones the first columns."""
    order = np.lexsort((entries.columns, -entries.values, entries.rows))
    rows = entries.rows[order]
    rank = np.arange(len(rows)) - np.searchsorted(rows, rows)
    top = order[rank < k]
    return _Entries(rows[rank < k], entries.columns[top], entries.values[top])
