"""One trial: a run up to the heads, scored on the validation part of each split."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from urbankit.city.city import City
from urbankit.evaluation.metrics import higher_is_better, score_one
from urbankit.evaluation.splits import is_sampled
from urbankit.evaluation.tasks import TaskData
from urbankit.pipeline import stages
from urbankit.pipeline.resume import open_run, run_lock
from urbankit.recipe.recipe import Recipe
from urbankit.utils.errors import Problems, RunError
from urbankit.utils.progress import Progress


class Pruned(Exception):
    """The trial was stopped because others were better at this point."""


def check_tunable(recipe: Recipe) -> None:
    """Raise `UserError` if runs of the recipe have no validation part that they could be compared by."""
    problems = Problems()
    learned = recipe.pretrain.supervised.tasks if recipe.pretrain.supervised else []
    if not set(recipe.tasks) - set(learned):
        problems.add("there is no task to score trials by; add one", key="tasks")
    if others := [name for name in recipe.evaluation.splits if not is_sampled(name)]:
        message = f"{', '.join(others)}: no validation part, by which trials are compared; leave it out, such as with"
        problems.add(f"{message} --set evaluation.splits=[random]", key="evaluation.splits")
    if recipe.transfer is not None and recipe.transfer.graph == "keep":
        problems.add(
            "`keep` fits heads to the labels of another city, so there is nothing to tune", key="transfer.graph"
        )
    problems.raise_if_any()


def run_trial(
    recipe: Recipe, city: City, folder: Path, progress: Progress, judge: Callable[[int, float], bool]
) -> float:
    """Train a recipe and return its score on the validation parts; an interrupted trial goes on in its folder.

    The heads get labels of which those of the test part have been removed. The run stops before its test part would be
    scored; `urbankit run --resume` finishes it.

    Args:
        recipe: The recipe of the trial.
        city: Its city.
        folder: The run folder.
        progress: Where progress is shown.
        judge: Gets the number of a split, from 0, and the mean score of the splits so far. Returns whether to stop.

    Returns:
        The mean over splits and tasks of the metric that models are compared by; negative for a metric of which lower
        values are better.

    Raises:
        Pruned: `judge` said so.
        RunError: No score is defined, or the training failed.
        UserError: The recipe does not fit the city.
    """
    resume = (folder / "manifest.json").is_file()
    with run_lock(folder, resume=resume):
        manifest = open_run(recipe, folder, resume=resume)
        state, status = None, "failed"
        try:
            state = stages.build_inputs(recipe, city, folder, manifest=manifest, progress=progress)
            value = _value(state, judge)
            status = "interrupted"  # before the test part; this is what a run that can be resumed has
            return value
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt | Pruned):
                status = "interrupted"
            raise
        finally:
            with suppress(OSError):
                manifest.end(status)
                if state is not None:
                    state.tracking.end(status)


def _value(state: stages.RunState, judge: Callable[[int, float], bool]) -> float:
    stages.transfer(state)
    stages.prior(state)
    stages.pretrain(state)
    embeddings = stages.embed(state)
    tasks, splits, records, scores = state.tasks, state.splits, [], []
    for number, ((protocol, seed), split) in enumerate(splits.items()):
        state.splits = {(protocol, seed): split}
        state.tasks = {name: without_labels(task, split.test) for name, task in tasks.items()}
        result = stages.finetune(state, embeddings)[protocol, seed]
        for name, task in state.tasks.items():
            rows = split.validation[task.labelled[split.validation]]
            value = score_one(task.metric, task.kind, task.y[rows], result.scored(name)[rows])
            records += task.scores(state.recipe.method.name, protocol, seed, {f"validation_{task.metric}": value})
            if math.isfinite(value):
                scores.append(value if higher_is_better(task.metric) else -value)
        if scores and judge(number, float(np.mean(scores))):
            raise Pruned
    if not scores:
        raise RunError("no score of a validation part is defined: its labels may all be equal")
    state.tracking.scores(records)
    return float(np.mean(scores))


def without_labels(task: TaskData, regions: NDArray[np.int64]) -> TaskData:
    """Return a task without the labels of some regions [n]."""
    y, labelled = task.y.copy(), task.labelled.copy()
    y[regions] = task.missing
    labelled[regions] = False
    return replace(task, y=y, labelled=labelled)


def settings(values: Mapping[str, object]) -> str:
    """Return the values of a trial on one line."""
    return ", ".join(
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in values.items()
    )
