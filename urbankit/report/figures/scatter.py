"""Prediction against truth of each regression task under each split protocol."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from urbankit.evaluation.metrics import metric_label
from urbankit.evaluation.splits import protocol_label
from urbankit.evaluation.tasks import TaskData
from urbankit.evaluation.transforms import LOGARITHMS
from urbankit.report.figures.base import Figure
from urbankit.report.figures.context import FigureContext
from urbankit.report.figures.errors import NotPossible
from urbankit.report.scale import axis_label
from urbankit.report.style import COLOURS, DOUBLE, INK, SINGLE, SMALL, Drawing, compact, hide_unused, new_figure, save
from urbankit.tables.table import FLOOR

MOST_POINTS = 2500
"""Up to this many points are drawn one by one; more are drawn as hexagons shaded by their number."""

MANY = 500
"""With more points, the outermost 2 in a thousand at each end do not extend the axes."""

COLUMNS = 3


def draw(context: FigureContext) -> Iterator[Drawing | NotPossible]:
    """Draw one figure: a panel for each task and protocol, with the line of equality."""
    panels = [(task, split) for task in context.predicted("regression") for split in context.protocols(task)]
    protocols = list(dict.fromkeys(split for _, split in panels))
    panels.sort(key=lambda panel: protocols.index(panel[1]))
    tasks = len({task.name for task, _ in panels})
    columns = tasks if 1 < tasks <= COLUMNS else min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    side = SINGLE if columns == 1 else DOUBLE / 3
    figure = new_figure(side * columns, side * rows)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    looks = {_panel(ax, context, task, split) for ax, (task, split) in zip(axes, panels, strict=False)} - {""}
    hide_unused(axes, len(panels))
    scored = any(not task.part_of for task, _ in panels)
    score = "R²: mean ± standard deviation over seeds, of values in their own units. " if scored else ""
    yield save(
        figure,
        context.folder,
        "predictions",
        f"Prediction against truth, of regions whose label was not seen. {' '.join(sorted(looks))} Dashed: equality. "
        f"{score}Axes are logarithmic, as log(1 + value), where a task learns logarithms.",
    )


def _panel(ax: Any, context: FigureContext, task: TaskData, split: str) -> str:
    """Draw one panel. Return how it shows the test regions, for the caption."""
    rows = context.tested(task, split)
    truth, prediction = rows["truth"].to_numpy(), rows["prediction"].to_numpy()
    finite = np.isfinite(prediction)
    truth, prediction = truth[finite], prediction[finite]
    ax.set_title(protocol_label(split))
    if not len(truth):
        ax.text(0.5, 0.5, "no finite prediction", transform=ax.transAxes, ha="center", va="center", fontsize=SMALL)
        return ""
    logarithmic = task.transform in LOGARITHMS and min(truth.min(), prediction.min()) > -1
    x, y = (np.log1p(truth), np.log1p(prediction)) if logarithmic else (truth, prediction)
    cut = len(x) > MANY
    low, high = np.percentile(np.r_[x, y], (0.2, 99.8) if cut else (0, 100))
    margin = 0.04 * (high - low) or 0.5
    ends = low - margin, high + margin
    dense = len(x) > MOST_POINTS
    if dense:
        ax.hexbin(x, y, gridsize=32, extent=(*ends, *ends), bins="log", mincnt=1, cmap="Blues", linewidths=0.1)
    else:
        size = float(np.clip(1500 / len(x), 2, 10))
        ax.scatter(x, y, s=size, color=COLOURS[0], alpha=0.5, linewidths=0, rasterized=len(x) > 1000)
    ax.plot(ends, ends, color=INK, linewidth=0.7, linestyle=(0, (4, 2)))
    ax.set(xlim=ends, ylim=ends, aspect="equal")
    ax.set(xlabel=f"truth, {axis_label(task)}", ylabel="prediction")
    _ticks(ax, ends, logarithmic)
    score = _score(context, task, split)
    ax.text(0.04, 0.97, score, transform=ax.transAxes, ha="left", va="top", fontsize=SMALL)
    look = "Darker hexagons hold more test regions and seeds." if dense else "One point for each test region and seed."
    return look + (" Axes end at the 0.2nd and 99.8th percentile." if cut else "")


def _ticks(ax: Any, ends: tuple[float, float], logarithmic: bool) -> None:
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: compact(np.expm1(value) if logarithmic else value)))
        axis.set_major_locator(FixedLocator(_log_ticks(*ends)) if logarithmic else MaxNLocator(4))


def _log_ticks(low: float, high: float) -> list[float]:
    """Return at most five ticks between two logarithms of 1 + value: 0, powers of ten, and 3 times these if few."""
    for steps in ((1, 3), (1,)):
        values = np.array(sorted({0.0, *(m * 10.0**power for power in range(-4, 13) for m in steps)}))
        positions = np.log1p(values)
        positions = positions[(positions >= low) & (positions <= high)]
        selected: list[float] = []
        for position in positions[::-1]:  # from the top, where values are easiest to distinguish
            if not selected or selected[-1] - position > 0.12 * (high - low):
                selected.append(float(position))
        if len(selected) <= 5:
            break
    return selected[::-1]


def _score(context: FigureContext, task: TaskData, split: str) -> str:
    """Return the task's metric as in the results table; none of a part of a distribution, which has none there."""
    if task.part_of:
        return ""
    metrics = context.run.metrics if context.run.has("metrics.parquet") else None
    if metrics is None:
        return ""
    rows = (metrics["task"] == task.name) & (metrics["split"] == split) & (metrics["metric"] == task.metric)
    values = metrics.loc[rows & ~metrics["model"].str.startswith(FLOOR), "value"].to_numpy()
    label = metric_label(task.metric)
    if not len(values) or np.isnan(values).any():
        return f"{label} not defined"
    return f"{label} = {values.mean():.2f}" + (f" ± {values.std(ddof=1):.2f}" if len(values) > 1 else "")


class Scatter(Figure):
    """Predictions against the truth, a panel for each task and split."""

    title = "prediction against truth"
    order = 20

    def draw(self, context: FigureContext) -> Iterator[Drawing | NotPossible]:
        return draw(context)
