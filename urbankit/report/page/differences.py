"""Tables of a page that compares runs: all side by side, and how far each is from the reference, seed by seed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

import pandas as pd

from urbankit.evaluation.metrics import HIGHER_IS_BETTER
from urbankit.report.page.markup import bullets, paragraph, table, wide
from urbankit.tables import format as wording
from urbankit.tables.comparison import Line, Table
from urbankit.tables.results import FLOOR, SHOWN, label

_READING = "Mean ± sample standard deviation over pairs of seeds; best bold, second best underlined."


def side_by_side(tables: Iterable[Table]) -> str:
    """The tables of `compare_runs`, one block a task: best bold, second best underlined, floors below a rule."""
    return "".join(
        f"<h3>{escape(one.title)}</h3>"
        + "".join(_block(one, task) for task in dict.fromkeys(column.task for column in one.columns))
        + bullets([_READING, *one.notes])
        for one in tables
    )


def _block(one: Table, task: str) -> str:
    places = [place for place, column in enumerate(one.columns) if column.task == task]
    called = one.columns[places[0]].label
    heads = "".join(f'<th scope="col">{escape(one.columns[place].heading)}</th>' for place in places)
    rows = "".join(_row(one, line, places) for line in one.rows)
    floors = "".join(_row(one, line, places, "rule" if line is one.floors[0] else "") for line in one.floors)
    body = f"<thead><tr><th>{escape(called)}</th>{heads}</tr></thead><tbody>{rows}{floors}</tbody>"
    return wide(f'<table class="results">{body}</table>', called)


def _row(one: Table, line: Line, places: Sequence[int], kind: str = "") -> str:
    cells = []
    for place in places:
        entry, column = line.entries[place], one.columns[place]
        rank = {1: ' class="best"', 2: ' class="second"'}.get(entry.rank, "")
        cells.append(f"<td{rank}>{escape(wording.value(entry, column) + wording.mark(entry, column))}</td>")
    return f'<tr class="{kind}"><th scope="row">{escape(line.label)}</th>{"".join(cells)}</tr>'


def differences(reference: str, metrics: dict[str, pd.DataFrame]) -> str:
    """Each run less the run `reference`, paired by the seeds of the splits: mean ± deviation of the differences.

    `metrics` are the metric records of runs that were measured on the same ground, by the names of the runs.
    """
    values = {name: _values(records) for name, records in metrics.items()}
    base = values.pop(reference)
    parts = []
    for task in dict.fromkeys(base.index.get_level_values("task")):
        columns = [
            (split, metric)
            for split in dict.fromkeys(base.loc[task].index.get_level_values("split"))
            for metric in SHOWN
            if (task, split, metric) in base.index.droplevel("seed")
        ]
        heads = [str(task), *(_heading(split, metric) for split, metric in columns)]
        rows = [
            (name, *(_difference(of, base, (task, split, metric)) for split, metric in columns))
            for name, of in values.items()
        ]
        parts.append(table(heads, rows))
    explained = (
        f"Each run less {reference}: mean ± sample standard deviation of the differences on the same seeds. ↑ marks "
        "metrics of which more is better, ↓ those of which less is."
    )
    return paragraph(explained, "quiet") + "".join(parts)


def _values(records: pd.DataFrame) -> pd.Series:
    """Values of a run's method by task, split, metric and seed."""
    methods = records[~records["model"].astype(str).str.startswith(FLOOR)]
    return methods.set_index(["task", "split", "metric", "seed"])["value"].sort_index()


def _heading(split: str, metric: str) -> str:
    arrow = "↑" if metric in HIGHER_IS_BETTER else "↓"
    return f"{label(split, metric)} {arrow} {split}"


def _difference(one: pd.Series, other: pd.Series, place: tuple[str, str, str]) -> str:
    if place not in one.index.droplevel("seed"):
        return "–"
    found = (one.loc[place] - other.loc[place]).dropna()
    if found.empty:
        return "–"
    decimals = 3 if found.abs().mean() < 10 else 1
    spread = f" ± {found.std(ddof=1):.{decimals}f}" if len(found) > 1 else ""
    return f"{found.mean():+,.{decimals}f}{spread}"
