"""Predictions for a city without any of its labels: heads are fitted to the source city alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from urbankit.city.city import City
from urbankit.evaluation.splits import ALL, make_split
from urbankit.evaluation.tasks import TaskData, load_task
from urbankit.pipeline.transfer.source import Source
from urbankit.recipe.recipe import Recipe
from urbankit.runs.data import Splits
from urbankit.training.finetune import Finetuned
from urbankit.utils.errors import Problem, Problems, UserError
from urbankit.utils.progress import Progress


@dataclass(frozen=True)
class ZeroShot:
    """What heads are fitted to: the regions of the source city, followed by those of this city without a label.

    `city` is the source's and `embeddings` [S, dim] are its regions'. `tasks` has the labels of these S regions, and
    none for the N of this city after them; `splits` are of the source's regions. `scored` are the tasks of this city,
    with the classes that only the source has after its own. `statistics` is as in `transfer`.
    """

    city: City
    embeddings: Tensor
    tasks: dict[str, TaskData]
    scored: dict[str, TaskData]
    splits: Splits
    statistics: Literal["source", "own"]

    @classmethod
    def of(cls, source: Source, recipe: Recipe, tasks: dict[str, TaskData], progress: Progress) -> ZeroShot:
        """Of the source run, and of this city's `tasks`, on splits with the shares that the source run had.

        Raises `UserError` where the source lacks a task.
        """
        assert recipe.transfer is not None
        city, known, problems = source.city(progress), {}, Problems()
        for name, task in tasks.items():
            try:
                known[name] = _source_task(source, city, recipe, task)
            except UserError as error:
                problems.extend(error.problems)
        problems.raise_if_any()
        asked = source.recipe.evaluation
        splits: Splits = {
            (protocol, seed): make_split(protocol, city.xy, seed, fractions=asked.fractions, blocks=asked.blocks)
            for protocol in recipe.evaluation.splits
            for seed in recipe.evaluation.seeds
        }
        for name, task in known.items():
            for split in splits.values():
                split.of(task.labelled, f"transfer.from: tasks.{name}")
        return cls(
            city,
            torch.from_numpy(np.stack(source.run.embeddings["embedding"].to_list()).astype(np.float32)),
            {name: _without_labels(known[name], len(task.y)) for name, task in tasks.items()},
            {name: _widened(task, known[name]) for name, task in tasks.items()},
            splits,
            recipe.transfer.statistics,
        )

    @property
    def n_source(self) -> int:
        return len(self.embeddings)

    def joined(self, embeddings: Tensor) -> Tensor:
        """The source's embeddings followed by those of this city [N, dim], as heads are to see them: [S + N, dim]."""
        theirs = self.embeddings.to(embeddings.device)
        if self.statistics == "own":
            spread = embeddings.std(dim=0).clamp(min=1e-6)
            embeddings = (embeddings - embeddings.mean(dim=0)) / spread * theirs.std(dim=0) + theirs.mean(dim=0)
        return torch.cat([theirs, embeddings])

    def notes(self) -> list[str]:
        """Classes that one of the cities lacks."""
        return [note for name, task in self.scored.items() for note in _notes(task, self.tasks[name])]

    def results(self, fitted: Mapping[tuple[str, int], Finetuned]) -> dict[tuple[str, int], Finetuned]:
        """What heads that were fitted to `tasks` on each of `splits` say of this city: [N] in the codes of `scored`.

        Those of the first protocol stand under `all` as well: no label of this city was seen, so that every region
        can be scored.
        """
        here = {split: self._here(result) for split, result in fitted.items()}
        first = next(iter(here))[0]
        predicted = {seed: result.predictions for (by, seed), result in here.items() if by == first}
        return here | {(ALL, seed): Finetuned(predictions) for seed, predictions in predicted.items()}

    def _here(self, result: Finetuned) -> Finetuned:
        here = {name: values[self.n_source :] for name, values in result.predictions.items()}
        for name, task in self.tasks.items():
            if task.classes:
                codes = [self.scored[name].classes.index(label) for label in task.classes]
                here[name] = np.array(codes, dtype=np.int64)[here[name]]
        return replace(result, predictions=here)


def _source_task(source: Source, city: City, recipe: Recipe, task: TaskData) -> TaskData:
    """The source city's labels of `task`, learned as this recipe says."""
    asked, theirs = recipe.tasks[task.name], source.recipe.tasks.get(task.name)
    if theirs is None:
        message = f"the source run has no task of this name (it has {', '.join(source.recipe.tasks) or 'none'})"
        raise UserError(Problem(f"{message}; remove it, or name it as there", key=f"tasks.{task.name}"))
    found = load_task(
        city,
        task.name,
        theirs.target or task.name,
        transform=asked.transform,
        scale=asked.scale,
        min_class_size=source.recipe.evaluation.min_class_size,
    )
    if (found.kind, found.unit) != (task.kind, task.unit):
        what = [f"a {one.kind}" + (f" in {one.unit}" if one.unit else "") for one in (found, task)]
        message = f"it is {what[0]} in the source city and {what[1]} here; bring the cities' targets to one form"
        raise UserError(Problem(message, key=f"tasks.{task.name}"))
    return found


def _without_labels(task: TaskData, n: int) -> TaskData:
    """`task` with `n` regions more, of which nothing is known."""
    unknown = np.nan if task.kind == "regression" else -1
    y = np.concatenate([task.y, np.full(n, unknown, dtype=task.y.dtype)])
    return replace(task, y=y, labelled=np.concatenate([task.labelled, np.zeros(n, dtype=bool)]))


def _widened(task: TaskData, source: TaskData) -> TaskData:
    return replace(task, classes=(*task.classes, *(name for name in source.classes if name not in task.classes)))


def _notes(scored: TaskData, source: TaskData) -> list[str]:
    own = [name for code, name in enumerate(scored.classes) if (scored.y == code).any()]
    unseen = [name for name in own if name not in source.classes]
    foreign = [name for name in source.classes if name not in own]
    texts = {
        "classes that the source city lacks, so that they are never predicted": unseen,
        "classes that this city lacks; predicting them counts as wrong": foreign,
    }
    return [f"transfer: {scored.name}: {text}: {', '.join(names)}" for text, names in texts.items() if names]
