"""The features of one modality, of a city or of several cities that are standardised by themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from urbankit.city.joined import vocabulary
from urbankit.modalities.standardise import Statistics


@dataclass(frozen=True)
class FeatureTable:
    """The features of M observations.

    Attributes:
        values: float64 [M, F], sorted by region, NaN where missing.
        region: the region of each observation, int64 [M].
        statistics: what standardises the features; it has their names.
        standardised: float32 [M, columns of the statistics].
        named: whether the features have names of their own, not only numbers.
    """

    values: NDArray[np.float64]
    region: NDArray[np.int64]
    statistics: Statistics
    standardised: NDArray[np.float32]
    named: bool

    @classmethod
    def of(
        cls,
        values: NDArray[np.float64],
        region: NDArray[np.int64],
        names: Sequence[str] | None,
        describe: Callable[[NDArray[np.float64], list[str]], Statistics],
    ) -> FeatureTable:
        """The table of one city.

        Args:
            values: float64 [M, F] in any order.
            region: the region of each observation, int64 [M].
            names: of the F features; None for features that go by position.
            describe: returns what standardises the values.
        """
        numbered = [str(i) for i in range(values.shape[1])]
        statistics = describe(values, numbered if names is None else list(names))
        order = np.argsort(region, kind="stable")
        ordered = values[order]
        return cls(ordered, region[order], statistics, statistics.apply(ordered), names is not None)

    @classmethod
    def joined(cls, tables: Sequence[FeatureTable]) -> FeatureTable:
        """The tables of several cities one after the other; each stays standardised by itself.

        Features are matched by name. One that a city lacks is at its mean there, which is 0, and has no flag.
        """
        if len(tables) == 1:
            return tables[0]
        names, _ = vocabulary([table.statistics.names for table in tables])
        renamed = [table.statistics.renamed(names) for table in tables]
        flagged = {name for statistics in renamed for name in statistics.flagged}
        ends = np.cumsum([len(table.values) for table in tables])
        values = np.full((ends[-1], len(names)), np.nan)
        for table, statistics, end in zip(tables, renamed, ends, strict=True):
            values[end - len(table.values) : end, [names.index(name) for name in statistics.names]] = table.values
        joint = replace(Statistics.of(values, names), flagged=[name for name in names if name in flagged])
        standardised = np.zeros((ends[-1], len(joint.columns)), np.float32)
        for table, statistics, end in zip(tables, renamed, ends, strict=True):
            columns = [joint.columns.index(name) for name in statistics.columns]
            standardised[end - len(table.values) : end, columns] = table.standardised
        region = np.concatenate([table.region for table in tables])
        return cls(values, region, joint, standardised, all(table.named for table in tables))
