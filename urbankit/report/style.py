"""The style of all figures, and how they are saved: journal widths, colours for colour-blind readers."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.figure import Figure, SubFigure
from matplotlib.font_manager import fontManager
from numpy.typing import NDArray

from urbankit.utils.colours import COLOURS as COLOURS
from urbankit.utils.files import atomic_path

Panels = Sequence[Any] | NDArray[Any]
"""Axes of several panels."""

SINGLE, DOUBLE = 3.5, 7.0
"""Widths of one and of two columns of a journal, in inches; figures are drawn at the size they are printed in."""

SMALL = 6
"""Points of the smallest text."""

ABSENT = "#d9d9d9"
INK = "#333333"
CONTINUOUS = "viridis"
DIVERGING = "RdBu_r"

LONGEST = 80
"""Characters of the name of a figure's file, without its ending and the hash of a longer one."""

_FALLBACK_FONTS = (
    "Noto Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "WenQuanYi Micro Hei", "PingFang SC",
    "Hiragino Sans", "Microsoft YaHei", "Noto Sans Arabic", "Noto Sans Devanagari", "Arial Unicode MS",
)  # fmt: skip
"""Installed fonts among these are used in turn for characters that the first font (of matplotlib) lacks."""


@dataclass(frozen=True)
class Drawing:
    """A saved figure: its PNG (a PDF lies beside it) and the sentence that goes below it."""

    png: Path
    caption: str


@contextmanager
def style() -> Iterator[None]:
    """Set the matplotlib settings of all figures within the block."""
    installed = set(fontManager.get_font_names())
    settings: dict[Any, Any] = {
        "font.family": ["DejaVu Sans", *(name for name in _FALLBACK_FONTS if name in installed)],
        "font.size": 7, "axes.titlesize": 7.5, "axes.labelsize": 7, "xtick.labelsize": SMALL, "ytick.labelsize": SMALL,
        "legend.fontsize": SMALL, "legend.frameon": False, "legend.handlelength": 1.2, "legend.handletextpad": 0.5,
        "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.6, "axes.titlepad": 4.0,
        "xtick.major.width": 0.6, "ytick.major.width": 0.6, "xtick.major.size": 2.5, "ytick.major.size": 2.5,
        "axes.labelpad": 2.5, "lines.linewidth": 1.0, "hatch.linewidth": 0.4,
        "pdf.fonttype": 42, "figure.dpi": 150, "figure.constrained_layout.h_pad": 0.05,
        "figure.constrained_layout.w_pad": 0.03,
        # A name such as `a$b$` is not a formula.
        "text.parse_math": False,
    }  # fmt: skip
    with matplotlib.rc_context(settings):
        yield


def new_figure(width: float, height: float) -> Figure:
    """A figure of this size in inches, without a window."""
    return Figure(figsize=(width, height), layout="constrained")


def subfigures(figure: Figure, rows: int, columns: int, **ratios: Any) -> list[SubFigure]:
    """The subfigures of a grid, row by row; `ratios` are their `width_ratios` or `height_ratios`."""
    return list(np.ravel(figure.subfigures(rows, columns, squeeze=False, **ratios)))


def save(figure: Figure, folder: Path, name: str, caption: str) -> Drawing:
    """Write `name`.png and `name`.pdf into `folder`, with a hyphen for what a file name may not have.

    Characters that no installed font has are drawn as boxes. The caption says so, and matplotlib's warning for each
    character is not shown.
    """
    name = file_name(name)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _lay_out(figure)
        # Not `Figure.savefig`, which goes over all artists twice for each format.
        with atomic_path(folder / f"{name}.png") as temporary:
            figure.set_dpi(200)
            FigureCanvasAgg(figure).print_png(temporary)
        with atomic_path(folder / f"{name}.pdf") as temporary:
            figure.set_dpi(300)
            FigureCanvasPdf(figure).print_pdf(temporary, metadata={"CreationDate": None})
    missing = [warning for warning in caught if "missing from" in str(warning.message)]
    for warning in caught:
        if warning not in missing:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    if missing:
        caption += " Boxes stand for characters that no font installed here has."
    return Drawing(folder / f"{name}.png", caption)


def file_name(name: str) -> str:
    """Return `name` as a file may be called; one that is changed or cut for it ends with a hash of the original.

    Without it the files of two parts, such as `<65` and `≥65`, would have one name.
    """
    plain = re.sub(r"[^\w.-]+", "-", name)
    if plain == name and len(name) <= LONGEST:
        return name
    return f"{plain[:LONGEST]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _lay_out(figure: Figure) -> None:
    """Place panels and texts, once for both formats. Maps, whose axes keep their proportions, need several rounds."""
    engine = figure.get_layout_engine()
    if engine is not None:
        maps = any(axes.get_aspect() != "auto" for axes in figure.axes)
        for _ in range(3 if maps else 1):
            engine.execute(figure)
        figure.set_layout_engine("none")


def shorten(text: object, most: int = 28) -> str:
    """A name from the data as one line of at most `most` characters, without what cannot be printed."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return line if len(line) <= most else f"{line[: most - 1].rstrip()}…"


def class_colours(count: int) -> list[str]:
    """A colour for each of `count` classes; beyond twelve they recur."""
    return [COLOURS[i % len(COLOURS)] for i in range(count)]


def hide_unused(axes: Panels, used: int) -> None:
    """Switch off the panels of a grid beyond the `used` first."""
    for ax in axes[used:]:
        ax.set_axis_off()


def name_panels(axes: Panels, start: str = "a") -> None:
    """Letters (a), (b), … before the titles of `axes`."""
    for offset, ax in enumerate(axes):
        ax.set_title(f"({chr(ord(start) + offset)}) {ax.get_title()}".rstrip())


def compact(value: float) -> str:
    """A number for a tick or a table in few characters: 12300 becomes 12.3k."""
    size = abs(value)
    for least, unit, name in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if size >= least:
            text = f"{size / unit:.3g}{name}"
            break
    else:
        text = f"{size:,.0f}" if size >= 999.5 else f"{size:.3g}"
    return text if value >= 0 else f"−{text}"


def signed(value: float) -> str:
    """Two decimals, with a minus sign that is one."""
    return f"{value:.2f}".replace("-", "−")
