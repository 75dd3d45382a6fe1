"""Loss curves: one panel a loss, training beside validation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from urbankit.report.style import COLOURS, Drawing, hide_the_rest, new_figure, save

if TYPE_CHECKING:
    import pandas as pd

_LOOKS = {
    "train": {"linestyle": "--", "linewidth": 0.8, "alpha": 0.5},
    "validation": {"linestyle": "-", "linewidth": 1.2, "alpha": 0.8},
}


def draw_pretraining(history: pd.DataFrame, folder: Path) -> Drawing | None:
    """Every loss of pre-training by epoch; None where nothing was pre-trained."""
    pretrain = history[history["stage"] == "pretrain"]
    if pretrain.empty:
        return None
    return _draw(
        {"": pretrain},
        folder,
        "losses-pretrain",
        "Pre-training: the total loss and its parts by epoch. Dashed: training; solid: held-out regions.",
    )


def draw_finetuning(history: pd.DataFrame, folder: Path) -> Drawing | None:
    """Every task's loss by epoch, one line a seed, coloured by split; None where nothing was fine-tuned."""
    finetune = history[history["stage"].str.startswith("finetune ")]
    if finetune.empty:
        return None
    protocols = finetune["stage"].str.split(" ").str[1]
    return _draw(
        {protocol: finetune[protocols == protocol] for protocol in protocols.unique()},
        folder,
        "losses-finetune",
        "Fine-tuning: each task's loss in the form it is learned in, one line a seed. Dashed: training part; solid: "
        "validation part, which decides when to stop.",
    )


def _draw(groups: dict[str, pd.DataFrame], folder: Path, name: str, caption: str) -> Drawing:
    from matplotlib.lines import Line2D

    losses = list(dict.fromkeys(loss for rows in groups.values() for loss in rows["name"]))
    losses.sort(key=lambda loss: loss != "total")
    columns = min(3, len(losses))
    rows_of_panels = -(-len(losses) // columns)
    figure = new_figure(3.4 * columns + 0.6, 2.3 * rows_of_panels + 0.5)
    axes = figure.subplots(rows_of_panels, columns, squeeze=False).ravel()
    for ax, loss in zip(axes, losses, strict=False):
        for (_, rows), colour in zip(groups.items(), COLOURS, strict=False):
            for (_, part), line in rows[rows["name"] == loss].groupby(["stage", "part"], sort=False):
                ax.plot(line["epoch"], line["value"], color=colour, **_LOOKS[part])
        ax.set(title=loss, xlabel="epoch", ylabel="loss")
    hide_the_rest(axes, len(losses))
    handles = [Line2D([], [], color="#404040", label=part, **look) for part, look in _LOOKS.items()]
    handles += [Line2D([], [], color=c, label=f"{g} split") for g, c in zip(groups, COLOURS, strict=False) if g]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return save(figure, folder, name, caption)
