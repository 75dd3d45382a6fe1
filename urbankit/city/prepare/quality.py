"""Suspicious values: one value repeated in many regions, and extreme values."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np

from urbankit.utils.text import format_number, list_some

_TYPE_LIMITS = {32768.0, 32767.0, 65535.0, 2147483648.0, 2147483647.0, 4294967295.0, 9.223372036854775808e18, 1e20}
RUN_SHARE, RUN_COUNT, RUN_DISTINCT = 0.03, 10, 20
GAP, GAP_SHARE = 5.0, 0.01


def constant_runs(values: np.ndarray) -> list[tuple[float, int]]:
    """`(value, count)` of every value that at least 3 % of the regions (and 10 of them) share exactly.

    `values`: float64[N], NaN missing. Values with 20 distinct numbers or fewer are codes or ratings, and are not
    checked.
    """
    finite = values[np.isfinite(values)]
    distinct, counts = np.unique(finite, return_counts=True)
    if len(distinct) <= RUN_DISTINCT:
        return [(float(distinct[0]), int(counts[0]))] if len(distinct) == 1 and len(finite) > 1 else []
    frequent = np.flatnonzero((counts >= RUN_COUNT) & (counts >= RUN_SHARE * len(finite)))
    return [(float(distinct[i]), int(counts[i])) for i in frequent[np.argsort(-counts[frequent], kind="stable")]]


def outliers(values: np.ndarray) -> tuple[np.ndarray, float] | None:
    """Extreme values: their positions, largest first, and the largest of the other values.

    The largest gap among the top 1 % (3 values at least) counts when it is fivefold or more. `values`: float64[N].
    """
    order = np.argsort(-np.where(np.isfinite(values), values, -np.inf), kind="stable")
    ranked = values[order[: np.isfinite(values).sum()]]
    top = min(max(3, int(GAP_SHARE * len(ranked))), len(ranked) - 1)
    if len(ranked) < RUN_COUNT or ranked[top] <= 0:
        return None
    ratio = ranked[:top] / ranked[1 : top + 1]
    if ratio.max() < GAP:
        return None
    last = int(ratio.argmax())
    return order[: last + 1], float(ranked[last + 1])


def similar_names(names: Sequence[str], what: str) -> list[str]:
    """A sentence on names that differ by case, spaces or the form of accented letters alone; `what` they name."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(" ".join(unicodedata.normalize("NFKC", name).casefold().split()), []).append(name)
    alike = [
        " and ".join(map(repr, group[:5])) + (f" and {len(group) - 5} more" if len(group) > 5 else "")
        for group in groups.values()
        if len(group) > 1
    ]
    return [f"{what} that differ by case or spaces alone: {list_some(alike)}; are they one?"] if alike else []


def same_columns(values: np.ndarray, names: Sequence[str]) -> list[str]:
    """Sentences on columns of `values` float64[N, F] that equal another one."""
    groups: dict[bytes, list[str]] = {}
    for name, column in zip(names, values.T, strict=True):
        if len(np.unique(column[np.isfinite(column)])) > 1:
            groups.setdefault(np.ascontiguousarray(column).tobytes(), []).append(name)
    alike = [
        " and ".join(map(repr, group[:5])) + (f" and {len(group) - 5} more" if len(group) > 5 else "")
        for group in groups.values()
        if len(group) > 1
    ]
    return [f"columns with the same values: {list_some(alike)}"] if alike else []


def sentinels(values: np.ndarray) -> list[tuple[float, int]]:
    """`(value, count)` of numbers that usually stand for a missing value and lie far from all others, each once.

    `values`: float64[N], NaN missing. Such numbers are -9999 and others of one repeated digit, and the limits of
    number types; they lie further from the other numbers than these do from each other.
    """
    distinct, counts = np.unique(values[np.isfinite(values)], return_counts=True)
    matches: list[tuple[float, int]] = []
    low, high = 0, len(distinct)
    while high - low > 1 and is_sentinel(distinct[low]) and _is_apart(distinct[low], distinct[low + 1 : high]):
        matches.append((float(distinct[low]), int(counts[low])))
        low += 1
    while (
        high - low > 1 and is_sentinel(distinct[high - 1]) and _is_apart(distinct[high - 1], distinct[low : high - 1])
    ):
        matches.append((float(distinct[high - 1]), int(counts[high - 1])))
        high -= 1
    return matches


def is_sentinel(value: float) -> bool:
    """Whether a number often stands for a missing value: -9999, -666666666, 1e20, the limit of a number type."""
    if abs(value) in _TYPE_LIMITS or abs(value) > 1e30:
        return True
    digits = str(int(abs(value))) if float(value).is_integer() else ""
    return len(digits) >= 3 and len(set(digits)) == 1 and (value < 0 or digits[0] == "9")


def _is_apart(value: float, others: np.ndarray) -> bool:
    gap = np.abs(others - value).min()
    return bool(gap > others.max() - others.min() and (value > 0 or others.min() >= 0 or gap > 100))


def suspicious_values(values: np.ndarray, names: Sequence[str]) -> list[str]:
    """Sentences on constant runs and outliers of `values` float64[N], naming the regions."""
    notes = [
        f"exactly {format_number(value)} in {count} of {int(np.isfinite(values).sum())} regions: a constant run"
        for value, count in constant_runs(values)
    ]
    unlikely = sentinels(values)
    for value, count in unlikely:
        notes.append(
            f"{format_number(value)}, {count} times, looks like an undeclared missing value; if it is one, set "
            f"`missing: [{value:.17g}]`"
        )
    extremes = None if unlikely else outliers(values)
    if extremes is not None:
        rows, rest = extremes
        listed = list_some((f"{names[i]} ({format_number(values[i])})" for i in rows), 3)
        notes.append(f"extreme: {listed}, against {format_number(rest)} for the next; consider a log transform")
    return notes
