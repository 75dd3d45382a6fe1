"""Suspicious values: one value repeated in many regions, and extreme values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from urbankit.utils.text import format_number, list_some

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


def suspicious_values(values: np.ndarray, names: Sequence[str]) -> list[str]:
    """Sentences on constant runs and outliers of `values` float64[N], naming the regions."""
    notes = [
        f"exactly {format_number(value)} in {count} of {int(np.isfinite(values).sum())} regions: a constant run"
        for value, count in constant_runs(values)
    ]
    extremes = outliers(values)
    if extremes is not None:
        rows, rest = extremes
        shown = list_some((f"{names[i]} ({format_number(values[i])})" for i in rows), 3)
        notes.append(f"extreme: {shown}, against {format_number(rest)} for the next; consider a log transform")
    return notes
