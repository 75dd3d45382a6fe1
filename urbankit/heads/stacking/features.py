"""Tables of numbers that the members of a stack read, filled and standardised by training rows."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Table:
    """Numbers about regions, in blocks of columns.

    Attributes:
        values: float64 [n, F]; NaN where a region lacks a number.
        blocks: widths of the blocks, in order; their sum is F.
        learned: whether the columns are those of an embedding. Trees do not read these: such a column means nothing by
            itself, as an embedding may be rotated.
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

    def scaled(self, values: Array) -> Array:
        """Return rows [m, F] as linear models read them."""
        return (self._fill(values) - self.mean) / self.std

    def _fill(self, values: Array) -> Array:
        missing = np.isnan(values)
        filled = np.where(missing, self.median, values)
        return np.hstack([filled, missing[:, self.indicators].astype(np.float64)])


class Bins:
    """Divides columns by the quantiles of their training rows."""

    def __init__(self, training: Array) -> None:
        self.cuts = np.quantile(training, np.arange(1, BINS) / BINS, axis=0)

    def __call__(self, rows: Array) -> Array:
        """Return rows [m, F] as trees read them: the number of quantiles of the training rows below each value."""
        columns = zip(self.cuts.T, rows.T, strict=True)
        return np.stack([np.searchsorted(cuts, values) for cuts, values in columns], axis=1).astype(np.float64)
