"""Tables of numbers that the members of a stack read, filled and standardised by training rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LEADING = 8
"""Most numbers of a learned block that trees read. A column of such a block means nothing by itself."""


@dataclass(frozen=True)
class Table:
    """Numbers about regions, in blocks of columns.

    Attributes:
        values: float64 [n, F]; NaN where a region lacks a number.
        blocks: widths of the blocks, in order; their sum is F.
        learned: whether the columns are those of an embedding, which may be rotated.
    """

    values: Array
    blocks: tuple[int, ...]
    learned: bool = False

    def beside(self, columns: Array) -> Table:
        """Return the table with one more block, [n, columns]."""
        return replace(self, values=np.hstack([self.values, columns]), blocks=(*self.blocks, columns.shape[1]))


BINS = 32
"""Values that trees tell apart in a column. They are found once: for boosted trees it takes longer than the fit."""


class Scaler:
    """Completes and standardises the rows of a table by its training rows.

    Missing numbers become the median of the training rows, and a 0/1 column is added for every set of columns that
    are missing together.

    Attributes:
        blocks: widths of the blocks of the result; the 0/1 columns are the last.
    """

    def __init__(self, training: Table) -> None:
        values = training.values
        missing = np.isnan(values)
        self.median = np.zeros(values.shape[1])
        has_value = ~missing.all(axis=0)
        self.median[has_value] = np.nanmedian(values[:, has_value], axis=0)
        _, self.indicators = np.unique(missing, axis=1, return_index=True)
        self.indicators = self.indicators[missing[:, self.indicators].any(axis=0)]
        added = (len(self.indicators),) if len(self.indicators) else ()
        self.blocks = (*training.blocks, *added)
        filled = self._fill(values)
        self.mean, std = filled.mean(axis=0), filled.std(axis=0)
        self.std = np.where(std > 1e-9 * np.maximum(np.abs(self.mean), 1), std, 1.0)
        scaled = (filled - self.mean) / self.std
        self.turns = list(self._turns(scaled)) if training.learned else None
        self.cuts = np.quantile(self._short(scaled), np.arange(1, BINS) / BINS, axis=0)

    def scaled(self, values: Array) -> Array:
        """Return rows [m, F] as linear models read them."""
        return (self._fill(values) - self.mean) / self.std

    def binned(self, scaled: Array) -> Array:
        """Return rows of `scaled` as trees read them: the number of quantiles of the training rows below each value.

        Trees read only the leading principal components of a learned block.
        """
        short = self._short(scaled)
        columns = zip(self.cuts.T, short.T, strict=True)
        return np.stack([np.searchsorted(cuts, values) for cuts, values in columns], axis=1).astype(np.float64)

    def _short(self, scaled: Array) -> Array:
        if self.turns is None:
            return scaled
        return np.hstack([scaled[:, start : start + len(turn)] @ turn for start, turn in self.turns])

    def _fill(self, values: Array) -> Array:
        missing = np.isnan(values)
        filled = np.where(missing, self.median, values)
        return np.hstack([filled, missing[:, self.indicators].astype(np.float64)])

    def _turns(self, scaled: Array) -> Iterator[tuple[int, Array]]:
        start = 0
        for width in self.blocks:
            turn = np.eye(width)
            if width > LEADING:
                block = scaled[:, start : start + width]
                _, vectors = np.linalg.eigh(block.T @ block)
                turn = vectors[:, ::-1][:, :LEADING]
            yield start, turn
            start += width
