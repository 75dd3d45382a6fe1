"""Loss curves: one panel a loss, training beside validation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from urbankit.evaluation.splits import protocol_label
from urbankit.report.figures.base import Figure
from urbankit.report.figures.context import FigureContext
from urbankit.report.figures.errors import NotPossible
from urbankit.report.scale import legend_below
from urbankit.report.style import COLOURS, DOUBLE, INK, SINGLE, Drawing, hide_unused, new_figure, save, shorten

_LOOKS: dict[str, dict[str, Any]] = {
    "train": {"linestyle": (0, (2.5, 1.5)), "linewidth": 0.7, "alpha": 0.6},
    "validation": {"linestyle": "-", "linewidth": 1.0, "alpha": 0.9},
}
_NAMES = {"train": "training", "validation": "validation"}


def draw(context: FigureContext) -> Iterator[Drawing | NotPossible]:
    """Draw the losses of pre-training and of fine-tuning by epoch."""
    run = context.run
    if not run.has("history.parquet"):
        raise NotPossible("the run has not written its losses")
    if run.history.empty:
        raise NotPossible("nothing was trained")
    pretrain = run.history[run.history["stage"] == "pretrain"]
    if not pretrain.empty:
        yield _draw(
            {"": pretrain},
            context,
            "losses-pretrain",
            "Pre-training: the total loss and its parts by epoch. Dashed: training; solid: held-out regions. The loss "
            "of a contrast grows with the number of regions in a batch: it is lower for a few held-out regions.",
        )
    finetune = run.history[run.history["stage"].str.startswith("finetune ")]
    if not finetune.empty:
        protocols = finetune["stage"].str.split(" ").str[1]
        yield _draw(
            {protocol: finetune[protocols == protocol] for protocol in protocols.unique()},
            context,
            "losses-finetune",
            "Fine-tuning: each task's loss in its learned form, one line for each seed. Dashed: training part; "
            "solid: validation part, which decides when to stop.",
        )


def _draw(groups: dict[str, pd.DataFrame], context: FigureContext, name: str, caption: str) -> Drawing:
    losses = list(dict.fromkeys(loss for rows in groups.values() for loss in rows["name"]))
    losses.sort(key=lambda loss: loss != "total")
    columns = min(4, len(losses)) if len(losses) > 2 else 2
    rows_of_panels = -(-len(losses) // columns)
    figure = new_figure(SINGLE if columns == 2 else DOUBLE, 1.35 * rows_of_panels + 0.3)
    axes = figure.subplots(rows_of_panels, columns, squeeze=False, sharex=True).ravel()
    for ax, loss in zip(axes, losses, strict=False):
        for (_, rows), colour in zip(groups.items(), COLOURS, strict=False):
            for (_, part), line in rows[rows["name"] == loss].groupby(["stage", "part"], sort=False):
                lone = "." if len(line) == 1 else None
                ax.plot(line["epoch"] + 1, line["value"], color=colour, marker=lone, markersize=3, **_LOOKS[part])
        ax.set_title(shorten(loss, 26))
        ax.xaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
        ax.yaxis.set_major_locator(MaxNLocator(4))
    hide_unused(axes, len(losses))
    for ax in axes[max(0, len(losses) - columns) : len(losses)]:
        ax.set_xlabel("epoch")
        ax.tick_params(labelbottom=True)
    for ax in axes[: len(losses) : columns]:
        ax.set_ylabel("loss")
    handles = [Line2D([], [], color=INK, label=_NAMES[part], **look) for part, look in _LOOKS.items()]
    handles += [Line2D([], [], color=c, label=protocol_label(g)) for g, c in zip(groups, COLOURS, strict=False) if g]
    legend_below(figure, handles)
    return save(figure, context.folder, name, caption)


class Curves(Figure):
    """Losses of pre-training and fine-tuning by epoch."""

    title = "loss curves"
    order = 110

    def draw(self, context: FigureContext) -> Iterator[Drawing | NotPossible]:
        return draw(context)
