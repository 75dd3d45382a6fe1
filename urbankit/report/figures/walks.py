"""Maps of the subgraph of an anchor region in each view; for UrbanMMCL the random walk (paper, eq. 22)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from urbankit.report.figures.base import Figure
from urbankit.report.figures.context import FigureContext
from urbankit.report.figures.errors import NotPossible
from urbankit.report.maps import add_scale_bar
from urbankit.report.style import COLOURS, DOUBLE, INK, Drawing, hide_unused, name_panels, new_figure, save, shorten

MOST_VIEWS = 6
_LAND = "#efefef"
_EDGE, _NODE, _ROOT = "#2171b5", COLOURS[0], "#d55e00"


def draw(context: FigureContext) -> Iterator[Drawing | NotPossible]:
    """Draw one figure: the subgraphs of the first anchor region, one map for each view."""
    if not context.run.has("walks.parquet"):
        raise NotPossible("the method draws no subgraphs around regions, or the run has not written them")
    table = context.run.walks
    root = table["root"].iloc[0]
    table = table[table["root"] == root]
    views = list(dict.fromkeys(table["view"]))[:MOST_VIEWS]
    columns = min(3, len(views))
    rows = -(-len(views) // columns)
    width, height = context.map.size(DOUBLE / columns - 0.1, most=2.8)
    figure = new_figure(min(DOUBLE, columns * (width + 0.2)), rows * (height + 0.55) + 0.2)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax, view in zip(axes, views, strict=False):
        _panel(ax, context, table[table["view"] == view], root)
        ax.set_title(f"view {shorten(view, 22)}")
    hide_unused(axes, len(views))
    name_panels(axes[: len(views)])
    add_scale_bar(axes[0])
    _legend(figure)
    yield save(
        figure,
        context.folder,
        "walks",
        f"One walk from region {shorten(root)} in each view, as the embedding is computed from several: the regions it "
        "visited, larger the more often, and the view's edges between them, darker the heavier their learned weight.",
    )


def _panel(ax: Any, context: FigureContext, table: pd.DataFrame, root: str) -> None:
    context.map.fill(ax, _LAND, edge=context.map.border)
    nodes, edges = table[table["target"].isna()], _undirected(table[table["target"].notna()])
    ends = np.stack([_centres(context, edges[end]) for end in ("region_id", "target")], axis=1)
    weight = edges["weight"].to_numpy()
    if len(weight):
        span = float(weight.max() - weight.min())
        strength = (weight - weight.min()) / span if span > 1e-9 else np.full(len(weight), 0.5)
        order = np.argsort(strength)
        alpha: Any = 0.1 + 0.6 * strength[order]  # an array, which the stubs of matplotlib do not know
        widths = 0.2 + 0.5 * strength[order]
        lines = LineCollection(list(ends[order]), colors=_EDGE, alpha=alpha, linewidths=widths, zorder=2)
        ax.add_collection(lines, autolim=False)
    at = _centres(context, nodes["region_id"])
    visits = nodes["visits"].to_numpy(np.float64)
    ax.scatter(*at.T, s=_size(visits), color=_NODE, edgecolors="white", linewidths=0.4, zorder=3)
    ax.scatter(
        *context.map.centres[context.row[root]],
        s=60,
        marker="*",
        color=_ROOT,
        edgecolors="white",
        linewidths=0.5,
        zorder=4,
    )
    context.map.frame(ax)


def _size(visits: Any) -> Any:
    """Return the size of a dot in square points."""
    return 7 + 6 * (visits - 1)


def _undirected(edges: pd.DataFrame) -> pd.DataFrame:
    """Return one row for both directions between two regions, with the larger weight."""
    ends = np.sort(edges[["region_id", "target"]].to_numpy(str), axis=1)
    heaviest = edges.assign(first=ends[:, 0], second=ends[:, 1]).sort_values("weight", kind="stable")
    return heaviest.drop_duplicates(["first", "second"], keep="last")


def _centres(context: FigureContext, ids: pd.Series[str]) -> NDArray[np.float64]:
    return context.map.centres[[context.row[region] for region in ids]].reshape(-1, 2)


def _legend(figure: Any) -> None:
    dot: dict[str, Any] = {"linestyle": "", "markeredgecolor": "white", "markeredgewidth": 0.4}
    handles = [
        Line2D([], [], marker="*", color=_ROOT, markersize=8, label="root", **dot),
        Line2D([], [], marker="o", color=_NODE, markersize=_size(1) ** 0.5, label="visited once", **dot),
        Line2D([], [], marker="o", color=_NODE, markersize=_size(4) ** 0.5, label="four times", **dot),
        Line2D([], [], color=_EDGE, linewidth=1.2, label="edge"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, labelcolor=INK)


class Walks(Figure):
    """The walks around some regions."""

    title = "walks"
    order = 90

    def draw(self, context: FigureContext) -> Iterator[Drawing | NotPossible]:
        return draw(context)
