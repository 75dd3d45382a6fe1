"""Draws all figures of a run into its folder `figures`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from urbankit.report.style import Drawing, style

if TYPE_CHECKING:
    from urbankit.city.city import City
    from urbankit.evaluation.tasks import TaskData
    from urbankit.runfolder import Run


class Figures(NamedTuple):
    """What was drawn, and a sentence for each figure that could not be."""

    drawn: list[Drawing]
    left_out: list[str]


def draw_all(run: Run, city: City) -> Figures:
    """Loss curves, a map of every target beside its prediction, and t-SNE of the embeddings, as PNG and PDF."""
    from urbankit.report import curves, embedding_map, maps

    folder = run.path / "figures"
    tasks = tasks_of(run, city)
    drawn: list[Drawing | None] = []
    left_out: list[str] = []
    with style():
        if run.has("history.parquet") and not run.history.empty:
            drawn += [curves.draw_pretraining(run.history, folder), curves.draw_finetuning(run.history, folder)]
        else:
            left_out.append("No loss curves: nothing was trained.")
        if tasks and run.has("predictions.parquet"):
            drawn += [maps.draw_map(task, run.predictions, city.regions, folder) for task in tasks]
        else:
            left_out.append("No maps of targets: the recipe has no tasks.")
        if run.has("embeddings.parquet"):
            vectors = np.stack(run.embeddings["embedding"].to_numpy())
            drawn.append(embedding_map.draw_embeddings(vectors, tasks, folder))
            if drawn[-1] is None:
                left_out.append(f"No t-SNE: it needs four regions or more, the city has {len(vectors)}.")
    return Figures([drawing for drawing in drawn if drawing is not None], left_out)


def tasks_of(run: Run, city: City) -> list[TaskData]:
    """The tasks of the run's recipe, with the city's labels."""
    from urbankit.evaluation.tasks import load_task

    return [
        load_task(
            city,
            name,
            task.target or name,
            transform=task.transform,
            scale=task.scale,
            min_class_size=run.recipe.evaluation.min_class_size,
        )
        for name, task in run.recipe.tasks.items()
    ]
