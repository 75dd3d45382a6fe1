"""Zero-shot transfer: heads are trained on the labels of the source city and predict for another city."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from urbankit.city.city import City
from urbankit.evaluation.carried_head import CarriedHead
from urbankit.evaluation.splits import ALL, make_split, split_groups
from urbankit.evaluation.tasks import TaskData, load_task
from urbankit.pipeline.transfer.source import Source
from urbankit.recipe.recipe import Recipe
from urbankit.runs.data import Splits
from urbankit.training.finetune import Finetuned
from urbankit.utils.errors import Problem, Problems, UserError
from urbankit.utils.progress import Progress
from urbankit.utils.torch_modules import mean_and_std


@dataclass(frozen=True)
class ZeroShot:
    """The data that heads are trained on: the S regions of the source city, then the N regions of this city.

    Attributes:
        city: The source city.
        embeddings: Embeddings of its regions, [S, dim].
        tasks: The tasks with the labels of the S regions, and no labels for the N regions after them.
        scored: The tasks of this city; classes that only the source city has come after its own.
        splits: Splits of the regions of the source city.
        statistics: As in the key `transfer` of the recipe.
        blocks: Blocks along each side of the grid of the source run.
    """

    city: City
    embeddings: Tensor
    tasks: dict[str, TaskData]
    scored: dict[str, TaskData]
    splits: Splits
    statistics: Literal["source", "own"]
    blocks: int

    @classmethod
    def of(cls, source: Source, recipe: Recipe, tasks: dict[str, TaskData], progress: Progress) -> ZeroShot:
        """Read the source run, and split its city with the shares of that run.

        Args:
            source: The source run.
            recipe: The recipe of this run.
            tasks: The tasks of this city.
            progress: Where progress is shown.

        Raises:
            UserError: If the source run lacks a task.
        """
        assert recipe.transfer is not None
        city, source_tasks, problems = source.city(progress), {}, Problems()
        for name, task in tasks.items():
            try:
                source_tasks[name] = _source_task(source, city, recipe, task)
            except UserError as error:
                problems.extend(error.problems)
        problems.raise_if_any()
        evaluation = source.recipe.evaluation
        splits: Splits = {
            (protocol, seed): make_split(
                protocol, city.xy, seed, fractions=evaluation.fractions, blocks=evaluation.blocks
            )
            for protocol in recipe.evaluation.splits
            for seed in recipe.evaluation.seeds
        }
        for name, task in source_tasks.items():
            for split in splits.values():
                split.of(task.labelled, f"transfer.from: tasks.{name}")
        return cls(
            city,
            torch.from_numpy(np.stack(source.run.embeddings["embedding"].to_list()).astype(np.float32)),
            {name: _append_unlabelled(source_tasks[name], len(task.y)) for name, task in tasks.items()},
            {name: _add_classes(task, source_tasks[name]) for name, task in tasks.items()},
            splits,
            recipe.transfer.statistics,
            evaluation.blocks,
        )

    @property
    def n_source(self) -> int:
        """The number S of regions of the source city."""
        return len(self.embeddings)

    def joined(self, embeddings: Tensor) -> Tensor:
        """The inputs of heads, [S + N, dim]: embeddings of the source city, then those of this city [N, dim]."""
        source = self.embeddings.to(embeddings.device)
        if self.statistics == "own":
            mean, std = mean_and_std(embeddings)
            embeddings = (embeddings - mean) / std * source.std(dim=0) + source.mean(dim=0)
        return torch.cat([source, embeddings])

    def groups(self, protocol: str, n: int) -> NDArray[np.int64] | None:
        """The groups that a split protocol keeps together, int64 [S + n]; -1 for the `n` regions of this city."""
        groups = split_groups(protocol, self.city.xy, self.blocks)
        return None if groups is None else np.concatenate([groups, np.full(n, -1)])

    def notes(self) -> list[str]:
        """Notes on classes that one of the cities lacks."""
        return [note for name, task in self.scored.items() for note in _notes(task, self.tasks[name])]

    def results(self, fitted: Mapping[tuple[str, int], Finetuned]) -> dict[tuple[str, int], Finetuned]:
        """Select the predictions for this city, [N] in the codes of `scored`, of heads trained on `tasks` and `splits`.

        Those of the first protocol are also returned under `all`: no label of this city was used, so that every region
        can be scored.
        """
        selected = {split: self._select(result) for split, result in fitted.items()}
        first = next(iter(selected))[0]
        of_first = {seed: result for (protocol, seed), result in selected.items() if protocol == first}
        return selected | {
            (ALL, seed): Finetuned(result.predictions, means=result.means) for seed, result in of_first.items()
        }

    def _select(self, result: Finetuned) -> Finetuned:
        predictions = {name: values[self.n_source :] for name, values in result.predictions.items()}
        for name, task in self.tasks.items():
            if task.classes:
                codes = [self.scored[name].classes.index(label) for label in task.classes]
                predictions[name] = np.array(codes, dtype=np.int64)[predictions[name]]
        # Outputs have a column for each class of the source city, which may not be those of this city.
        return replace(result, predictions=predictions, outputs={})


def _source_task(source: Source, city: City, recipe: Recipe, task: TaskData) -> TaskData:
    """The labels of the source city for `task`, with the transform and scale of this recipe."""
    settings, source_settings = recipe.tasks[task.name], source.recipe.tasks.get(task.name)
    if source_settings is None:
        message = f"the source run has no task of this name (it has {', '.join(source.recipe.tasks) or 'none'})"
        raise UserError(Problem(f"{message}; remove it, or use the name in the source run", key=f"tasks.{task.name}"))
    loaded = load_task(
        city,
        task.name,
        source_settings.target or task.name,
        transform=settings.transform,
        scale=settings.scale,
        min_class_size=source.recipe.evaluation.min_class_size,
    )
    if (loaded.kind, loaded.unit) != (task.kind, task.unit):
        raise UserError(Problem(other_quantity(loaded, task, "the source city"), key=f"tasks.{task.name}"))
    if set(loaded.parts) != set(task.parts):
        parts = f"{', '.join(loaded.parts)} in the source city and {', '.join(task.parts)} here"
        raise UserError(Problem(f"its parts are {parts}; give both targets the same", key=f"tasks.{task.name}"))
    if task.parts:
        order = [loaded.parts.index(part) for part in task.parts]
        return replace(loaded, y=loaded.y[:, order], parts=task.parts)
    return loaded


def other_quantity(source: TaskData | CarriedHead, task: TaskData, where: str) -> str:
    """The message for a target of this city that has another kind or unit than the one in the source."""
    kinds = [f"a {one.kind}" + (f" in {one.unit}" if one.unit else "") for one in (source, task)]
    return f"it is {kinds[0]} in {where} and {kinds[1]} here; give both targets one kind and unit"


def _append_unlabelled(task: TaskData, n: int) -> TaskData:
    """`task` with `n` additional regions without labels."""
    y = np.concatenate([task.y, np.full((n, *task.y.shape[1:]), task.missing, dtype=task.y.dtype)])
    return replace(task, y=y, labelled=np.concatenate([task.labelled, np.zeros(n, dtype=bool)]))


def _add_classes(task: TaskData, source: TaskData) -> TaskData:
    """`task` with the classes that only the source city has after its own."""
    return replace(task, classes=(*task.classes, *(name for name in source.classes if name not in task.classes)))


def _notes(scored: TaskData, source: TaskData) -> list[str]:
    present = [name for code, name in enumerate(scored.classes) if (scored.y == code).any()]
    return [f"transfer: {note}" for note in class_notes(scored.name, present, source.classes, "the source city")]


def class_notes(task: str, present: Sequence[str], of_source: Sequence[str], where: str) -> list[str]:
    """Notes on classes that only this city has (of those `present`), or only the source."""
    texts = {
        f"classes that {where} lacks, so that they are never predicted": set(present) - set(of_source),
        "classes that this city lacks; predicting them counts as wrong": set(of_source) - set(present),
    }
    names = [*present, *(name for name in of_source if name not in present)]
    return [
        f"{task}: {text}: {', '.join(name for name in names if name in lacking)}"
        for text, lacking in texts.items()
        if lacking
    ]
