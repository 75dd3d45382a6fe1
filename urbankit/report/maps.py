"""Maps of each target beside what was predicted for regions whose label was never seen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from urbankit.evaluation.splits import protocol_label
from urbankit.report.style import Drawing, Scale, new_figure, save

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd

    from urbankit.evaluation.tasks import TaskData


def draw_map(task: TaskData, predictions: pd.DataFrame, regions: gpd.GeoDataFrame, folder: Path) -> Drawing:
    """The target of `task`, then its prediction on each split protocol, over `regions` in metres.

    A region shows the median over the seeds in which it was in the test part (of classes, the commonest).
    """
    of_task = predictions[predictions["task"] == task.name]
    panels = {"target": np.where(task.labelled, task.y.astype(np.float64), np.nan)}
    for protocol in of_task["split"].unique():
        one = of_task[of_task["split"] == protocol]
        panels[f"prediction, {protocol_label(protocol)}"] = out_of_sample(one, regions["region_id"].to_numpy(), task)
    width, height = _panel_size(regions)
    figure = new_figure(width * len(panels) + 0.9, height + 0.7)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    scale = Scale(task)
    for ax, (title, values) in zip(axes, panels.items(), strict=True):
        # Edges of the fill's own colour close the hairlines between neighbours.
        regions.plot(ax=ax, color=scale.colours(values), edgecolor="face", linewidth=0.3, rasterized=True)
        ax.set_title(title)
        ax.set_axis_off()
    left, low, right, high = regions.total_bounds
    for ax in axes:
        ax.set_xlim(left, right)
        ax.set_ylim(low - _BELOW * (high - low), high)
    add_scale_bar(axes[0])
    add_north_arrow(axes[0])
    gaps = any(np.isnan(values).any() for values in panels.values())
    scale.explain(figure, axes, absent="no label, or in no test part" if gaps else "")
    middle = "commonest class" if task.classes else "median"
    return save(
        figure,
        folder,
        f"map-{task.name}",
        f"{scale.label}: the target, and what was predicted where the label was never seen ({middle} over the seeds in "
        "which a region was in the test part).",
    )


def out_of_sample(predictions: pd.DataFrame, region_ids: NDArray, task: TaskData) -> NDArray[np.float64]:
    """One prediction a region [N] from the test parts of several seeds; NaN for a region in none of them."""
    import pandas as pd

    test = predictions[~predictions["fold"].isin(("train", "validation"))]
    if task.classes:
        votes = test.groupby(["region_id", "prediction"]).size().reset_index(name="seeds")
        # Stable, so that of classes with as many votes the first is kept.
        votes = votes.sort_values("seeds", ascending=False, kind="stable").drop_duplicates("region_id")
        found = votes.set_index("region_id")["prediction"]
    else:
        found = test.groupby("region_id")["prediction"].median()
    return pd.Series(found).reindex(region_ids).to_numpy(np.float64)


_BELOW = 0.12
"""Room for the scale bar below a map, as a share of its height."""


def add_scale_bar(ax: Any) -> None:
    """A bar of a round number of metres or kilometres, about a quarter of the map wide, in the lower left corner."""
    from matplotlib.patches import Rectangle

    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    length = round_length((right - left) / 4)
    text = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
    thick = (high - low) * 0.01
    ax.add_patch(Rectangle((left, low + 5 * thick), length, thick, facecolor="black", linewidth=0))
    ax.text(left + length / 2, low + 4 * thick, text, ha="center", va="top", fontsize=8)


def round_length(length: float) -> float:
    """The largest of 1, 2 and 5 times a power of ten that is not above `length`."""
    power = 10.0 ** np.floor(np.log10(length))
    return float(max(step * power for step in (1, 2, 5) if step * power <= length))


def add_north_arrow(ax: Any) -> None:
    """An arrow beside the upper left corner; maps are drawn in a projected CRS, whose grid north is up."""
    ax.annotate(
        "N", xy=(-0.06, 1.0), xytext=(-0.06, 0.86), xycoords="axes fraction", ha="center", va="center", fontsize=9,
        annotation_clip=False, arrowprops={"arrowstyle": "-|>", "color": "black", "linewidth": 1.2},
    )  # fmt: skip


def _panel_size(regions: gpd.GeoDataFrame) -> tuple[float, float]:
    """Inches of one map, its longer side at most 4."""
    left, low, right, high = regions.total_bounds
    ratio = np.clip((high - low) / max(right - left, 1e-9), 0.4, 2.5)
    return (4.0, 4.0 * ratio) if ratio <= 1 else (max(4.0 / ratio, 2.2), 4.0)
