"""Numbers of a table as every format writes them."""

from __future__ import annotations

import math

from urbankit.tables.comparison import Column, Entry


def value(entry: Entry, column: Column) -> str:
    """Mean and deviation: `0.653 ± 0.040`; a dash where the row has no such number."""
    if not entry.n:
        return "–"
    if math.isnan(entry.mean):
        return "n/a"
    return _number(entry.mean, column) + (f" ± {_number(entry.std, column)}" if entry.n > 1 else "")


def mark(entry: Entry, column: Column) -> str:
    """† where the reference is significantly better than this row, ‡ where it is worse."""
    if not entry.significant or entry.test is None:
        return ""
    return "†" if (entry.test.difference > 0) == column.higher else "‡"


def improvement(percent: float) -> str:
    return "n/a" if math.isnan(percent) else f"{round(percent, 1) + 0.0:+.1f}"


def comparison(entry: Entry, column: Column) -> str:
    """Difference of the reference and this row, and how sure it is: `+0.042, p = 0.003`."""
    if entry.test is None or math.isnan(entry.test.difference):
        return "–"
    difference = _number(entry.test.difference, column, "+")
    if math.isnan(entry.p):
        return difference
    return f"{difference}, p {'< 0.001' if entry.p < 0.001 else f'= {entry.p:.3f}'}"


def _number(number: float, column: Column, sign: str = "-") -> str:
    """All numbers of a column have its decimals."""
    return f"{number:{sign},.{column.decimals}f}"
