"""The embeddings in two dimensions, coloured by every target and by cluster (paper, figure 6)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.patches import Patch
from numpy.typing import NDArray

from urbankit.evaluation.tasks import TaskData
from urbankit.report.figures.base import Figure
from urbankit.report.figures.context import FigureContext
from urbankit.report.figures.errors import NotPossible
from urbankit.report.scale import Scale, bar_below
from urbankit.report.style import DOUBLE, SINGLE, SMALL, Drawing, class_colours, hide_unused, name_panels, new_figure
from urbankit.report.style import save as save_figure

MOST_TASKS = 11


def draw(context: FigureContext) -> Iterator[Drawing | NotPossible]:
    """Draw one figure: a panel for each target and one for the clusters, in the same two dimensions."""
    flat, tasks = context.projection, context.tasks[:MOST_TASKS]
    try:
        clusters = context.clusters
    except NotPossible as reason:
        clusters = {}
        yield NotPossible(f"colours by cluster, {reason}")
    panels = len(tasks) + bool(clusters) or 1
    columns = 2 if panels == 4 else min(3, panels)
    rows = -(-panels // columns)
    legend = max([0, *(-(-len(task.classes) // 2) for task in tasks)])
    side = SINGLE if columns == 1 else DOUBLE / 3 + 0.2 * (columns == 2)
    width = side * columns
    figure = new_figure(width, rows * (side + 0.25 + 0.11 * max(legend, 2)))
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax, task in zip(axes, tasks, strict=False):
        _by_target(ax, flat.points, task, flat.rows)
    if clusters:
        k = max(clusters)
        _by_cluster(axes[len(tasks)], flat.points, clusters[k][flat.rows])
    elif not tasks:
        axes[0].scatter(*flat.points.T, s=_size(len(flat.points)), color="#0072b2", linewidths=0, rasterized=True)
    for ax in axes[:panels]:
        ax.set(xlabel=f"{flat.axis} 1", ylabel=f"{flat.axis} 2", xticks=[], yticks=[], box_aspect=1)
    name_panels(axes[:panels])
    hide_unused(axes, panels)
    of_what = " and ".join(["target"] * bool(tasks) + ["cluster"] * bool(clusters))
    caption = f"{flat.how} of the embeddings, one point for each region{f', coloured by {of_what}' if of_what else ''}."
    yield save_figure(figure, context.folder, "embeddings", caption + flat.sampled)


def _size(n: int) -> float:
    return float(np.clip(2500 / n, 1.2, 14))


def _by_target(ax: Any, points: NDArray, task: TaskData, rows: NDArray[np.int64]) -> None:
    scale = Scale(task)
    values = np.where(task.labelled, task.y.astype(np.float64), np.nan)[rows]
    order = np.argsort(~np.isnan(values), kind="stable")[::-1]  # labelled regions on top
    colours = scale.colours(values)[order]
    many = len(points) > 1000
    ax.scatter(*points[order].T, s=_size(len(points)), color=colours, linewidths=0, rasterized=many)
    ax.set_title(scale.label)
    if task.classes:
        _legend(ax, scale.handles("no label" if np.isnan(values).any() else ""))
    else:
        bar_below(ax, scale.norm, scale.cmap, ticks=scale.ticks)


def _by_cluster(ax: Any, points: NDArray, labels: NDArray[np.int64]) -> None:
    k = int(labels.max()) + 1
    palette = class_colours(k)
    colours = np.asarray(palette, dtype=object)[labels]
    ax.scatter(*points.T, s=_size(len(points)), color=list(colours), linewidths=0, rasterized=len(points) > 1000)
    ax.set_title(f"cluster, k = {k}")
    _legend(ax, [Patch(color=colour, label=f"cluster {i + 1}") for i, colour in enumerate(palette)])


def _legend(ax: Any, handles: list[Any]) -> None:
    labels = [handle.get_label() for handle in handles]
    location: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.09), "borderaxespad": 0.0}
    columns = 3 if max(map(len, labels)) < 11 else 2 if max(map(len, labels)) < 24 else 1
    ax.legend(handles=handles, labels=labels, ncols=columns, columnspacing=0.8, fontsize=SMALL, **location)


class Embeddings(Figure):
    """The embeddings in two dimensions, coloured by cluster and by target."""

    title = "embeddings in two dimensions"
    order = 50

    def draw(self, context: FigureContext) -> Iterator[Drawing | NotPossible]:
        return draw(context)
