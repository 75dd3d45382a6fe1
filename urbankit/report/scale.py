"""Colour scales of tasks, shared by all panels of a figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib import colors
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter
from matplotlib.transforms import ScaledTranslation
from numpy.typing import NDArray

from urbankit.evaluation.tasks import TaskData
from urbankit.evaluation.transforms import LOGARITHMS
from urbankit.report.style import ABSENT, CONTINUOUS, class_colours, compact, shorten

BELOW_SCALE_BAR = 17
"""Points from the lower edge of a panel to what is drawn below its scale bar or axis label."""


class Scale:
    """One colour scale for a task's values, for all panels that show them.

    Regression: a continuous scale between the 2nd and 98th percentile of the labels, on a logarithmic axis where the
    task learns logarithms. Classification: one colour for each class.
    """

    def __init__(self, task: TaskData) -> None:
        self.task = task
        self.cmap: Any
        self.norm: Any
        if task.classes:
            self.cmap = colors.ListedColormap(class_colours(len(task.classes)))
            self.norm = colors.NoNorm()
            return
        low, high = colour_ends(task.y[task.labelled])
        self.cmap = matplotlib.colormaps[CONTINUOUS]
        if task.transform in LOGARITHMS:
            self.norm = colors.FuncNorm((np.log1p, np.expm1), vmin=max(low, 0), vmax=high)
        else:
            self.norm = colors.Normalize(low, high)

    @property
    def label(self) -> str:
        """The target's title with its unit, for an axis."""
        return axis_label(self.task)

    @property
    def ticks(self) -> list[float] | None:
        """Ticks of a logarithmic colour bar: 0, powers of ten, and 2 and 5 times those where there is room."""
        if self.task.transform not in LOGARITHMS:
            return None
        low, high = self.norm.vmin, self.norm.vmax
        ticks: list[float] = []
        for step in ((1,), (2, 5)):
            for tick in sorted({0.0, *(m * 10.0**power for power in range(-3, 10) for m in step)}):
                positions = [float(self.norm(other)) for other in ticks]
                if low <= tick <= high and all(abs(float(self.norm(tick)) - position) > 0.16 for position in positions):
                    ticks.append(tick)
        return sorted(ticks)

    def colours(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """RGBA [n, 4] of values [n]; NaN is grey."""
        rgba = np.tile(colors.to_rgba(ABSENT), (len(values), 1))
        valid = ~np.isnan(values)
        numbers = values[valid].astype(np.int64) if self.task.classes else self.norm(np.asarray(values[valid]))
        rgba[valid] = self.cmap(numbers)
        return rgba

    def handles(self, absent: str = "") -> list[Any]:
        """Return the patches of a legend: one for each class, and one for grey with the text `absent`."""
        classes = [Patch(color=self.cmap(i), label=shorten(name)) for i, name in enumerate(self.task.class_labels)]
        return [*classes, *([Patch(color=ABSENT, label=absent)] if absent else [])]

    def bar(self, figure: Figure, axes: Sequence[Any]) -> None:
        """A colour bar beside `axes`."""
        mappable = ScalarMappable(self.norm, self.cmap)
        bar = figure.colorbar(mappable, ax=list(axes), extend="both", shrink=0.8, aspect=25, pad=0.03, ticks=self.ticks)
        finish_bar(bar, self.label)

    def explain(self, figure: Figure, axes: Sequence[Any], absent: str = "") -> None:
        """Draw a colour bar beside `axes`, or a legend of classes below them; `absent` says what grey means."""
        handles = self.handles(absent)
        if handles:
            legend_below(figure, handles)
        if not self.task.classes:
            self.bar(figure, axes)


def colour_ends(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the 2nd and 98th percentile of labels, which are never equal: a few extremes must not flatten a map."""
    low, high = np.percentile(values, (2, 98)).tolist() if len(values) else (0.0, 1.0)
    return (low - 0.5, high + 0.5) if low == high else (low, high)


def axis_label(task: TaskData, what: str = "") -> str:
    """`what` of a task's target, with its unit."""
    name = f"{what} {shorten(task.label)}" if what else shorten(task.label)
    return f"{name} ({shorten(task.unit, 20)})" if task.unit else name


def bar_below(ax: Any, norm: Any, cmap: Any, extend: str = "both", ticks: Any = None) -> Any:
    """Draw a colour bar without a label below one panel, and below its scale bar; the panel's title has the unit."""
    below = ScaledTranslation(0, -BELOW_SCALE_BAR / 72, ax.get_figure().dpi_scale_trans)
    inner = ax.inset_axes([0.05, -0.04, 0.9, 0.04], transform=ax.transAxes + below)
    look: dict[str, Any] = {"orientation": "horizontal", "extend": extend, "ticks": ticks}
    bar = ax.get_figure().colorbar(ScalarMappable(norm, cmap), cax=inner, **look)
    finish_bar(bar, "")
    return bar


def finish_bar(bar: Any, label: str) -> None:
    """Thin outline, short tick labels and a label for a colour bar."""
    bar.outline.set_linewidth(0.4)
    bar.ax.minorticks_off()
    bar.formatter = FuncFormatter(lambda value, _: compact(value))
    bar.update_ticks()
    bar.set_label(label)


def legend_below(figure: Figure | SubFigure, handles: Sequence[Any], width: float = 0.0) -> None:
    """A legend below all panels, in as many columns as fit; `width` is that of a subfigure in inches."""
    longest = max(len(handle.get_label()) for handle in handles)
    inches = figure.get_figwidth() if isinstance(figure, Figure) else width
    columns = int(np.clip(inches / (0.062 * longest + 0.35), 1, len(handles)))
    labels = [handle.get_label() for handle in handles]
    figure.legend(handles=list(handles), labels=labels, loc="outside lower center", ncols=columns)
