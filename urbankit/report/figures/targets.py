"""Maps of each target beside its out-of-sample predictions."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from urbankit.evaluation.splits import protocol_label
from urbankit.evaluation.tasks import TaskData
from urbankit.report.figures.base import Figure
from urbankit.report.figures.context import FigureContext
from urbankit.report.figures.errors import NotPossible
from urbankit.report.maps import add_scale_bar
from urbankit.report.scale import Scale
from urbankit.report.style import DOUBLE, SINGLE, Drawing, name_panels, new_figure, save


def draw(context: FigureContext) -> Iterator[Drawing | NotPossible]:
    """Draw each target and its prediction under each split protocol. Classes have another figure; see `classes`.

    A region shows the median over the seeds in which it was in the test part.
    """
    predicted = {task.name for task in context.predicted()}
    for task in context.tasks:
        if task.name not in predicted:
            yield NotPossible(f"{task.name} was clustered, not predicted")
        elif not task.classes:
            yield _draw(context, task)


def _draw(context: FigureContext, task: TaskData) -> Drawing:
    panels = {"truth": np.where(task.labelled, task.y, np.nan)}
    panels |= {protocol_label(one): context.out_of_sample(task, one) for one in context.protocols(task)}
    columns = len(panels)
    full_width = SINGLE if columns == 1 else DOUBLE
    width, height = context.map.size((full_width - 0.7) / columns)
    figure = new_figure(min(full_width, width * columns + 0.9), height + 0.55)
    axes = figure.subplots(1, columns, squeeze=False)[0]
    scale = Scale(task)
    for ax, (title, values) in zip(axes, panels.items(), strict=True):
        context.map.fill(ax, scale.colours(values))
        ax.set_title(title if title == "truth" else f"prediction, {title}")
    name_panels(axes)
    add_scale_bar(axes[0])
    gaps = any(np.isnan(values).any() for values in panels.values())
    scale.explain(figure, axes, absent="no label, or in no test part" if gaps else "")
    return save(
        figure,
        context.folder,
        f"map-{task.name}",
        f"{scale.label}: (a) the labels, and predictions of heads that did not see the label (median over the seeds in "
        "which a region was in the test part). Colours end at the 2nd and 98th percentile of the labels.",
    )


class Targets(Figure):
    """Maps of each target and of its predictions."""

    title = "maps of targets"
    order = 10

    def draw(self, context: FigureContext) -> Iterator[Drawing | NotPossible]:
        return draw(context)
