"""The scores of a model on the splits of a run, and its learning curves."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from urbankit.evaluation.few_labels import few_protocols
from urbankit.evaluation.splits import ALL
from urbankit.evaluation.tasks import Scored, TaskData
from urbankit.methods.base import Method
from urbankit.pipeline.predict import uncertainty_scores
from urbankit.pipeline.state import Predictions, RunState
from urbankit.runs.data import Splits, centres
from urbankit.training.few_labels import FewTraining


def score_splits(
    model: str, tasks: Mapping[str, TaskData], splits: Splits, predictions: Predictions, level: float | None
) -> list[Scored]:
    """Metrics and predictions on the test regions of each split, or of `ALL` on all labelled regions.

    Args:
        model: The name in the results.
        tasks: The labels by task.
        splits: The splits by protocol and seed.
        predictions: Predictions for all regions, by protocol and seed.
        level: The level of intervals, which are scored with class probabilities; None scores neither.
    """
    scored = []
    for (protocol, seed), result in predictions.items():
        for name, task in tasks.items():
            split = None if protocol == ALL else splits[protocol, seed].of(task.labelled, name)
            regions = task.labelled.nonzero()[0] if split is None else split.test
            values = result.scored(name)[regions]
            records = task.records(model, protocol, seed, regions, values)
            if split is not None and level is not None:
                records += task.scores(model, protocol, seed, uncertainty_scores(task, split, result, level))
            scored.append(Scored(records, task.predictions(model, protocol, seed, {"test": regions}, values)))
    return scored


def few_labels(state: RunState, model: str, embeddings: Tensor, method: Method) -> Scored:
    """Learning curves of the embeddings [N, dim] of a method, under the split protocols of few labels."""
    recipe, city = state.recipe, state.city
    protocols = few_protocols(recipe.evaluation.splits)
    if not protocols or not state.tasks:
        return Scored.joined([])
    heads = {name: recipe.tasks[name].head for name in state.tasks}
    training = FewTraining(
        method, embeddings, state.tasks, heads, recipe.finetune, recipe.evaluation.few, recipe.seed, state.region_data,
        state.priors, state.progress,
    )  # fmt: skip
    return training.curves(model, protocols, city.region_ids, centres(city))
