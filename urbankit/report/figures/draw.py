"""Draws all figures of a run into its folder `figures`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from urbankit.files import read_json, write_json
from urbankit.report.style import Drawing, style

if TYPE_CHECKING:
    from urbankit.city.city import City
    from urbankit.evaluation.tasks import TaskData
    from urbankit.runfolder import Run


class Figures(NamedTuple):
    """What was drawn, and a sentence for each figure that could not be."""

    drawn: list[Drawing]
    left_out: list[str]

    def save(self, folder: Path) -> None:
        """Write `captions.json` beside the figures."""
        drawn = [{"file": drawing.png.name, "caption": drawing.caption} for drawing in self.drawn]
        write_json(folder / "captions.json", {"drawn": drawn, "left_out": self.left_out})

    @classmethod
    def load(cls, folder: Path) -> Figures:
        """What `save` wrote; no figures where there is nothing."""
        if not (folder / "captions.json").is_file():
            return cls([], ["No figures were drawn (report.figures: false)."])
        found = read_json(folder / "captions.json")
        drawn = [Drawing(folder / drawing["file"], drawing["caption"]) for drawing in found["drawn"]]
        return cls(drawn, found["left_out"])


def draw_all(run: Run, city: City) -> Figures:
    """Loss curves, a map of every target beside its prediction, and t-SNE of the embeddings, as PNG and PDF.

    They go into the run's folder `figures`, with their captions in `captions.json`.
    """
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
            predicted = set(run.predictions["task"])
            drawn += [
                maps.draw_map(task, run.predictions, city.regions, folder) for task in tasks if task.name in predicted
            ]
            clustered = (task.name for task in tasks if task.name not in predicted)
            left_out += [f"No map of {name}: it was clustered, not predicted." for name in clustered]
        else:
            left_out.append("No maps of targets: the recipe has no tasks.")
        if run.has("embeddings.parquet"):
            vectors = np.stack(run.embeddings["embedding"].to_numpy())
            drawn.append(embedding_map.draw_embeddings(vectors, tasks, folder))
            if drawn[-1] is None:
                left_out.append(f"No t-SNE: it needs four regions or more, the city has {len(vectors)}.")
    figures = Figures([drawing for drawing in drawn if drawing is not None], left_out)
    figures.save(folder)
    return figures


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
