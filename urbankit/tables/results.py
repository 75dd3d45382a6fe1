"""The results table: every model on every task and split, the floors below a rule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import pandas as pd
from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from urbankit.evaluation.metrics import HIGHER_IS_BETTER, LABELS
from urbankit.evaluation.splits import FOLDS, PROTOCOLS, protocol_label

SHOWN = ("r2", "r2_fold_mean", "mae", "rmse", "macro_f1", "weighted_f1", "macro_recall", "nmi", "ari")
"""Metrics that have a column, in this order, where they were recorded; models are compared by a split's first."""

FLOOR = "floor:"


@dataclass(frozen=True)
class Cell:
    """Mean and sample standard deviation over seeds of one metric; `best` of its column among all models."""

    mean: float
    std: float
    seeds: int
    best: bool

    def __str__(self) -> str:
        if np.isnan(self.mean):
            return "n/a" if self.seeds else "–"
        spread = f" ± {_number(self.std, self.mean)}" if self.seeds > 1 else ""
        return _number(self.mean) + spread


@dataclass(frozen=True)
class Row:
    model: str
    cells: tuple[Cell, ...]

    @property
    def is_floor(self) -> bool:
        return self.model.startswith(FLOOR)

    @property
    def label(self) -> str:
        return self.model.replace(FLOOR, "floor: ", 1)


@dataclass(frozen=True)
class Section:
    """One task: `columns` are (split, metric) pairs; methods come first in `rows`, then floors."""

    task: str
    columns: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]
    comparisons: tuple[str, ...]


