"""Case study: truth beside prediction, the best floor and other runs, for regions that look alike (paper, figure 9)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from urbankit.evaluation.metrics import higher_is_better
from urbankit.evaluation.out_of_sample import out_of_sample
from urbankit.evaluation.splits import protocol_label
from urbankit.evaluation.tasks import TaskData
from urbankit.report.figures.base import Figure
from urbankit.report.figures.context import FigureContext
from urbankit.report.figures.errors import NotPossible
from urbankit.report.figures.lookalikes import find_cases
from urbankit.report.figures.mosaic import rgb, stretched
from urbankit.report.maps import draw_locations
from urbankit.report.rgb_bands import colour_bands
from urbankit.report.scale import Scale, axis_label, legend_below
from urbankit.report.style import (
    COLOURS,
    DOUBLE,
    INK,
    SMALL,
    Drawing,
    compact,
    new_figure,
    save,
    shorten,
    subfigures,
)
from urbankit.runs.folder import Run
from urbankit.tables.table import FLOOR
from urbankit.utils.errors import UserError

MOST_TASKS = 4
MOST_OTHERS = 5
MOST_SOURCES = 3
LETTERS = "ABCD"
TRUTH = "truth"

Values = dict[str, NDArray[np.float64]]


def draw(context: FigureContext) -> Iterator[Drawing | NotPossible]:
    """Draw the regions on the map and their images on the left, one panel per task on the right."""
    tasks = context.predicted()[:MOST_TASKS]
    if not tasks:
        raise NotPossible("nothing was predicted")
    for name in context.others.keys() - _comparable(context).keys():
        yield NotPossible(f"beside {shorten(name)}, which is of another city or has no predictions")
    rows, how = _cases(context, tasks)
    values = {task.name: _values(context, task, rows) for task in tasks}
    sources = _sources(context)
    _, height = context.map.size(2.3, most=2.3)
    columns = 1 if len(tasks) == 1 else 2
    panel_rows = -(-len(tasks) // columns)
    total = max(height + 0.45 + 0.62 * len(sources), 1.9 * panel_rows) + 0.3
    figure = new_figure(DOUBLE, total)
    left, right = subfigures(figure, 1, 2, width_ratios=[2.5, DOUBLE - 2.5])
    grid = left.add_gridspec(1 + len(sources), len(rows), height_ratios=[height + 0.3, *[0.6] * len(sources)])
    names, colours = LETTERS[: len(rows)], [COLOURS[5]] * len(rows)
    draw_locations(left.add_subplot(grid[0, :]), context.map, rows, names, colours)
    for line, name in enumerate(sources):
        _draw_images(left, grid, line + 1, context, name, rows)
    axes = right.subplots(panel_rows, columns, squeeze=False).ravel()
    models = list(dict.fromkeys(model for by_model in values.values() for model in by_model))
    for ax, task in zip(axes, tasks, strict=False):
        (_draw_classes if task.classes else _draw_bars)(ax, task, values[task.name], models)
    for ax in axes[len(tasks) :]:
        ax.set_axis_off()
    _legend(right, models, any(not task.classes for task in tasks))
    ids = ", ".join(f"{letter} {shorten(context.region_ids[row])}" for letter, row in zip(LETTERS, rows, strict=False))
    split = protocol_label(context.strictest(tasks[0]))
    yield save(
        figure,
        context.folder,
        "cases",
        f"Regions {ids}{how}. Predictions without their label ({split}; median over the seeds in which a region was in "
        "the test part; for classes the most frequent one). The floor is the best one of each task.",
    )


def _cases(context: FigureContext, tasks: Sequence[TaskData]) -> tuple[list[int], str]:
    requested = context.run.recipe.report.cases
    if requested is None:
        rows, differing, how = find_cases(context, tasks)
        pairs = (f"{LETTERS[2 * i]}–{LETTERS[2 * i + 1]} differ in {shorten(name)}" for i, name in enumerate(differing))
        return rows, f": {' and '.join(pairs)}, though {how}"
    rows = [context.row[region] for region in requested if region in context.row]
    if not rows:
        raise NotPossible("none of the regions in report.cases is in the city")
    return rows, " (from the recipe)"


def _values(context: FigureContext, task: TaskData, rows: Sequence[int]) -> Values:
    """Return the values of the task in the regions `rows`: truth, prediction, best floor and other runs."""
    split = context.strictest(task)
    truth = np.where(task.labelled, task.y.astype(np.float64), np.nan)
    values = {TRUTH: truth[list(rows)], "prediction": context.out_of_sample(task, split)[list(rows)]}
    ids = context.region_ids[list(rows)]
    floor = _best_floor(context, task, split)
    if floor is not None:
        values["best floor"] = out_of_sample(floor, ids, bool(task.classes))
    for name, other in list(_comparable(context).items())[:MOST_OTHERS]:
        table = other.predictions
        predictions = table[(table["task"] == task.name) & (table["split"] == split)]
        if len(predictions):
            values[shorten(name, 22)] = out_of_sample(predictions, ids, bool(task.classes))
    return values


def _comparable(context: FigureContext) -> dict[str, Run]:
    """Return the other runs on the same city that have predictions."""
    city = context.run.manifest.get("city_hash")
    return {
        name: run
        for name, run in context.others.items()
        if run.manifest.get("city_hash") == city and run.has("predictions.parquet")
    }


def _best_floor(context: FigureContext, task: TaskData, split: str) -> pd.DataFrame | None:
    """Return the predictions of the floor with the best mean score on the split."""
    run = context.run
    if not (run.has("floor_predictions.parquet") and run.has("metrics.parquet")):
        return None
    scores = run.metrics
    scores = scores[(scores["task"] == task.name) & (scores["split"] == split) & (scores["metric"] == task.metric)]
    means = scores[scores["model"].str.startswith(FLOOR)].groupby("model")["value"].mean().dropna()
    table = run.floor_predictions
    if not len(means) or not len(table):
        return None
    best = means.idxmax() if higher_is_better(task.metric) else means.idxmin()
    predictions = table[(table["model"] == best) & (table["task"] == task.name) & (table["split"] == split)]
    return predictions if len(predictions) else None


def _sources(context: FigureContext) -> list[str]:
    return [] if context.run_context.city is None else context.run_context.city.image_sources[:MOST_SOURCES]


def _draw_images(figure: Any, grid: Any, line: int, context: FigureContext, name: str, rows: Sequence[int]) -> None:
    """Draw one row: the first image of each region in one source."""
    try:
        images = context.city.images(name)
        at = np.searchsorted(images.region, rows)
        has_image = (at < len(images)) & (images.region[np.minimum(at, len(images) - 1)] == np.asarray(rows))
        pictures = np.full((len(rows), *images.size, 3), np.nan, np.float32)
        pictures[has_image] = rgb(images, at[has_image])
    except UserError:
        return
    colours = stretched(np.concatenate([pictures, np.ones((*pictures.shape[:-1], 1), np.float32)], -1), images.dtype)
    for column, (letter, picture) in enumerate(zip(LETTERS, colours, strict=False)):
        ax = figure.add_subplot(grid[line, column])
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
        if has_image[column]:
            ax.imshow(np.nan_to_num(picture[..., :3], nan=1.0), interpolation="antialiased")
        else:
            ax.text(0.5, 0.5, "none", ha="center", va="center", fontsize=SMALL, color=INK, transform=ax.transAxes)
            ax.set_box_aspect(1)
        if line == 1:
            ax.set_title(letter, fontweight="bold", pad=2)
        if column == 0:
            band = "" if colour_bands(images) else f"\n{shorten(images.band_names[0], 16)}"
            ax.set_ylabel(shorten(name, 12) + band, fontsize=SMALL)


def _colours(models: Sequence[str]) -> dict[str, str]:
    fixed = {TRUTH: INK, "prediction": COLOURS[0], "best floor": "#a6a6a6"}
    rest = [COLOURS[i] for i in (1, 2, 3, 4, 5, 6)]
    others = [model for model in models if model not in fixed]
    return fixed | {model: rest[i % len(rest)] for i, model in enumerate(others)}


def _draw_bars(ax: Any, task: TaskData, values: Mapping[str, NDArray[np.float64]], models: Sequence[str]) -> None:
    colours = _colours(models)
    width = 0.8 / len(values)
    for offset, (model, numbers) in enumerate(values.items()):
        at = np.arange(len(numbers)) - 0.4 + width * (offset + 0.5)
        ax.bar(at, np.nan_to_num(numbers), width=width * 0.92, color=colours[model])
        for x in at[np.isnan(numbers)]:
            ax.annotate("?", (x, 0), (0, 1), textcoords="offset points", ha="center", fontsize=SMALL, color=INK)
    count = len(next(iter(values.values())))
    ax.set_xticks(range(count), list(LETTERS[:count]))
    ax.tick_params(axis="x", length=0, labelsize=7)
    ax.yaxis.set_major_locator(MaxNLocator(4))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: compact(value)))
    ax.axhline(0, color=INK, linewidth=0.6)
    ax.set_title(axis_label(task))


def _draw_classes(ax: Any, task: TaskData, values: Mapping[str, NDArray[np.float64]], models: Sequence[str]) -> None:
    """Draw a table of classes, each cell in the colour of its class, with a legend of the classes in it."""
    scale = Scale(task)
    count = len(next(iter(values.values())))
    for line, numbers in enumerate(values.values()):
        colours = scale.colours(numbers)
        for column, (number, colour) in enumerate(zip(numbers, colours, strict=True)):
            ax.add_patch(Rectangle((column + 0.03, line + 0.06), 0.94, 0.88, facecolor=colour, linewidth=0))
            if np.isnan(number):
                ax.text(column + 0.5, line + 0.5, "?", ha="center", va="center", fontsize=SMALL)
    ax.set(xlim=(0, count), ylim=(len(values), 0), title=axis_label(task))
    ax.set_xticks(np.arange(count) + 0.5, list(LETTERS[:count]))
    ax.set_yticks(np.arange(len(values)) + 0.5, [shorten(model, 14) for model in values])
    ax.tick_params(length=0)
    ax.tick_params(axis="x", labelsize=7)
    ax.spines[:].set_visible(False)
    occurring = sorted({int(code) for numbers in values.values() for code in numbers[~np.isnan(numbers)]})
    names = [shorten(task.class_labels[code], 20) for code in occurring]
    handles = [Patch(color=scale.cmap(code)) for code in occurring]
    location: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.4, -0.1), "borderaxespad": 0.0}
    ax.legend(handles, names, ncols=2, columnspacing=0.8, fontsize=SMALL, **location)


def _legend(figure: Any, models: Sequence[str], bars: bool) -> None:
    if bars:
        colours = _colours(models)
        legend_below(figure, [Patch(color=colours[model], label=model) for model in models], width=DOUBLE - 2.5)


class Cases(Figure):
    """Single regions, and how runs predict them."""

    title = "case study"
    order = 80

    def draw(self, context: FigureContext) -> Iterator[Drawing | NotPossible]:
        return draw(context)
