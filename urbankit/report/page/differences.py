"""Tables of the comparison page: all runs side by side, and the difference of each run to the reference by seed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pandas as pd
from markupsafe import Markup

from urbankit.evaluation.metrics import higher_is_better, run_columns
from urbankit.tables.html import html
from urbankit.tables.table import FLOOR, Table, label

_FLOORS = "Floors predict without representation learning."


def side_by_side(tables: Iterable[Table]) -> list[dict[str, Any]]:
    """The tables of `compare_runs` as `comparison.html` shows them: one block for each task, floors below a rule."""
    return [
        {
            "title": table.title,
            "blocks": [(one.columns[0].group, Markup(html(one))) for one in table.split_by_group()],
            "notes": [
                f"{table.explanation} Best bold, second best underlined.",
                *([_FLOORS] if table.floors else []),
                *table.notes,
            ],
        }
        for table in tables
    ]


def differences(
    reference: str, metrics: dict[str, pd.DataFrame], titles: Mapping[str, str] | None = None
) -> Iterator[tuple[list[str], list[list[str]]]]:
    """Return head and rows of one table for each task: each run minus the run `reference`, paired by seed of the split.

    A cell is the mean ± standard deviation of the differences. `metrics` are the metric records of runs with the same
    test regions, by the names of the runs. `titles` are what readers see of tasks, by their names.
    """
    values = {name: _values(records) for name, records in metrics.items()}
    base = values.pop(reference)
    for task in dict.fromkeys(task for task, _, _ in base):
        splits = dict.fromkeys(split for other, split, _ in base if other == task)
        columns = [(split, metric) for split in splits for metric in run_columns() if (task, split, metric) in base]
        head = [(titles or {}).get(task, task), *(_heading(split, metric) for split, metric in columns)]
        rows = [
            [name, *(_difference(run.get(key), base[key]) for key in ((task, *column) for column in columns))]
            for name, run in values.items()
        ]
        yield head, rows


def _values(records: pd.DataFrame) -> dict[tuple[str, str, str], pd.Series[float]]:
    """Values of a run's method by seed, for each task, split and metric."""
    methods = records[~records["model"].astype(str).str.startswith(FLOOR)]
    groups = methods.groupby(["task", "split", "metric"])
    return {
        (str(task), str(split), str(metric)): rows.set_index("seed")["value"] for (task, split, metric), rows in groups
    }


def _heading(split: str, metric: str) -> str:
    arrow = "↑" if higher_is_better(metric) else "↓"
    return f"{label(split, metric)} {arrow} {split}"


def _difference(one: pd.Series[float] | None, other: pd.Series[float]) -> str:
    paired = (one - other).dropna() if one is not None else other[:0]
    if paired.empty:
        return "–"
    decimals = 3 if paired.abs().mean() < 10 else 1
    std = f" ± {paired.std(ddof=1):.{decimals}f}" if len(paired) > 1 else ""
    return f"{paired.mean():+,.{decimals}f}{std}"
