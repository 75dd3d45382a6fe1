"""Learning curves: the main metric over the number of labels, of the method beside the floors."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from urbankit.evaluation.few_labels import curve_summary
from urbankit.evaluation.metrics import metric_label
from urbankit.report.figures.base import Figure
from urbankit.report.figures.context import FigureContext
from urbankit.report.figures.errors import NotPossible
from urbankit.report.scale import legend_below
from urbankit.report.style import COLOURS, DOUBLE, Drawing, hide_unused, new_figure, save, shorten
from urbankit.tables.table import FLOOR, UNTRAINED, floor_title

BAND = 0.15
"""Opacity of the band over draws."""

YELLOW = "#f0e442"
"""Too pale for a line on white."""

LOWEST = -0.5
"""Axes do not go below this; a few labels may give any negative R²."""


def draw(context: FigureContext) -> Iterator[Drawing | NotPossible]:
    """One figure for each protocol of few labels, with a panel for each task."""
    if not context.run.has("learning_curves.parquet"):
        return  # a recipe without such a protocol lacks nothing
    curves = context.run.learning_curves
    for protocol in curves["split"].unique():
        yield _draw(curves[curves["split"] == protocol], context, str(protocol))


def _draw(curves: pd.DataFrame, context: FigureContext, protocol: str) -> Drawing:
    metrics = {task.name: task.metric for task in context.run_context.tasks}
    titles = {task.name: task.label for task in context.run_context.tasks}
    summary = curve_summary(curves[curves["metric"] == curves["task"].map(metrics)])
    tasks = list(dict.fromkeys(summary["task"]))
    models = sorted(dict.fromkeys(summary["model"]), key=lambda model: model.startswith(FLOOR))
    looks = _looks(models)
    columns = min(4, len(tasks)) if len(tasks) > 2 else 2
    rows_of_panels = -(-len(tasks) // columns)
    figure = new_figure(DOUBLE, 1.6 * rows_of_panels + 0.45)
    axes = figure.subplots(rows_of_panels, columns, squeeze=False).ravel()
    for ax, task in zip(axes, tasks, strict=False):
        of_task = summary[summary["task"] == task]
        for model, look in looks.items():
            line = of_task[of_task["model"] == model].sort_values("labels")
            ax.plot(line["labels"], line["median"], label=model, **look)
            if not model.startswith(FLOOR):
                band: dict[str, Any] = {"color": look["color"], "alpha": BAND, "linewidth": 0}
                ax.fill_between(line["labels"], line["lower"], line["upper"], **band)
        _scale(ax, of_task)
        ax.set_title(shorten(titles.get(task, task), 26))
        ax.set_ylabel(metric_label(metrics[task]) or metrics[task])
    hide_unused(axes, len(tasks))
    for ax in axes[max(0, len(tasks) - columns) : len(tasks)]:
        ax.set_xlabel("labels")
    names = {model: floor_title(model) if model.startswith(FLOOR) else model for model in looks}
    handles = [Line2D([], [], label=names[model], **look) for model, look in looks.items()]
    legend_below(figure, handles)
    draws, k = int(summary["draws"].max()), sorted(set(summary["labels"]))
    caption = (
        f"Few labels ({protocol}): the median over {draws} draws of {k[0]} to {k[-1]} training regions, tested on the "
        "other labelled regions. The band has the middle half of the draws of the method. Dashed lines are without "
        "representation learning."
    )
    return save(figure, context.folder, f"learning-curves-{protocol}", caption)


def _looks(models: list[str]) -> dict[str, dict[str, Any]]:
    """Solid lines for methods, dashed for floors; the untrained method is dotted in the colour of the method."""
    colours = itertools.cycle(colour for colour in COLOURS if colour != YELLOW)
    looks: dict[str, dict[str, Any]] = {}
    for model in models:
        floor, untrained = model.startswith(FLOOR), model == UNTRAINED
        looks[model] = {
            "color": COLOURS[0] if untrained else next(colours),
            "linestyle": ":" if untrained else "--" if floor else "-",
            "linewidth": 1.5 if untrained or not floor else 0.9,
            "marker": "o",
            "markersize": 1.5 if floor else 2.5,
            "zorder": 2 if floor else 3,
        }
    return looks


def _scale(ax: Any, of_task: pd.DataFrame) -> None:
    """A logarithmic axis of labels, and a vertical one on which low values do not flatten the curves."""
    labels = sorted(set(of_task["labels"]))
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(FixedLocator(labels))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticklabels([str(number) for number in labels])
    ax.yaxis.set_major_locator(MaxNLocator(5))
    values = of_task[["median", "lower", "upper"]].to_numpy()
    values = values[np.isfinite(values)]
    if len(values) and values.min() < LOWEST < values.max():
        ax.set_ylim(bottom=LOWEST)


class LearningCurves(Figure):
    """The main metric over the number of labels, under the protocols of few labels."""

    title = "learning curves"
    order = 25

    def draw(self, context: FigureContext) -> Iterator[Drawing | NotPossible]:
        return draw(context)
