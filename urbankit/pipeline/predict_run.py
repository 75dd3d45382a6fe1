"""Predictions of a finished run for every region: `urbankit predict` and `Run.predict`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import geopandas as gpd
import torch
from pydantic import ValidationError

from urbankit import registry
from urbankit.evaluation.cross_fit import CrossFit
from urbankit.export.tables import prediction_export
from urbankit.pipeline.stages import build_inputs, pretrain, transfer
from urbankit.recipe.schema import Predict
from urbankit.registry.component import Use
from urbankit.runs.context import find_city
from urbankit.runs.folder import Run
from urbankit.runs.prediction_table import FILE, prediction_table
from urbankit.training import checkpoint
from urbankit.training.finetune import updated_parts
from urbankit.utils.errors import Problem, Problems, UserError, suggest
from urbankit.utils.progress import Progress
from urbankit.utils.written import check_no_result


@dataclass(frozen=True)
class Predictions:
    """The predictions of a run for every region.

    Attributes:
        fits: Cross-fitted predictions by task.
        table: One row a region; see `urbankit.runs.prediction_table.prediction_table`.
        level: The share of regions that an interval should cover.
        split: The split protocol that calibrates intervals and probabilities.
        notes: Notes on intervals that cannot be had.
    """

    fits: dict[str, CrossFit]
    table: gpd.GeoDataFrame
    level: float
    split: str
    notes: list[str]


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
    selected = _select(fits, tasks)
    table, notes = prediction_table(selected, run.embeddings, settings.interval)
    _add_truth(table, run, list(selected))
    return Predictions(selected, table, settings.interval, settings.split, notes)


def _settings(run: Run, interval: float | None, split: str | None) -> Predict:
    """The recipe's section `predict` with the requested level and split."""
    requested = {"interval": interval, "split": split}
    values = run.recipe.predict.model_dump() | {k: v for k, v in requested.items() if v is not None}
    values["folds"] = values["folds"] or Predict().folds
    try:
        return Predict(**values)
    except ValidationError as error:
        mistakes = [(one["msg"].removeprefix("Value error, "), one["loc"]) for one in error.errors()]
        raise UserError(Problem(message, key=f"--{place[0]}") for message, place in mistakes) from None


def _fit_again(run: Run, settings: Predict, progress: Progress) -> dict[str, CrossFit]:
    """Build the method of the run with its trained weights, and cross-fit heads to the embeddings of the run."""
    recipe, city = run.recipe.model_copy(update={"predict": settings}), find_city(run, progress)
    if city.content_hash != run.manifest.get("city_hash"):
        raise UserError(Problem(f"the city, {city.name}, has changed since the run; run its recipe again", run.path))
    with TemporaryDirectory() as folder:
        state = build_inputs(recipe, city, folder, progress=progress)
        transfer(state)
        best = run.path / "checkpoints" / "best.safetensors"
        if best.is_file():
            checkpoint.load_trained_state(state.method, checkpoint.load(best)[0])
        else:
            pretrain(state)  # such a run has no weights of its own: nothing is trained here either
        state.method.freeze(updated_parts(state.method, recipe.finetune))
        state.method.eval()
        return state.cross_fit(torch.from_numpy(run.vectors))


def _select(fits: Mapping[str, CrossFit], tasks: str | list[str] | None) -> dict[str, CrossFit]:
    names = [tasks] if isinstance(tasks, str) else tasks or list(fits)
    problems = Problems()
    for name in names:
        if name not in fits:
            problems.add(f"the run has no task '{name}'.{suggest(name, fits)}", key="--task")
    problems.raise_if_any()
    return {name: fits[name] for name in names}


def _add_truth(table: gpd.GeoDataFrame, run: Run, tasks: list[str]) -> None:
    """Copy the labels of the run's own city, which a run with the labels of another city only knows from its table."""
    if run.recipe.transfer is None or not run.has("predictions_all.parquet"):
        return
    for column in (f"{task}_truth" for task in tasks):
        table[column] = run.predictions_all[column]


def write_predictions(predictions: Predictions, run: Run, path: Path, *, force: bool = False) -> None:
    """Write predictions to one file, in the format of the exporter that its suffix belongs to.

    Args:
        predictions: What `predict_run` returned.
        run: The run.
        path: The file: `.parquet`, `.gpkg`, `.csv` or the suffix of a plugin's exporter of one file.
        force: Also replace a file that exists.

    Raises:
        UserError: If the suffix is another one, or the file exists.
    """
    exporters: dict[str, str] = {}
    for exporter in registry.names("exporter"):
        files = registry.get("exporter", exporter).files
        if len(files) == 1:
            exporters.setdefault(Path(files[0]).suffix, exporter)
    name = exporters.get(path.suffix.lower())
    if name is None:
        message = f"its suffix is none of {', '.join(sorted(exporters))}, which predictions can be written to"
        raise UserError(Problem(message, path, key="--out"))
    check_no_result(path, "--out")
    if path.exists() and not force:
        raise UserError(Problem("exists; choose another file, or replace it with --force", path, key="--out"))
    path.parent.mkdir(parents=True, exist_ok=True)
    table = prediction_export(run, predictions.fits, predictions.table)
    registry.create("exporter", Use(name=name), None).write(table, [path])
