"""Tables of the comparison page: all runs side by side, and each run's distance from the reference, seed by seed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd
from markupsafe import Markup

from urbankit.evaluation.metrics import HIGHER_IS_BETTER
from urbankit.tables.html import html
from urbankit.tables.results import SHOWN
from urbankit.tables.table import FLOOR, Table, label


def side_by_side(tables: Iterable[Table]) -> list[dict[str, Any]]:
    """The tables of `compare_runs` as `comparison.html` shows them: one block a task, floors below a rule."""
    return [
        {
            "title": table.title,
            "blocks": [(one.columns[0].group, Markup(html(one))) for one in table.split_by_group()],
            "notes": [f"{table.explanation} Best bold, second best underlined.", *table.notes],
        }
        for table in tables
    ]


def differences(reference: str, metrics: dict[str, pd.DataFrame]) -> Iterator[tuple[list[str], list[list[str]]]]:
    """Head and rows of one table a task: each run minus the run `reference`, paired by the seeds of the splits.

    A cell is the mean ± standard deviation of the differences. `metrics` are the metric records of runs that were
    measured on the same ground, by the names of the runs.
    """
    values = {name: _values(records) for name, records in metrics.items()}
    base = values.pop(reference)
    for task in dict.fromkeys(base.index.get_level_values("task")):
        columns = [
            (split, metric)
            for split in dict.fromkeys(base.loc[task].index.get_level_values("split"))
            for metric in SHOWN
            if (task, split, metric) in base.index.droplevel("seed")
        ]
        head = [str(task), *(_heading(split, metric) for split, metric in columns)]
        rows = [
            [name, *(_difference(run, base, (task, split, metric)) for split, metric in columns)]
            for name, run in values.items()
        ]
        yield head, rows


def _values(records: pd.DataFrame) -> pd.Series[float]:
    """Values of a run's method by task, split, metric and seed."""
    methods = records[~records["model"].astype(str).str.startswith(FLOOR)]
    return methods.set_index(["task", "split", "metric", "seed"])["value"].sort_index()


def _heading(split: str, metric: str) -> str:
    arrow = "↑" if metric in HIGHER_IS_BETTER else "↓"
    return f"{label(split, metric)} {arrow} {split}"


def _difference(one: pd.Series[float], other: pd.Series[float], key: tuple[str, str, str]) -> str:
    if key not in one.index.droplevel("seed"):
        return "–"
    paired = (one.loc[key] - other.loc[key]).dropna()
    if paired.empty:
        return "–"
    decimals = 3 if paired.abs().mean() < 10 else 1
    std = f" ± {paired.std(ddof=1):.{decimals}f}" if len(paired) > 1 else ""
    return f"{paired.mean():+,.{decimals}f}{std}"
