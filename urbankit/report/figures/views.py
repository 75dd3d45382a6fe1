"""Three anchor regions in space, in the embedding, and in the embedding of each view alone (paper, figure 7)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from urbankit.analysis.anchors import PAIRS, Relations, embedding_similarity
from urbankit.report.figures.base import Figure
from urbankit.report.figures.context import FigureContext
from urbankit.report.figures.errors import NotPossible
from urbankit.report.figures.projection import project
from urbankit.report.maps import draw_locations
from urbankit.report.style import (
    DOUBLE,
    INK,
    SMALL,
    Drawing,
    compact,
    name_panels,
    new_figure,
    save,
    shorten,
    signed,
    subfigures,
)

LETTERS = "ABC"
ANCHOR_COLOURS = ("#d55e00", "#0072b2", "#009e73")
MOST_REGIONS = 1000
"""The most regions in the projection of the embedding of a view."""

MOST_BLOCKS = 6


def draw(context: FigureContext) -> Iterator[Drawing | NotPossible]:
    """Draw (a) the anchors on a map, (b) the embedding, (c) … the embedding of each view, and similarities of pairs."""
    anchors = context.anchors
    if not anchors:
        raise NotPossible("the city has fewer than three regions to compare")
    kind, blocks = blocks_of(context)
    if not blocks:
        raise NotPossible("the embedding of the method has no separate blocks of views")
    projection = context.run.recipe.report.projection
    flat = {name: project(vectors, projection, anchors, MOST_REGIONS) for name, vectors in blocks.items()}
    columns = min(3, len(blocks))
    rows = -(-len(blocks) // columns)
    figure = new_figure(DOUBLE, 2.7 + rows * 2.1 + 1.0)
    above, below, under = subfigures(figure, 3, 1, height_ratios=[2.7, rows * 2.1, 1.0])
    map_axes, embedding_axes = above.subplots(1, 2)
    draw_locations(map_axes, context.map, anchors, LETTERS, ANCHOR_COLOURS)
    map_axes.set_title("anchor regions")
    _draw_points(embedding_axes, context.projection, anchors)
    embedding_axes.set_title("full embedding")
    panels = below.subplots(rows, columns, squeeze=False).ravel()
    for ax, (name, points) in zip(panels, flat.items(), strict=False):
        _draw_points(ax, points, anchors)
        ax.set_title(f"{kind} {shorten(name, 24)} alone")
    for ax in panels[len(blocks) :]:
        ax.set_axis_off()
    name_panels([map_axes, embedding_axes, *panels[: len(blocks)]])
    _draw_table(under.subplots(), context, anchors, blocks)
    ids = ", ".join(
        f"{letter} {shorten(context.region_ids[row])}" for letter, row in zip(LETTERS, anchors, strict=True)
    )
    chosen = "from the recipe" if context.run.recipe.report.anchors else "selected by the report"
    yield save(
        figure,
        context.folder,
        "views",
        f"Three regions ({ids}; {chosen}) in space, in the embedding and in that of each {kind} alone "
        f"({context.projection.how}). D: distance of centres; P: cosine similarity of points of interest by category; "
        "M: flow in both directions; then the cosine similarity of the pair's embeddings about their mean."
        + context.projection.sampled,
    )


def blocks_of(context: FigureContext) -> tuple[str, dict[str, NDArray[np.float32]]]:
    """Return the kind of the blocks, and the block of the embedding of each view or group of views.

    If the method does not keep views apart, the blocks are those of its modalities.
    """
    blocks = context.run.blocks() if context.vectors.size else {}
    recipe = context.run.recipe
    views = {*recipe.views, *(recipe.method.params.get("view_groups") or {})}
    of_views = {name: block for name, block in blocks.items() if name in views}
    kind = "view" if of_views else "modality"
    selected = of_views or {name: block for name, block in blocks.items() if name.split("/")[0] in recipe.modalities}
    return kind, dict(list(selected.items())[:MOST_BLOCKS])


def _draw_points(ax: Any, flat: Any, anchors: Sequence[int]) -> None:
    size = float(np.clip(1500 / len(flat.points), 1.0, 8.0))
    ax.scatter(*flat.points.T, s=size, color="#b0b0b0", linewidths=0, rasterized=len(flat.points) > 1000)
    points = flat.points_of(anchors)
    for first, second in PAIRS:
        ax.plot(*points[[first, second]].T, color=INK, linewidth=0.5, linestyle=(0, (3, 2)), zorder=2)
    ax.scatter(*points.T, s=18, color=ANCHOR_COLOURS, edgecolors="white", linewidths=0.5, zorder=3)
    _mark(ax, points)
    ax.set(xlabel=f"{flat.axis} 1", ylabel=f"{flat.axis} 2", xticks=[], yticks=[], box_aspect=0.8)
    ax.margins(0.08)


def _mark(ax: Any, points: NDArray[np.float64]) -> None:
    """Draw the letters A, B and C beside the anchors, each on the side away from the other two."""
    middle = points.mean(axis=0)
    for letter, colour, point in zip(LETTERS, ANCHOR_COLOURS, points, strict=True):
        away = np.sign(point - middle)
        ax.annotate(
            letter, point, (5 * (away[0] or 1), 5 * (away[1] or 1)), textcoords="offset points", ha="center",
            va="center", color=colour, fontsize=8, fontweight="bold", zorder=4,
            path_effects=[withStroke(linewidth=1.8, foreground="white")],
        )  # fmt: skip


def _draw_table(
    ax: Any, context: FigureContext, anchors: Sequence[int], blocks: dict[str, NDArray[np.float32]]
) -> None:
    related = _relations(context, anchors)
    columns = {**related, "full": _similar(context.vectors, anchors)}
    columns |= {shorten(name, 14): _similar(vectors, anchors) for name, vectors in blocks.items()}
    ax.set_axis_off()
    ax.set(xlim=(0, 1), ylim=(0, 1))
    left, step = 0.06, 0.94 / len(columns)
    lines = (0.56, 0.34, 0.12)
    for line, (first, second) in zip(lines, PAIRS, strict=True):
        ax.text(0.0, line, f"{LETTERS[first]}–{LETTERS[second]}", va="center", fontweight="bold")
    for column, (heading, values) in enumerate(columns.items()):
        x = left + step * (column + 0.5)
        ax.text(x, 0.78, heading, ha="center", va="center", fontsize=SMALL)
        for line, value in zip(lines, values, strict=True):
            ax.text(x, line, value, ha="center", va="center")
    middle = left + step * (len(related) + len(columns)) / 2
    ax.text(middle, 0.97, "similarity of embeddings", ha="center", va="center", fontsize=SMALL, style="italic")
    for begin, height in ((left + step * (len(related) + 0.1), 0.88), (0, 0.67), (0, 0.0)):
        ax.plot([begin, 1], [height, height], color=INK, linewidth=0.6, clip_on=False)


def _relations(context: FigureContext, anchors: Sequence[int]) -> dict[str, list[str]]:
    """Return D, P and M of the three pairs as text, with a dash for data that the city does not have."""
    rows = np.asarray(anchors, np.int64)
    if context.run_context.city is None:
        xy = context.map.centres[rows]
        relations = Relations(np.linalg.norm(xy[:, None] - xy[None], axis=2) / 1000, None, None)
    else:
        relations = Relations.of(context.run_context.city, rows)
    return {
        "D (km)": [f"{relations.distance_km[pair]:.1f}" for pair in PAIRS],
        "P": ["–" if relations.poi is None else f"{relations.poi[pair]:.2f}" for pair in PAIRS],
        "M (flow)": ["–" if relations.flow is None else compact(relations.flow[pair]) for pair in PAIRS],
    }


def _similar(vectors: NDArray[np.float32], anchors: Sequence[int]) -> list[str]:
    similarity = embedding_similarity(vectors, anchors)
    return [signed(similarity[pair]) for pair in PAIRS]


class Views(Figure):
    """How the views compare, and what each connects."""

    title = "analysis of views"
    order = 60

    def draw(self, context: FigureContext) -> Iterator[Drawing | NotPossible]:
        return draw(context)
