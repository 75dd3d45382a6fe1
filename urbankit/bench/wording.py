"""Numbers of a table as every format writes them."""

from __future__ import annotations

import math

from urbankit.bench.tables import Column, Entry
from urbankit.evaluation.table import number


def value(entry: Entry, plus_minus: str = "±") -> str:
    """Mean and deviation: `0.653 ± 0.040`; a dash where the row has no such number."""
    if not entry.n:
        return "–"
    if math.isnan(entry.mean):
        return "n/a"
    return number(entry.mean) + (f" {plus_minus} {number(entry.std, entry.mean)}" if entry.n > 1 else "")


def mark(entry: Entry, column: Column) -> str:
    """† where the reference is significantly better than this row, ‡ where it is worse."""
    if not entry.significant or entry.test is None:
        return ""
    return "†" if (entry.test.difference > 0) == column.higher else "‡"


def improvement(percent: float) -> str:
    return "n/a" if math.isnan(percent) else f"{round(percent, 1) + 0.0:+.1f}"


def comparison(entry: Entry) -> str:
    """Difference of the reference and this row, and how sure it is: `+0.042, p = 0.003`."""
    if entry.test is None or math.isnan(entry.test.difference):
        return "–"
    sign = "+" if entry.test.difference >= 0 else "-"
    difference = sign + number(abs(entry.test.difference), entry.mean)
    if math.isnan(entry.p):
        return difference
    return f"{difference}, p {'< 0.001' if entry.p < 0.001 else f'= {entry.p:.3f}'}"
