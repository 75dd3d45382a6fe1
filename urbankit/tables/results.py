"""The results table of a run: every model on every task and split, the floors below a rule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import pandas as pd
from rich.console import Console, ConsoleOptions, RenderResult

from urbankit.evaluation.metrics import higher_is_better, run_columns
from urbankit.evaluation.splits import is_few, is_sampled, protocol_label
from urbankit.tables.html import html
from urbankit.tables.markdown import markdown
from urbankit.tables.table import FLOOR, UNTRAINED, Cell, Column, Row, Table, label, rank_rows
from urbankit.tables.terminal import render
from urbankit.utils.console import SafeConsole


class ResultsTable:
    """The metric records of a run as tables, one per task; `print(table)` or a rich console shows them.

    Values are mean ± sample standard deviation over seeds, or over draws of few labels; the best of a column is bold.
    Most of the standard deviation comes from the splits, so notes below the table compare each method with the best
    floor, and with itself untrained, seed by seed.

    Attributes:
        metrics: Tidy records: `task, model, split, seed, metric, value`.
        splits: The split protocols.
        tables: One `Table` a task; the columns of a split protocol are a group.
    """

    def __init__(self, metrics: pd.DataFrame) -> None:
        self.metrics = metrics
        self.splits: list[str] = list(dict.fromkeys(metrics["split"]))
        self.tables = [self._table(task) for task in dict.fromkeys(metrics["task"])]

    def _table(self, task: str) -> Table:
        records = self.metrics[self.metrics["task"] == task]
        recorded = set(zip(records["split"], records["metric"], strict=True))
        columns = tuple(
            Column(task, metric, split, protocol_label(split))
            for split in self.splits
            for metric in run_columns()
            if (split, metric) in recorded
        )
        models: list[str] = sorted(dict.fromkeys(records["model"]), key=lambda model: model.startswith(FLOOR))
        by_column = [_column(records, column, models) for column in columns]
        rows = [Row(model, tuple(cells[model] for cells in by_column)) for model in models]
        return Table(
            columns,
            tuple(row for row in rows if not row.is_floor),
            tuple(row for row in rows if row.is_floor),
            corner=task,
            notes=tuple(_compare_with_floors(records, columns)),
        )

    def __str__(self) -> str:
        console = Console(width=140, no_color=True, force_terminal=False)
        with console.capture() as capture:
            console.print(self)
        return capture.get()

    def print(self, console: Console | None = None) -> None:
        """Show the tables on a terminal."""
        (console or SafeConsole()).print(self)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for table in self.tables:
            yield from render(table, console, options.max_width)

    def to_frame(self) -> pd.DataFrame:
        """One record a model, task, split and metric, see `Table.to_frame`."""
        return pd.concat([table.to_frame() for table in self.tables], ignore_index=True)

    def markdown(self) -> str:
        """The tables as Markdown."""
        return markdown(self.tables)

    def html(self, titles: Mapping[str, str] | None = None) -> str:
        """The tables and their notes as an HTML fragment; `titles` are names of tasks that readers see, by task."""
        return "".join(html(table, with_notes=True) for table in self.titled(titles or {}))

    def titled(self, titles: Mapping[str, str]) -> list[Table]:
        """The tables with the titles of their tasks."""
        return [replace(table, corner=titles.get(table.corner, table.corner)) for table in self.tables]

    _repr_html_ = html


def _column(records: pd.DataFrame, column: Column, models: list[str]) -> dict[str, Cell]:
    selected = records[(records["split"] == column.split) & (records["metric"] == column.metric)]
    values = {model: selected.loc[selected["model"] == model, "value"] for model in models}
    # A mean over only the seeds where R² is defined would compare different test regions: one NaN makes it NaN.
    means = {model: float(of_model.mean(skipna=False)) for model, of_model in values.items()}
    ranks = rank_rows(means, column.higher)
    return {
        model: Cell(
            means[model],
            float(of_model.std(ddof=1)),
            len(of_model),
            _decimals(means[model]),
            ranks.get(model, 0),
            higher=column.higher,
        )
        for model, of_model in values.items()
    }


def _compare_with_floors(records: pd.DataFrame, columns: tuple[Column, ...]) -> Iterator[str]:
    """Each method against the floor with the best mean of a split's first metric, and against itself untrained.

    Differences are paired over seeds, or over draws of few labels.
    """
    first_metrics: dict[str, str] = {}
    for column in columns:
        first_metrics.setdefault(column.split, column.metric)
    for split, metric in first_metrics.items():
        selected = records[(records["split"] == split) & (records["metric"] == metric)]
        by_model = selected.pivot_table(index="seed", columns="model", values="value", sort=False)
        models = [str(model) for model in by_model]
        methods = [model for model in models if not model.startswith(FLOOR)]
        floors = [model for model in models if model.startswith(FLOOR)]
        if not methods or not floors or by_model[floors].isna().all(axis=None):
            continue
        means, higher = by_model[floors].mean(), higher_is_better(metric)
        best = str(means.idxmax() if higher else means.idxmin())
        others = {best: f"the best floor, {best.removeprefix(FLOOR)}"}
        if UNTRAINED in floors:
            others.setdefault(UNTRAINED, "itself untrained")
        for method in methods:
            for other, name in others.items():
                difference = (by_model[method] - by_model[other]).dropna()
                if not difference.empty:
                    mean, count = _paired(difference, split, higher)
                    yield f"{split}: {method} {mean} {label(split, metric)} against {name}{count}"


def _paired(difference: pd.Series[float], split: str, higher: bool) -> tuple[str, str]:
    """The mean of differences, and on how many seeds or draws the method is better where these draw regions."""
    if not is_sampled(split) and not is_few(split):
        return f"{difference.mean():+.3f}", ""
    n, wins = len(difference), int((difference > 0 if higher else difference < 0).sum())
    std = f" ± {difference.std(ddof=1):.3f}" if n > 1 else ""
    unit = "draw" if is_few(split) else "seed"
    side = "above" if higher else "below"
    return f"{difference.mean():+.3f}{std}", f"; {side} it on {wins} of {n} {unit}{'' if n == 1 else 's'}"


def _decimals(mean: float) -> int:
    """Three decimals for small numbers, fewer for large ones."""
    return next((decimals for limit, decimals in ((10, 3), (100, 2), (1000, 1)) if abs(mean) < limit), 0)
