"""Predictions for every region: the stage `predict` of a run, and predictions of a finished run."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from urbankit.evaluation.calibration import Calibration
from urbankit.evaluation.cross_fit import CrossFit, split_interval
from urbankit.evaluation.metrics import score
from urbankit.evaluation.splits import Split
from urbankit.evaluation.tasks import TaskData
from urbankit.pipeline.state import RunState
from urbankit.runs import writers
from urbankit.runs.prediction_table import FILE, prediction_table, write_cross_fits
from urbankit.training.finetune import Finetuned
from urbankit.utils.errors import UserError


def predict(state: RunState, embeddings: Tensor) -> dict[str, CrossFit]:
    """Predict the tasks for every region, and write `predictions_all.parquet` and `cross_fit.parquet`.

    Heads are fitted without each fold of the labels and once to all labels (`HeadTraining.cross_fit`). Test regions of
    the results table play no part: each label is predicted by heads that did not see it.

    Args:
        state: The state.
        embeddings: Region embeddings [N, dim] of `embed`.

    Returns:
        Cross-fitted predictions by task; empty without tasks, with `predict.folds: 0`, or if the labels are too few.
    """
    settings = state.recipe.predict
    with state.manifest.stage("predict"):
        if not state.tasks or not settings.folds:
            return {}
        try:
            fits = state.cross_fit(embeddings)
        except UserError as error:
            state.manifest.note([f"predictions for every region were not made: {error}"], state.progress)
            return {}
        truth = None if state.zero_shot is None else state.tasks
        table, notes = prediction_table(fits, state.city.regions, settings.interval, tasks=truth)
        state.manifest.note(notes, state.progress)
        write_cross_fits(state.manifest.folder / FILE, fits, settings.split)
        writers.write_all_predictions(state.manifest.folder, table)
    return fits


def uncertainty_scores(task: TaskData, split: Split, result: Finetuned, level: float) -> dict[str, float]:
    """The scores of intervals or class probabilities on the test part, calibrated on the validation part.

    Args:
        task: The labels.
        split: The labelled regions of each part.
        result: What the heads predict that were trained on the training part.
        level: The share of regions that an interval should cover.

    Returns:
        Metrics of intervals or of probabilities by name; empty if the validation part is too small for the level, and
        of a distribution, which has no intervals.
    """
    if task.parts:
        return {}
    if task.classes:
        outputs = result.outputs.get(task.name)
        if outputs is None:
            return {}
        calibration = Calibration.fit(outputs[split.validation], task.y[split.validation])
        return score("probabilities", task.y[split.test], calibration.probabilities(outputs[split.test]))
    interval = split_interval(task, split.train, split.validation, result.predictions[task.name], level)
    if interval is None:
        return {}
    return score("interval", task.y[split.test], np.column_stack(interval)[split.test])
