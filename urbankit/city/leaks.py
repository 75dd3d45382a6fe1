"""Input columns that contain a target: equal to it, or in almost the same order."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import polars as pl
from scipy.stats import rankdata

from urbankit.utils.errors import Problem, UserError
from urbankit.utils.text import list_some

REFUSED, NOTED = 0.995, 0.95
LEAST = 10
"""Fewer common regions are in the same order by chance."""


@dataclass(frozen=True)
class Columns:
    """Numeric columns of one source, such as `tables.census`: `values` float64[N, F], NaN missing, by `names`."""

    source: str
    values: np.ndarray
    names: Sequence[str]


@dataclass(frozen=True)
class Leak:
    """A column that gives a target away: `equal`, or by its absolute rank correlation with the target."""

    source: str
    column: str
    target: str
    equal: bool
    correlation: float

    @property
    def refused(self) -> bool:
        """Whether it is equal to the target or almost; otherwise it is noted."""
        return self.equal or self.correlation > REFUSED

    def is_allowed(self, allowed: Collection[str]) -> bool:
        """Whether the user allows it by `COLUMN` or `SOURCE.COLUMN`."""
        short = self.source.rpartition(".")[2]
        return bool({self.column, f"{short}.{self.column}", f"{self.source}.{self.column}"} & set(allowed))

    def __str__(self) -> str:
        relation = "equals" if self.equal else f"has a rank correlation of {self.correlation:.4g} with"
        return f"the column '{self.column}' of {self.source} {relation} the target '{self.target}'"


@dataclass
class LeakCheck:
    """What was compared, and what came of it, as a manifest records it."""

    columns: dict[str, int]
    targets: list[str]
    allowed: list[str] = field(default_factory=list)
    noted: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return the check in its JSON form."""
        return asdict(self) | {"refused_above": REFUSED, "noted_from": NOTED}


def check_leaks(
    sources: Sequence[Columns], targets: Mapping[str, np.ndarray], allowed: Collection[str], key: str = "allow_leak"
) -> LeakCheck:
    """Compare every column with every target.

    Args:
        sources: The columns, over the N regions.
        targets: By name, float64[N] with NaN missing, or the classes as object[N] with None missing.
        allowed: The columns that may give a target away.
        key: The key that allows them, for messages.

    Raises:
        UserError: With every column that equals a target or is above 0.995 in rank, unless it is allowed.
    """
    leaks = [leak for source in sources for name, values in targets.items() for leak in _leaks(source, name, values)]
    refused = [leak for leak in leaks if leak.refused and not leak.is_allowed(allowed)]
    if refused:
        columns = list(dict.fromkeys(leak.column for leak in refused))
        remedy = f"leave it out, or allow it by `{key}: [{list_some(columns)}]`"
        raise UserError(
            [Problem(f"{leak}: the embedding would contain the label; {remedy}", key=key) for leak in refused[:20]]
        )
    return LeakCheck(
        {source.source: len(source.names) for source in sources},
        list(targets),
        [str(leak) for leak in leaks if leak.refused],
        [str(leak) for leak in leaks if not leak.refused and not leak.is_allowed(allowed)],
    )


def values_of(column: pl.Series) -> np.ndarray:
    """A column of a prepared target as `check_leaks` takes it."""
    if column.dtype == pl.String:
        return np.array(column.to_list(), dtype=object)
    return column.cast(pl.Float64).fill_null(np.nan).to_numpy()


def _leaks(source: Columns, target: str, values: np.ndarray) -> Iterator[Leak]:
    if values.dtype == object:
        present = np.array([value is not None for value in values], bool)
        codes = np.full(len(values), np.nan)
        codes[present] = np.unique(values[present].astype(str), return_inverse=True)[1]
        numbers = np.array([_as_number(value) for value in values])
    else:
        present, codes, numbers = np.isfinite(values), None, values
    valid = np.isfinite(source.values) & present[:, None]
    masks, group = np.unique(valid, axis=1, return_inverse=True)
    for index, rows in enumerate(masks.T):
        columns = np.flatnonzero(group.reshape(-1) == index)
        if rows.sum() < 2:
            continue
        block, target_values = source.values[np.ix_(rows, columns)], numbers[rows]
        equal = (block == target_values[:, None]).all(0) & (target_values != target_values[0]).any()
        equal &= len(np.unique(target_values)) >= (LEAST // 2 if codes is None else 2)
        if codes is None:
            correlation = _rank_correlations(block, target_values) if rows.sum() >= LEAST else np.zeros(len(columns))
        else:
            correlation = np.array([_names_classes(column, codes[rows]) for column in block.T], float)
        for i in np.flatnonzero(equal | (correlation >= NOTED)):
            yield Leak(source.source, source.names[columns[i]], target, bool(equal[i]), round(float(correlation[i]), 6))


def _as_number(label: object) -> float:
    try:
        return float(str(label))
    except ValueError:
        return np.nan


def _rank_correlations(block: np.ndarray, target: np.ndarray) -> np.ndarray:
    """float64[F]: the absolute rank correlation of each column of `block` [n, F] with `target` [n], 0 if constant."""
    ranks = rankdata(block, axis=0)
    ranks -= ranks.mean(0)
    order = rankdata(target)
    order -= order.mean()
    scale = np.sqrt((ranks**2).sum(0) * (order**2).sum())
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(scale > 0, np.abs(order @ ranks) / scale, 0.0)


def _names_classes(column: np.ndarray, codes: np.ndarray) -> bool:
    """Whether every class has one value of a column and every value one class, over enough regions of equal class."""
    values = np.unique(column, return_inverse=True)[1]
    classes = np.unique(codes)
    if len(classes) < 2 or len(codes) - len(classes) < LEAST // 2 or values.max() + 1 != len(classes):
        return False
    return len(np.unique(np.column_stack([values, codes]), axis=0)) == len(classes)
