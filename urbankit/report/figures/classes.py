"""Classification: maps of truth and prediction, and row-normalised confusion matrices (paper, figure 10)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from urbankit.evaluation.splits import protocol_label
from urbankit.evaluation.tasks import TaskData
from urbankit.report.figures.base import Figure
from urbankit.report.figures.context import FigureContext
from urbankit.report.figures.errors import NotPossible
from urbankit.report.maps import add_scale_bar
from urbankit.report.scale import Scale, axis_label, legend_below
from urbankit.report.style import DOUBLE, SMALL, Drawing, name_panels, new_figure, save, shorten, subfigures

FEW = 7
"""Up to this many classes, a cell of the matrix has room for the count below the share."""


def draw(context: FigureContext) -> Iterator[Drawing | NotPossible]:
    """Draw one figure for each classification task: maps above, matrices of the test parts of all seeds below."""
    for task in context.predicted("classification"):
        yield _draw(context, task)


def confusion(truth: NDArray[np.int64], prediction: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Return how often each class (row) was predicted as each class (column), [classes, classes]."""
    return np.bincount(truth * classes + prediction, minlength=classes**2).reshape(classes, classes)


def _draw(context: FigureContext, task: TaskData) -> Drawing:
    protocols = context.protocols(task)[:3]
    maps = {"truth": np.where(task.labelled, task.y.astype(np.float64), np.nan)}
    maps |= {f"prediction, {protocol_label(one)}": context.out_of_sample(task, one) for one in protocols}
    _, height = context.map.size(DOUBLE / len(maps) - 0.1, most=2.8)
    square = min(DOUBLE / max(len(protocols), 2) - 1.1, 2.6)
    figure = new_figure(DOUBLE, height + square + 1.35)
    top, bottom = subfigures(figure, 2, 1, height_ratios=[height + 0.6, square + 0.75])
    axes = top.subplots(1, len(maps), squeeze=False)[0]
    scale = Scale(task)
    for ax, (title, values) in zip(axes, maps.items(), strict=True):
        context.map.fill(ax, scale.colours(values))
        ax.set_title(title)
    add_scale_bar(axes[0])
    gaps = any(np.isnan(values).any() for values in maps.values())
    legend_below(top, scale.handles("no label, or in no test part" if gaps else ""), width=DOUBLE)
    below = bottom.subplots(1, len(protocols), squeeze=False)[0]
    for ax, split in zip(below, protocols, strict=True):
        rows = context.tested(task, split)
        truth, prediction = (rows[column].to_numpy().astype(np.int64) for column in ("truth", "prediction"))
        _matrix(ax, confusion(truth, prediction, len(task.classes)), task)
        ax.set_title(protocol_label(split))
    name_panels([*axes, *below])
    return save(
        figure,
        context.folder,
        f"classes-{task.name}",
        f"{axis_label(task)}: labels, and classes predicted without the label of the region (the most frequent over "
        "the seeds in which it was in the test part); below, of the test regions of all seeds, the share of each true "
        "class that was predicted as each class, in percent" + (", and how many." if _few(task) else "."),
    )


def _few(task: TaskData) -> bool:
    return len(task.classes) <= FEW


def _matrix(ax: Any, counts: NDArray[np.int64], task: TaskData) -> None:
    of_class = counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, of_class, out=np.full(counts.shape, np.nan), where=of_class > 0)
    ax.imshow(share, vmin=0, vmax=1, cmap="Blues")
    ticks = np.arange(len(task.classes))
    names = [shorten(name, 20) for name in task.class_labels]
    ax.set_xticks(ticks, names, rotation=40 if _few(task) else 60, ha="right", rotation_mode="anchor")
    ax.set_yticks(ticks, [f"{name} ({n:,})" for name, n in zip(names, of_class[:, 0], strict=True)])
    ax.set(xlabel="predicted class", ylabel="true class")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    for row, column in np.argwhere(counts > 0):
        percent = 100 * share[row, column]
        if not _few(task) and percent < 0.5:
            continue
        text = f"{percent:.0f}" + (f"\n({counts[row, column]:,})" if _few(task) else "")
        colour = "white" if percent > 55 else "black"
        ax.text(column, row, text, ha="center", va="center", fontsize=SMALL, color=colour, linespacing=0.95)


class Confusion(Figure):
    """Confusion matrices of classification tasks."""

    title = "confusion matrices"
    order = 40

    def draw(self, context: FigureContext) -> Iterator[Drawing | NotPossible]:
        return draw(context)
