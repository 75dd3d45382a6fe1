"""Figures of a suite's tables: bars of its rows (paper, figures 11 and 12), and training paradigms (figure 13)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from urbankit.evaluation.metrics import main_metrics, metric_label
from urbankit.evaluation.splits import protocol_label
from urbankit.report.style import (
    COLOURS,
    DOUBLE,
    INK,
    SINGLE,
    SMALL,
    Drawing,
    class_colours,
    compact,
    hide_unused,
    name_panels,
    new_figure,
    save,
    shorten,
    style,
)  # fmt: skip
from urbankit.tables.table import TRAINING, TRAINING_LABELS, Cell, Column, Row, Table

COSTS = ("finetune_seconds_per_epoch", "finetune_epochs_to_best")
MOST_TASKS = 8
MARKERS = "o^sDvPX*"


def draw_tables(tables: Mapping[str, Sequence[Table]], folder: Path) -> list[Drawing]:
    """Each table of two rows or more as a figure, PNG and PDF, the split protocols of a city side by side.

    A table with the seconds and epochs of training, as of paradigms, shows these too.
    """
    drawn = []
    with style():
        for name, of_name in tables.items():
            by_place: dict[str, list[Table]] = {}
            for table in of_name:
                by_place.setdefault(table.title.rsplit(", ", 1)[0], []).append(table)
            for index, (title, blocks) in enumerate(by_place.items()):
                blocks = [table for table in blocks if len(table.rows) > 1 and _main_columns(table)]
                if blocks:
                    file = name if index == 0 else f"{name}-{index + 1}"
                    draw = _draw_paradigms if all(_costs(table) for table in blocks) else _draw_bars
                    drawn.append(draw(blocks, title, folder, file))
    return drawn


def _main_columns(table: Table) -> dict[int, Column]:
    """Return the metric that is drawn of each task, as index and column: the main one, else the first."""
    selected: dict[str, tuple[int, Column]] = {}
    for column_index, column in enumerate(table.columns):
        if column.task != TRAINING:
            before = selected.get(column.task)
            if before is None or _preference(column) < _preference(before[1]):
                selected[column.task] = column_index, column
    return dict(list(selected.values())[:MOST_TASKS])


def _preference(column: Column) -> int:
    main = main_metrics()
    return main.index(column.metric) if column.metric in main else len(main)


def _costs(table: Table) -> dict[int, Column]:
    """Return the columns of time per epoch and number of epochs by index; empty unless the table has both."""
    indices = {column.metric: column_index for column_index, column in enumerate(table.columns)}
    if not all(metric in indices for metric in COSTS):
        return {}
    return {indices[metric]: table.columns[indices[metric]] for metric in COSTS}


def _draw_bars(blocks: Sequence[Table], title: str, folder: Path, name: str) -> Drawing:
    """One panel for each task: a bar for each row and protocol, and the best floor of each protocol as a line."""
    columns = _main_columns(blocks[0])
    rows = [row.label for row in blocks[0].rows]
    wide = min(4, len(columns))
    deep = -(-len(columns) // wide)
    height = 0.13 * len(rows) * len(blocks) + 0.1 * len(rows) + 0.55
    figure = new_figure(DOUBLE if wide > 1 else SINGLE, max(deep * height, 1.3) + 0.3)
    axes = figure.subplots(deep, wide, squeeze=False, sharey=True).ravel()
    for ax, (column_index, column) in zip(axes, columns.items(), strict=False):
        for index, table in enumerate(blocks):
            _bars(ax, table, column_index, rows, index, len(blocks))
        ax.set_title(f"{shorten(column.group, 22)}")
        ax.set_xlabel(f"{(metric_label(column.metric) or column.metric)} {'→' if column.higher else '←'}")
        _finish(ax, rows)
    hide_unused(list(axes), len(columns))
    _legend(figure, blocks)
    return save(figure, folder, name, _caption(blocks, title, "Bars: mean; lines: standard deviation over pairs of "
                "seeds of pre-training and split. Arrows point to the better side."))  # fmt: skip


def _bars(ax: Any, table: Table, column_index: int, rows: Sequence[str], index: int, count: int) -> None:
    by_label = {row.label: row for row in table.rows}
    cells = [by_label[row].cells[column_index] if row in by_label else None for row in rows]
    thick = 0.8 / count
    at = np.arange(len(rows)) - 0.4 + thick * (index + 0.5)
    means = np.array([np.nan if cell is None else cell.mean for cell in cells])
    deviations = np.array([np.nan if cell is None else cell.std for cell in cells])
    ax.barh(at, np.nan_to_num(means), height=thick * 0.9, color=COLOURS[index % len(COLOURS)])
    finite = ~np.isnan(means)
    look = {"fmt": "none", "ecolor": INK, "elinewidth": 0.6, "capsize": 1.2, "capthick": 0.6}
    ax.errorbar(means[finite], at[finite], xerr=np.nan_to_num(deviations[finite]), **look)
    floor = _best(table, column_index)
    if floor is not None:
        ax.axvline(floor, color=COLOURS[index % len(COLOURS)], linewidth=0.8, linestyle=(0, (3, 2)), zorder=0.5)


def _best(table: Table, column_index: int) -> float | None:
    """Return the best mean of the floors in a column; None if there is none."""
    means = [row.cells[column_index].mean for row in table.floors]
    scores = [mean for mean in means if not np.isnan(mean)]
    if not scores:
        return None
    return max(scores) if table.columns[column_index].higher else min(scores)


def _finish(ax: Any, rows: Sequence[str]) -> None:
    ax.set_yticks(range(len(rows)), [shorten(row, 26) for row in rows])
    ax.set_ylim(len(rows) - 0.45, -0.55)
    ax.tick_params(axis="y", length=0, labelsize=SMALL)
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: compact(value)))
    ax.axvline(0, color=INK, linewidth=0.6)


def _legend(figure: Any, blocks: Sequence[Table]) -> None:
    handles = _protocol_patches(blocks)
    if any(table.floors for table in blocks):
        dashed = Line2D([], [], color=INK, linewidth=0.8, linestyle=(0, (3, 2)), label="best floor")
        handles.append(dashed)
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))


def _protocol_patches(blocks: Sequence[Table]) -> list[Any]:
    labels = [protocol_label(table.columns[0].split) for table in blocks]
    return [Patch(color=c, label=label) for c, label in zip(class_colours(len(blocks)), labels, strict=True)]


def _draw_paradigms(blocks: Sequence[Table], title: str, folder: Path, name: str) -> Drawing:
    """Accuracy, seconds per epoch and epochs to the best: bars of means over tasks, a mark for each task."""
    rows = [row.label for row in blocks[0].rows]
    figure = new_figure(DOUBLE, 0.13 * len(rows) * len(blocks) * 2.2 + 1.3)
    axes = figure.subplots(1, 3, sharey=True)
    for index, table in enumerate(blocks):
        columns = _main_columns(table)
        _averages(axes[0], table, columns, rows, index, len(blocks))
        for ax, column_index in zip(axes[1:], _costs(table), strict=True):
            _bars(ax, table, column_index, rows, index, len(blocks))
            ax.set_xlabel(TRAINING_LABELS[table.columns[column_index].metric])
    scores = " or ".join(dict.fromkeys(metric_label(c.metric) or c.metric for c in _main_columns(blocks[0]).values()))
    axes[0].set_xlabel(f"{scores} →")
    for ax, what in zip(axes, ("accuracy", "time", "epochs to converge"), strict=True):
        ax.set_title(what)
        _finish(ax, rows)
    name_panels(axes)
    _marks_legend(figure, blocks)
    return save(figure, folder, name, _caption(blocks, title, "(a) bars: mean over tasks; marks: each task. (b, c) "
                "fine-tuning; lines: standard deviation over pairs of seeds."))  # fmt: skip


def _averages(
    ax: Any, table: Table, columns: Mapping[int, Column], rows: Sequence[str], index: int, count: int
) -> None:
    by_label: dict[str, Row] = {row.label: row for row in table.rows}
    thick = 0.8 / count
    for position, row in enumerate(rows):
        if row in by_label:
            at = position - 0.4 + thick * (index + 0.5)
            cells: list[Cell] = [by_label[row].cells[column_index] for column_index in columns]
            means = np.array([cell.mean for cell in cells])
            colour = COLOURS[index % len(COLOURS)]
            average = 0.0 if np.isnan(means).all() else float(np.nanmean(means))
            ax.barh(at, average, height=thick * 0.9, color=colour, alpha=0.55)
            for mark, mean in zip(MARKERS, means, strict=False):
                ax.plot(mean, at, mark, markersize=3, color=colour, markeredgecolor="white", markeredgewidth=0.3)


def _marks_legend(figure: Any, blocks: Sequence[Table]) -> None:
    handles = _protocol_patches(blocks)
    for mark, column in zip(MARKERS, _main_columns(blocks[0]).values(), strict=False):
        label = f"{shorten(column.group, 20)} ({(metric_label(column.metric) or column.metric)})"
        handles.append(Line2D([], [], marker=mark, linestyle="", color=INK, markersize=3, label=label))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(4, len(handles)))


def _caption(blocks: Sequence[Table], title: str, how: str) -> str:
    pairs = sorted({cell.n for table in blocks for row in table.rows for cell in row.cells if cell.n})
    few = f" Numbers of pairs: {', '.join(map(str, pairs))}." if pairs else ""
    return f"{title}. {how}{few}"
