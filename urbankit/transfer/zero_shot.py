"""Predictions for a city without any of its labels: heads are fitted to the source city alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from urbankit.errors import Problem, Problems, UserError
from urbankit.evaluation.splits import Split, make_split
from urbankit.evaluation.tasks import TaskData, load_task
from urbankit.training.finetune import Finetuned

if TYPE_CHECKING:
    from collections.abc import Mapping

    from urbankit.city.city import City
    from urbankit.recipe.schema import Recipe
    from urbankit.transfer.source import Source

Splits = dict[tuple[str, int], Split]


@dataclass(frozen=True)
class ZeroShot:
    """What heads are fitted to: the regions of the source city, followed by those of this city without a label.

    `embeddings` [S + N, dim], of which the first S are the source's; `tasks` has the source's labels for these, and
    none for the others; `splits` are of the source's regions. `scored` are the tasks of this city, with the classes
    that only the source has after its own. `city` is the source's.
    """

    city: City
    embeddings: Tensor
    n_source: int
    tasks: dict[str, TaskData]
    scored: dict[str, TaskData]
    splits: Splits
    notes: list[str]

    @classmethod
    def of(cls, source: Source, city: City, recipe: Recipe, tasks: dict[str, TaskData], embeddings: Tensor) -> ZeroShot:
        """Of the source run and its `city`, and of this city's `tasks` and `embeddings` [N, dim].

        Splits have the shares that the source run had. Raises `UserError` where the source lacks a task.
        """
        theirs = _embeddings(source).to(embeddings.device)
        assert recipe.transfer is not None
        ours = embeddings if recipe.transfer.statistics == "source" else _moved(embeddings, theirs)
        known, problems = {}, Problems()
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
            torch.cat([theirs, ours]),
            len(theirs),
            {name: _without_labels(task, len(ours)) for name, task in known.items()},
            {name: _widened(task, known[name]) for name, task in tasks.items()},
            splits,
            [note for name, task in tasks.items() for note in _notes(task, known[name])],
        )

    def results(self, fitted: Mapping[tuple[str, int], Finetuned]) -> dict[tuple[str, int], Finetuned]:
        """What heads that were fitted to `tasks` on each of `splits` say of this city: [N] in the codes of `scored`.

        Those of the first protocol stand under `all` as well: no label of this city was seen, so that every region
        can be scored.
        """
        here = {split: self._here(result) for split, result in fitted.items()}
        first = next(iter(here))[0]
        everywhere = {("all", seed): replace(result, history=[]) for (by, seed), result in here.items() if by == first}
        return here | everywhere

    def _here(self, result: Finetuned) -> Finetuned:
        here = {name: values[self.n_source :] for name, values in result.predictions.items()}
        for name, task in self.tasks.items():
            if task.classes:
                codes = [self.scored[name].classes.index(label) for label in task.classes]
                here[name] = np.array(codes, dtype=np.int64)[here[name]]
        return replace(result, predictions=here)


def _embeddings(source: Source) -> Tensor:
    return torch.from_numpy(np.stack(source.run.embeddings["embedding"].to_list()).astype(np.float32))


def _moved(embeddings: Tensor, to: Tensor) -> Tensor:
    """`embeddings` [N, dim] with the mean and spread, column by column, that `to` [S, dim] has."""
    spread = embeddings.std(dim=0).clamp(min=1e-6)
    return (embeddings - embeddings.mean(dim=0)) / spread * to.std(dim=0) + to.mean(dim=0)


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


def _notes(task: TaskData, source: TaskData) -> list[str]:
    unseen = [name for name in task.classes if name not in source.classes]
    foreign = [name for name in source.classes if name not in task.classes]
    return [
        f"transfer: {task.name}: {text}: {', '.join(names)}"
        for names, text in (
            (unseen, "classes that the source city lacks, so that they are never predicted"),
            (foreign, "classes that this city lacks; predicting them counts as wrong"),
        )
        if names
    ]
