"""How every figure looks, and how it is saved: PNG and PDF, colours that colour-blind readers can tell apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from urbankit.files import whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from urbankit.evaluation.tasks import TaskData

ABSENT = "#d9d9d9"
COLOURS = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#000000",
    "#332288", "#999933", "#882255", "#117733",
)  # fmt: skip
"""Okabe and Ito's eight, then four of Tol's muted scheme for targets of more classes."""
CONTINUOUS = "viridis"


@dataclass(frozen=True)
class Drawing:
    """A saved figure: its PNG (a PDF lies beside it) and the sentence that goes below it."""

    png: Path
    caption: str


@contextmanager
def style() -> Iterator[None]:
    """Matplotlib settings of every figure, for the time of the block."""
    import matplotlib

    settings = {
        "font.size": 9, "axes.titlesize": 10, "axes.spines.top": False, "axes.spines.right": False,
        "legend.frameon": False, "legend.fontsize": 8, "pdf.fonttype": 42, "figure.dpi": 150,
    }  # fmt: skip
    with matplotlib.rc_context(settings):
        yield


def new_figure(width: float, height: float) -> Figure:
    """A figure in inches, on no screen."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save(figure: Figure, folder: Path, name: str, caption: str) -> Drawing:
    """Write `name`.png and `name`.pdf into `folder`."""
    for suffix, facts in ((".png", {"dpi": 150}), (".pdf", {"dpi": 300, "metadata": {"CreationDate": None}})):
        with whole(folder / f"{name}{suffix}") as temporary:
            figure.savefig(temporary, **facts)
    return Drawing(folder / f"{name}.png", caption)


def hide_the_rest(axes: Sequence[Any], used: int) -> None:
    """Switch off the panels of a grid beyond the `used` first."""
    for ax in axes[used:]:
        ax.set_axis_off()


class Scale:
    """One colour scale for a task's values, for all panels that show them.

    Regression: a continuous scale between the 2nd and 98th percentile of the labels, on a logarithmic axis where the
    task learns logarithms. Classification: one colour a class.
    """

    def __init__(self, task: TaskData) -> None:
        from matplotlib import colors

        self.task = task
        if task.classes:
            self.cmap = colors.ListedColormap([COLOURS[i % len(COLOURS)] for i in range(len(task.classes))])
            self.norm = colors.NoNorm()
            return
        import matplotlib

        low, high = np.percentile(task.y[task.labelled], (2, 98))
        if low == high:
            low, high = low - 0.5, high + 0.5
        self.cmap = matplotlib.colormaps[CONTINUOUS]
        if task.transform in ("log", "soft-log"):
            self.norm = colors.FuncNorm((np.log1p, np.expm1), vmin=max(low, 0), vmax=high)
        else:
            self.norm = colors.Normalize(low, high)

    @property
    def label(self) -> str:
        """The target's name with its unit, for an axis."""
        return f"{self.task.name} ({self.task.unit})" if self.task.unit else self.task.name

    @property
    def ticks(self) -> list[float] | None:
        """Ticks of a logarithmic colour bar, 0 and powers of ten, with steps of 2 and 5 where there is room."""
        if self.task.transform != "log":
            return None
        steps = [0.0, *(step * 10.0**power for power in range(-3, 10) for step in (1, 2, 5))]
        shown: list[float] = []
        for tick in steps:
            if self.norm.vmin <= tick <= self.norm.vmax:
                place = float(self.norm(tick))
                if not shown or place - float(self.norm(shown[-1])) > 0.07:
                    shown.append(tick)
        return shown

    def colours(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """RGBA [n, 4] of values [n]; NaN is grey."""
        from matplotlib import colors

        rgba = np.tile(colors.to_rgba(ABSENT), (len(values), 1))
        known = ~np.isnan(values)
        shown = values[known].astype(np.int64) if self.task.classes else self.norm(np.asarray(values[known]))
        rgba[known] = self.cmap(shown)
        return rgba

    def explain(self, figure: Figure, axes: Sequence[Any], absent: str = "") -> None:
        """A colour bar beside `axes`, or a legend of classes below them; `absent` says what grey means."""
        from matplotlib.cm import ScalarMappable
        from matplotlib.patches import Patch

        grey = [Patch(color=ABSENT, label=absent)] if absent else []
        if self.task.classes:
            classes = [Patch(color=self.cmap(i), label=name) for i, name in enumerate(self.task.classes)]
            figure.legend(handles=[*classes, *grey], loc="outside lower center", ncols=min(4, len(classes) + len(grey)))
            return
        mappable = ScalarMappable(self.norm, self.cmap)
        look = {"extend": "both", "shrink": 0.75, "aspect": 30, "pad": 0.02, "ticks": self.ticks}
        figure.colorbar(mappable, ax=list(axes), label=self.label, **look)
        if grey:
            figure.legend(handles=grey, loc="outside lower center")