class ResultsTable:
    """Metric records made into a table: `print(table)` or a rich console shows it, `markdown()`, `html()` write it.

    Values are mean ± sample standard deviation over seeds. The best of a column is in bold. Since the deviation over
    seeds is mostly that of the splits, a comparison with the best floor follows, seed by seed where a seed is a split.
    """

    def __init__(self, metrics: pd.DataFrame) -> None:
        self.metrics = metrics
        self.splits = list(dict.fromkeys(metrics["split"]))
        self.sections = [self._section(task) for task in dict.fromkeys(metrics["task"])]

    def _section(self, task: str) -> Section:
        of_task = self.metrics[self.metrics["task"] == task]
        recorded = set(zip(of_task["split"], of_task["metric"], strict=True))
        columns = tuple((s, metric) for s in self.splits for metric in SHOWN if (s, metric) in recorded)
        # A mean over only the seeds where R² is defined would compare different test parts: one NaN makes it NaN.
        grouped = of_task.groupby(["model", "split", "metric"], sort=False)["value"]
        stats = grouped.agg(mean=lambda v: v.mean(skipna=False), std=lambda v: v.std(ddof=1), seeds="size")
        known = stats.to_dict("index")
        models = sorted(dict.fromkeys(of_task["model"]), key=lambda model: model.startswith(FLOOR))
        none = {"mean": np.nan, "std": np.nan, "seeds": 0}
        found = {(model, column): known.get((model, *column), none) for model in models for column in columns}
        best = {column: _best(column[1], [found[model, column]["mean"] for model in models]) for column in columns}
        rows = tuple(
            Row(model, tuple(_cell(found[model, column], best[column]) for column in columns)) for model in models
        )
        firsts = {split: next(metric for one, metric in columns if one == split) for split in dict(columns)}
        return Section(task, columns, rows, tuple(self._comparisons(of_task, firsts)))

    def _comparisons(self, of_task: pd.DataFrame, firsts: dict[str, str]) -> Iterator[str]:
        """Each method against the floor with the best mean of a split's first metric: paired differences over seeds."""
        for split, metric in firsts.items():
            chosen = of_task[(of_task["split"] == split) & (of_task["metric"] == metric)]
            one = chosen.pivot_table(index="seed", columns="model", values="value", sort=False)
            methods = [model for model in one if not model.startswith(FLOOR)]
            floors = [model for model in one if model.startswith(FLOOR)]
            if not methods or not floors:
                continue
            if one[floors].isna().all(axis=None):  # nothing to learn from: a split without a training part
                continue
            best = one[floors].mean().idxmax()
            for method in methods:
                difference = (one[method] - one[best]).dropna()
                if difference.empty:
                    continue
                sampled = split in PROTOCOLS  # elsewhere seeds draw no regions, so that they are no sample
                spread = f" ± {difference.std(ddof=1):.3f}" if sampled and len(difference) > 1 else ""
                yield (
                    f"{split}: {method} {difference.mean():+.3f}{spread} {label(split, metric)} against the best floor,"
                    f" {best.removeprefix(FLOOR)}" + (_above(difference) if sampled else "")
                )

    def _places(self, section: Section, splits: Sequence[str]) -> list[int | None]:
        """Positions in the section's columns, split by split, None where a split is wider than this task needs."""
        places: list[int | None] = []
        for split in splits:
            own = [i for i, (one, _) in enumerate(section.columns) if one == split]
            places += [*own, *[None] * (self._width(split) - len(own))]
        return places

    def _width(self, split: str) -> int:
        """Columns that a split needs: as many as the task with most of them."""
        return max(sum(one == split for one, _ in section.columns) for section in self.sections)

    def __str__(self) -> str:
        console = Console(width=140, no_color=True, force_terminal=False)
        with console.capture() as capture:
            console.print(self)
        return capture.get()

    def print(self, console: Console | None = None) -> None:
        """Show the table on a terminal."""
        (console or Console()).print(self)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """All splits side by side where the width allows, else one table a split."""
        whole = self._rich(self.splits)
        if console.measure(whole, options=options.update(max_width=10_000)).maximum <= options.max_width:
            yield whole
        else:
            yield from (self._rich([split]) for split in self.splits)
        for section in self.sections:
            for line in section.comparisons:
                yield Text(f"{section.task}, {line}")

    def _rich(self, splits: Sequence[str]) -> Any:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("")
        for split in splits:
            for place in range(self._width(split)):
                table.add_column(split if place == 0 else "", justify="right", no_wrap=True)
        for section in self.sections:
            shown = self._places(section, splits)
            labels = [label(*section.columns[i]) if i is not None else "" for i in shown]
            table.add_row(Text(section.task, style="bold"), *(Text(text, style="italic") for text in labels))
            last = sum(not row.is_floor for row in section.rows) - 1
            for place, row in enumerate(section.rows):
                cells = (_text(row.cells[i]) if i is not None else "" for i in shown)
                end = place == len(section.rows) - 1
                table.add_row(Text(f"  {row.label}"), *cells, end_section=place == last or end)
        return table

    def markdown(self) -> str:
        """The table as Markdown, one table a task."""
        lines = []
        for section in self.sections:
            heads = [f"{split} {label(split, metric)}" for split, metric in section.columns]
            lines += [f"| {_cell_text(section.task)} | {' | '.join(heads)} |", "|---|" + "---:|" * len(heads)]
            for row in section.rows:
                cells = (f"**{cell}**" if cell.best else str(cell) for cell in row.cells)
                lines.append(f"| {_cell_text(row.label)} | {' | '.join(cells)} |")
            lines += ["", *(f"- {_cell_text(line)}" for line in section.comparisons), ""]
        return "\n".join(lines).rstrip() + "\n"

    def html(self) -> str:
        """The table as an HTML fragment, everything escaped."""
        heads = "".join(f'<th colspan="{self._width(s)}">{escape(protocol_label(s))}</th>' for s in self.splits)
        parts = [f'<table class="results"><thead><tr><th></th>{heads}</tr></thead>']
        for section in self.sections:
            shown = self._places(section, self.splits)
            labels = "".join(f"<th>{escape(label(*section.columns[i])) if i is not None else ''}</th>" for i in shown)
            parts.append(f"<tbody><tr class='task'><th>{escape(section.task)}</th>{labels}</tr>")
            floors = False
            for row in section.rows:
                first = row.is_floor and not floors
                floors = row.is_floor
                cells = "".join(_html(row.cells[i]) if i is not None else "<td></td>" for i in shown)
                parts.append(f"<tr{' class=rule' if first else ''}><th>{escape(row.label)}</th>{cells}</tr>")
            parts.append("</tbody>")
        parts.append("</table>")
        lines = "".join(f"<li>{escape(f'{s.task}, {line}')}</li>" for s in self.sections for line in s.comparisons)
        return "".join(parts) + (f"<ul>{lines}</ul>" if lines else "")


def label(split: str, metric: str) -> str:
    """A metric's name in the table. Over folds there are two R², and the name says which."""
    return f"pooled {LABELS[metric]}" if (split, metric) == (FOLDS, "r2") else LABELS[metric]


def _above(difference: pd.Series) -> str:
    """On how many of the seeds a difference is positive."""
    n = len(difference)
    return f"; above it on {int((difference > 0).sum())} of {n} {'seed' if n == 1 else 'seeds'}"


def _text(cell: Cell) -> Any:
    return Text(str(cell), style="bold" if cell.best else "")


def _html(cell: Cell) -> str:
    return f"<td{' class=best' if cell.best else ''}>{cell}</td>"


def _best(metric: str, means: Sequence[float]) -> float:
    if np.isnan(means).all():
        return np.nan
    return np.nanmax(means) if metric in HIGHER_IS_BETTER else np.nanmin(means)


def _cell(found: dict[str, float], best: float) -> Cell:
    return Cell(found["mean"], found["std"], int(found["seeds"]), found["mean"] == best)


def _number(value: float, beside: float | None = None) -> str:
    """Three decimals for small numbers, fewer for large ones; a deviation gets those of its mean."""
    size = abs(value if beside is None else beside)
    decimals = 3 if size < 10 else 2 if size < 100 else 1 if size < 1000 else 0
    return f"{value:,.{decimals}f}"


def _cell_text(text: str) -> str:
    return text.replace("|", "\\|")
