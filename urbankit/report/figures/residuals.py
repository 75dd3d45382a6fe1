"""Maps of out-of-sample residuals with their spatial autocorrelation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib import colormaps, colors
from matplotlib.cm import ScalarMappable
from matplotlib.patches import Patch
from numpy.typing import NDArray

from urbankit.analysis.moran import PERMUTATIONS, contiguity, moran
from urbankit.evaluation.splits import protocol_label
from urbankit.evaluation.tasks import TaskData
from urbankit.report.figures.base import Figure
from urbankit.report.figures.context import FigureContext
from urbankit.report.figures.errors import NotPossible
from urbankit.report.maps import add_scale_bar
from urbankit.report.scale import axis_label, finish_bar, legend_below
from urbankit.report.style import ABSENT, DIVERGING, DOUBLE, SINGLE, Drawing, name_panels, new_figure, save, signed


def draw(context: FigureContext) -> Iterator[Drawing | NotPossible]:
    """Draw one figure for each regression task: a map for each split protocol, with two colours about zero."""
    for task in context.predicted("regression"):
        yield _draw(context, task)


def _draw(context: FigureContext, task: TaskData) -> Drawing:
    truth = np.where(task.labelled, task.y, np.nan)
    residuals = {split: truth - context.out_of_sample(task, split) for split in context.protocols(task)}
    finite = np.concatenate([values[~np.isnan(values)] for values in residuals.values()])
    most = float(np.percentile(np.abs(finite), 98)) if len(finite) else 0.0
    norm, cmap = colors.Normalize(-(most or 1.0), most or 1.0), colormaps[DIVERGING]
    full_width = SINGLE if len(residuals) == 1 else DOUBLE
    width, height = context.map.size((full_width - 0.7) / len(residuals))
    figure = new_figure(min(full_width, width * len(residuals) + 0.9), height + 0.65)
    axes = figure.subplots(1, len(residuals), squeeze=False)[0]
    for ax, (split, values) in zip(axes, residuals.items(), strict=True):
        colours = cmap(norm(values))
        colours[np.isnan(values)] = colors.to_rgba(ABSENT)
        context.map.fill(ax, colours)
        ax.set_title(protocol_label(split))
    name_panels(axes)
    for ax, values in zip(axes, residuals.values(), strict=True):
        ax.set_title(f"{ax.get_title()}\n{_autocorrelation(context, values)}")
    add_scale_bar(axes[0])
    bar = figure.colorbar(ScalarMappable(norm, cmap), ax=list(axes), extend="both", shrink=0.8, aspect=25, pad=0.03)
    finish_bar(bar, axis_label(task, "residual of"))
    if any(np.isnan(values).any() for values in residuals.values()):
        legend_below(figure, [Patch(color=ABSENT, label="no label, or in no test part")])
    return save(
        figure,
        context.folder,
        f"residuals-{task.name}",
        f"{axis_label(task)}: truth minus prediction, of heads that did not see the label (median over seeds); red is "
        "underestimated, blue overestimated. Moran's I of the residuals is about 0 without spatial autocorrelation; "
        f"row-standardised weights of adjoining regions, one-sided p of {PERMUTATIONS} permutations.",
    )


def _autocorrelation(context: FigureContext, values: NDArray[Any]) -> str:
    valid = ~np.isnan(values)
    result = moran(values[valid], contiguity(context.map.original[valid]))
    if np.isnan(result.i):
        return "Moran's I not defined"
    return f"Moran's I = {signed(result.i)} (p = {result.p:.3f})"


class Residuals(Figure):
    """Maps of the residuals of each task."""

    title = "maps of residuals"
    order = 30

    def draw(self, context: FigureContext) -> Iterator[Drawing | NotPossible]:
        return draw(context)
