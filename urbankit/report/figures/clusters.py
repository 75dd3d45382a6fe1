"""Ward's hierarchy over the embeddings, and its clusters on the map for several numbers of them (paper, figure 8)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.patches import Patch
from numpy.typing import NDArray
from scipy.cluster.hierarchy import dendrogram

from urbankit.report.figures.base import Figure
from urbankit.report.figures.context import FigureContext
from urbankit.report.figures.errors import NotPossible
from urbankit.report.figures.mosaic import from_above, picture_title, satellite_source
from urbankit.report.maps import add_scale_bar
from urbankit.report.style import DOUBLE, INK, SMALL, Drawing, class_colours, name_panels, new_figure, save, subfigures
from urbankit.utils.errors import UserError

LEAVES = 40
"""Branches that the dendrogram shows."""

_MIXED = "#8c8c8c"


def draw(context: FigureContext) -> Iterator[Drawing | NotPossible]:
    """Draw the dendrogram with the cuts; beside it the satellite mosaic and the clusters, k = 2 … 6."""
    clusters = context.clusters
    palette = class_colours(max(clusters))
    width, height = context.map.size((DOUBLE - 2.4) / 3, most=2.2)
    figure = new_figure(min(DOUBLE, 2.5 + 3 * (width + 0.1)), max(2 * height + 1.15, 2.9))
    left, right = subfigures(figure, 1, 2, width_ratios=[2.3, 3 * (width + 0.1)])
    tree = left.subplots()
    _draw_tree(tree, context, palette)
    axes = right.subplots(2, 3).ravel()
    picture = _draw_above(axes[0], context)
    above = bool(picture)
    panels = axes[1:] if above else axes
    for ax, (k, labels) in zip(panels, clusters.items(), strict=False):
        context.map.fill(ax, list(np.asarray(palette, dtype=object)[labels]))
        ax.set_title(f"k = {k}")
    used = len(clusters) + above
    for ax in axes[used:]:
        ax.set_axis_off()
    name_panels([tree, *axes[:used]])
    add_scale_bar(axes[0])
    _legend(right, palette)
    linked = len(context.hierarchy.linked)
    sample = "" if linked == len(context.vectors) else f" of {linked:,} regions, the rest in the nearest cluster"
    yield save(
        figure,
        context.folder,
        "clusters",
        f"Ward's hierarchy over the embeddings{sample}: (a) its uppermost branches, with the cuts for k clusters; "
        + (f"(b) the satellite images of the city ({picture}); then " if above else "then ")
        + "the clusters on the map. A cluster keeps its colour where another one is split.",
    )


def _draw_tree(ax: Any, context: FigureContext, palette: list[str]) -> None:
    linkage, clusters = context.hierarchy.linkage, context.clusters
    of_node = node_clusters(linkage, clusters[max(clusters)][context.hierarchy.linked])
    colours = [_MIXED if cluster < 0 else palette[cluster] for cluster in of_node]
    tree = dendrogram(
        linkage, p=LEAVES, truncate_mode="lastp", no_plot=True, orientation="left",
        link_color_func=lambda node: colours[node],
    )  # fmt: skip
    for across, up, colour in zip(tree["icoord"], tree["dcoord"], tree["color_list"], strict=True):
        ax.plot(across, up, color=colour, linewidth=0.8)
    right = 10 * len(tree["ivl"])
    heights = {k: context.hierarchy.height(k) for k in clusters}
    placed: list[float] = []
    top = float(linkage[-1, 2]) * 1.04
    for k, height in heights.items():
        ax.plot([0, right], [height, height], color=INK, linewidth=0.6, linestyle=(0, (3, 2)))
        # From top to bottom; a label that would overlap the one before is moved below it.
        at = min([height, *(other - 0.035 * top for other in placed)])
        placed.append(at)
        ax.annotate(
            f"k = {k}", (right, height), (right * 1.06, at), fontsize=SMALL, va="center", annotation_clip=False,
            arrowprops={"arrowstyle": "-", "linewidth": 0.4, "color": INK, "shrinkA": 0, "shrinkB": 0},
        )  # fmt: skip
    ax.set(xlim=(0, right), ylim=(0, top), xticks=[], ylabel="Ward distance", title="hierarchy")
    ax.set_xlabel(f"{len(linkage) + 1:,} regions, as {len(tree['ivl'])} branches")
    ax.spines["bottom"].set_visible(False)


def node_clusters(linkage: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the cluster of all regions below each node [2 M - 1] of a linkage [M - 1, 4]; -1 if there are several."""
    of_node = np.concatenate([labels, np.full(len(linkage), -1)])
    children = linkage[:, :2].astype(np.int64)
    for step, (first, second) in enumerate(children):  # a node's children come before it
        if of_node[first] == of_node[second]:
            of_node[len(labels) + step] = of_node[first]
    return of_node


def _draw_above(ax: Any, context: FigureContext) -> str:
    """Draw the satellite mosaic of the city, if it has images. Return its title."""
    try:
        picture = from_above(context.city, context.map)
    except (NotPossible, UserError):
        return ""
    left, low, right, high = context.map.bounds
    ax.imshow(picture, extent=(left, right, low, high), interpolation="antialiased")
    context.map.frame(ax)
    title = picture_title(context.city.images(satellite_source(context.city)))
    ax.set_title(title)
    return title


def _legend(figure: Any, palette: list[str]) -> None:
    handles = [Patch(color=colour, label=f"cluster {i + 1}") for i, colour in enumerate(palette)]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(6, len(palette)), columnspacing=1.0)


class Clusters(Figure):
    """Maps and profiles of clusters of the embeddings."""

    title = "clusters"
    order = 70

    def draw(self, context: FigureContext) -> Iterator[Drawing | NotPossible]:
        return draw(context)
