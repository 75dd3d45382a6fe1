"""How many observations of each modality the regions have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib import colormaps, colors
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from urbankit.analysis.coverage import observations
from urbankit.city.city import City
from urbankit.report.figures.base import Figure
from urbankit.report.figures.context import FigureContext
from urbankit.report.figures.errors import NotPossible
from urbankit.report.maps import add_scale_bar
from urbankit.report.scale import bar_below, legend_below
from urbankit.report.style import ABSENT, COLOURS, DOUBLE, Drawing, hide_unused, new_figure, save, shorten

MOST_PANELS = 20
COLUMNS = 4


def draw(context: FigureContext) -> Iterator[Drawing | NotPossible]:
    """Draw one figure with a map for each modality and target."""
    panels = counts(context.city)
    if not panels:
        raise NotPossible("the city has only regions, without observations")
    left_out = max(0, len(panels) - MOST_PANELS)
    panels = dict(list(panels.items())[:MOST_PANELS])
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    width, height = context.map.size(DOUBLE / COLUMNS - 0.1, most=2.2)
    figure = new_figure(DOUBLE if columns == COLUMNS else columns * (width + 0.1), rows * (height + 0.75) + 0.35)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax, (name, number) in zip(axes, panels.items(), strict=False):
        _panel(ax, context, number)
        ax.set_title(f"{shorten(name, 27)}\n{np.count_nonzero(number):,} of {len(number):,} regions", fontsize=7)
    hide_unused(axes, len(panels))
    add_scale_bar(axes[0])
    legend_below(
        figure, [Patch(color=COLOURS[0], label="present, once per region"), Patch(color=ABSENT, label="absent")]
    )
    more = f" {left_out} more are not shown." if left_out else ""
    yield save(
        figure,
        context.folder,
        "coverage",
        "Which regions have each modality and label, and how many observations of it." + more,
    )


def counts(city: City) -> dict[str, NDArray[np.float64]]:
    """Return the numbers of observations of each modality and of labels in each region [N], by label of the panel."""
    numbers = {label: number for _, label, number in observations(city)}
    for name in city.target_names:
        numbers[f"labels: {name}"] = city.target(name).present.astype(np.float64)
    return numbers


def _panel(ax: Any, context: FigureContext, number: NDArray[np.float64]) -> None:
    positive = number[number > 0]
    rgba = np.tile(colors.to_rgba(ABSENT), (len(number), 1))
    if len(np.unique(positive)) <= 1 and (not len(positive) or positive[0] == 1):
        rgba[number > 0] = colors.to_rgba(COLOURS[0])
    else:
        low, high = float(positive.min()), float(np.percentile(positive, 99))
        wide = high > 20 * low
        norm = (colors.LogNorm if wide else colors.Normalize)(low, max(high, low * 1.01))
        cmap = colormaps["viridis"]
        rgba[number > 0] = cmap(norm(positive))
        bar = bar_below(ax, norm, cmap, extend="max" if positive.max() > norm.vmax else "neither")
        if not wide:
            bar.locator = MaxNLocator(4, integer=True)
            bar.update_ticks()
    context.map.fill(ax, rgba)


class Coverage(Figure):
    """Maps of how many observations regions have."""

    title = "maps of coverage"
    order = 100

    def draw(self, context: FigureContext) -> Iterator[Drawing | NotPossible]:
        return draw(context)
