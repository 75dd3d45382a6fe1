"""Predictions of a finished run for every region: `urbankit predict` and `Run.predict`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from tempfile import TemporaryDirectory

import geopandas as gpd
import torch

from urbankit.evaluation.cross_fit import CrossFit
from urbankit.evaluation.metrics import metric_label
from urbankit.export.tables import ExportTable, prediction_export, run_facts
from urbankit.pipeline.prediction_options import in_unit, mean_width, predict_settings, select_tasks
from urbankit.pipeline.stages import build_inputs, pretrain, prior, transfer
from urbankit.recipe.schema import Predict
from urbankit.runs.context import find_city
from urbankit.runs.folder import Run
from urbankit.runs.prediction_table import FILE, prediction_table
from urbankit.training import checkpoint
from urbankit.training.finetune import updated_parts
from urbankit.utils.errors import Problem, UserError
from urbankit.utils.progress import Progress


@dataclass(frozen=True)
class Predictions:
    """The predictions of a run for every region.

    Attributes:
        fits: Cross-fitted predictions by task.
        table: One row for each region; see `urbankit.runs.prediction_table.prediction_table`.
        level: The share of regions that an interval should cover.
        split: The split protocol that calibrates intervals and probabilities.
        notes: Notes on intervals that cannot be had.
        facts: Where the predictions are from.
    """

    fits: dict[str, CrossFit]
    table: gpd.GeoDataFrame
    level: float
    split: str
    notes: list[str]
    facts: dict[str, str]

    @property
    def title(self) -> str:
        """What a summary is headed by."""
        return f"{self.level:.0%} intervals, calibrated on {self.split} folds"

    def summary(self) -> tuple[list[str], list[list[str]]]:
        """Columns and rows of text, one row per task."""
        rows = []
        for name, fit in self.fits.items():
            labelled, metric = int(fit.labelled.sum()), fit.task.metric
            score = f"{metric_label(metric)} {fit.scores()[metric]:.3f}"
            width = "–" if fit.task.names else mean_width(self.table, name)
            rows.append([in_unit(name, fit.task.unit), str(labelled), str(len(self.table) - labelled), score, width])
        return ["task", "labelled", "without label", "out-of-fold score", "mean width"], rows

    def export(self) -> ExportTable:
        """The table for an exporter."""
        classes = {name: fit.task.names for name, fit in self.fits.items()}
        return prediction_export(
            self.table, classes, self.facts, {n: fit.task.class_titles for n, fit in self.fits.items()}
        )


def predict_run(
    run: Run,
    *,
    tasks: str | list[str] | None = None,
    interval: float | None = None,
    split: str | None = None,
    progress: Progress | None = None,
) -> Predictions:
    """Predict the tasks of a finished run for every region of its city.

    Args:
        run: The run.
        tasks: The tasks; by default all of the run.
        interval: The share of regions that an interval should cover; by default that of the recipe.
        split: The split protocol that calibrates intervals and probabilities, such as `spatial`; by default that of the
            recipe. Another one trains the heads again, which needs the city of the run.
        progress: Where progress is shown; nowhere by default.

    Raises:
        UserError: If an argument is wrong, the run has no predictions, or its city is needed and not available.
    """
    settings = _settings(run, interval, split)
    fits, calibrated_by = run.cross_fits if run.has(FILE) else ({}, "")
    if calibrated_by != settings.split:
        if not run.recipe.tasks:
            raise UserError(Problem("the run has no predictions: its recipe has no task", run.path))
        fits = _fit_again(run, settings, progress or Progress(quiet=True))
    selected = select_tasks(fits, tasks, "the run")
    table, notes = prediction_table(selected, run.embeddings, settings.interval)
    _add_truth(table, run, selected)
    return Predictions(selected, table, settings.interval, settings.split, notes, run_facts(run))


def _settings(run: Run, interval: float | None, split: str | None) -> Predict:
    """The recipe's section `predict` with the requested level and split."""
    requested = {key: value for key, value in {"interval": interval, "split": split}.items() if value is not None}
    values = run.recipe.predict.model_dump() | requested
    values["folds"] = values["folds"] or Predict().folds
    return predict_settings(values)


def _fit_again(run: Run, settings: Predict, progress: Progress) -> dict[str, CrossFit]:
    """Build the method of the run with its trained weights, and cross-fit heads to the embeddings of the run."""
    recipe, city = run.recipe.model_copy(update={"predict": settings}), find_city(run, progress)
    if city.content_hash != run.manifest.get("city_hash"):
        raise UserError(Problem(f"the city, {city.name}, has changed since the run; run its recipe again", run.path))
    with TemporaryDirectory() as folder:
        state = build_inputs(recipe, city, folder, progress=progress)
        transfer(state)
        prior(state)
        if state.manifest.values.get("prior") != run.manifest.get("prior"):
            message = f"the model {run.recipe.prior}, from which its heads started, has changed since"
            raise UserError(Problem(f"{message}; run its recipe again", run.path))
        best = run.path / "checkpoints" / "best.safetensors"
        if best.is_file():
            checkpoint.load_trained_state(state.method, checkpoint.load(best)[0])
        else:
            pretrain(state)  # such a run has no weights of its own: nothing is trained here either
        state.method.freeze(updated_parts(state.method, recipe.finetune))
        state.method.eval()
        return state.cross_fit(torch.from_numpy(run.vectors))


def _add_truth(table: gpd.GeoDataFrame, run: Run, fits: Mapping[str, CrossFit]) -> None:
    """Copy the labels of the run's own city, which a run with the labels of another city only knows from its table."""
    if run.recipe.transfer is None or not run.has("predictions_all.parquet"):
        return
    for task, fit in fits.items():
        for column in (f"{task}_truth", *(f"{task}_truth_share_{part}" for part in fit.parts)):
            table[column] = run.predictions_all[column]
