"""t-SNE of the embeddings, coloured by every target."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from urbankit.report.style import ABSENT, Drawing, Scale, hide_the_rest, new_figure, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from urbankit.evaluation.tasks import TaskData

MOST_REGIONS = 5000
PERPLEXITY = 30.0


def draw_embeddings(embeddings: NDArray[np.float32], tasks: Sequence[TaskData], folder: Path) -> Drawing | None:
    """One panel a target over the same two dimensions of embeddings [N, dim]; None for fewer than four regions."""
    if len(embeddings) < 4:
        return None
    shown = _sample(len(embeddings))
    points, perplexity = two_dimensions(embeddings[shown])
    columns = min(3, max(1, len(tasks)))
    rows = -(-max(1, len(tasks)) // columns)
    figure = new_figure(4.6 * columns, 3.4 * rows)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    if not tasks:
        axes[0].scatter(*points.T, s=6, color="#0072b2", linewidths=0, rasterized=True)
    for ax, task in zip(axes, tasks, strict=False):
        _panel(figure, ax, points, task, shown)
    for ax in axes[: max(1, len(tasks))]:
        ax.set(xlabel="t-SNE 1", ylabel="t-SNE 2", xticks=[], yticks=[])
    hide_the_rest(axes, max(1, len(tasks)))
    some = f" {len(shown):,} of {len(embeddings):,} regions, drawn at random." if len(shown) < len(embeddings) else ""
    caption = f"t-SNE of the embeddings (perplexity {perplexity:.0f}), one point a region, coloured by target.{some}"
    return save(figure, folder, "embeddings-tsne", caption)


def two_dimensions(embeddings: NDArray[np.float32]) -> tuple[NDArray[np.float64], float]:
    """t-SNE [n, 2] of standardised embeddings [n, dim], and its perplexity, lowered where regions are few."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    spread = embeddings.std(axis=0)
    z = (embeddings - embeddings.mean(axis=0)) / np.where(spread > 1e-9, spread, 1)
    if min(z.shape) > 50:
        z = PCA(50, random_state=0).fit_transform(z)
    perplexity = min(PERPLEXITY, (len(z) - 1) / 3)
    init = "pca" if min(z.shape) >= 2 and spread.max() > 1e-9 else "random"
    return TSNE(perplexity=perplexity, init=init, random_state=0).fit_transform(z), perplexity


def _panel(figure: Figure, ax: Any, points: NDArray, task: TaskData, shown: NDArray[np.int64]) -> None:
    from matplotlib.cm import ScalarMappable

    scale = Scale(task)
    values = np.where(task.labelled, task.y.astype(np.float64), np.nan)[shown]
    order = np.argsort(~np.isnan(values), kind="stable")  # labelled regions on top
    size = float(np.clip(6000 / len(points), 3, 30))
    ax.scatter(*points[order].T, s=size, color=scale.colours(values)[order], linewidths=0, rasterized=True)
    ax.set_title(task.name)
    if task.classes:
        for i, name in enumerate(task.classes):
            ax.scatter([], [], s=20, color=[scale.cmap(i)], label=name)
        if np.isnan(values).any():
            ax.scatter([], [], s=20, color=ABSENT, label="no label")
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), handletextpad=0.1)
    else:
        bar = ScalarMappable(scale.norm, scale.cmap)
        look = {"extend": "both", "shrink": 0.8, "pad": 0.02, "ticks": scale.ticks}
        figure.colorbar(bar, ax=ax, label=task.unit or task.name, **look)


def _sample(n: int) -> NDArray[np.int64]:
    if n <= MOST_REGIONS:
        return np.arange(n)
    return np.sort(np.random.default_rng(0).choice(n, MOST_REGIONS, replace=False))
