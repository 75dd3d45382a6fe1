"""What heads start from: the predictions of a model of other cities for the regions of this city."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from urbankit.city.city import City
from urbankit.evaluation.carried_head import Carried, CarriedHead
from urbankit.evaluation.tasks import TaskData
from urbankit.heads.stacking.super_learner import SMALLEST
from urbankit.pipeline.model import Model
from urbankit.pipeline.outline import count_inside
from urbankit.pipeline.transfer.zero_shot import other_quantity
from urbankit.recipe.recipe import Recipe
from urbankit.runs.prior import prior_line
from urbankit.utils.errors import Problem, Problems, UserError
from urbankit.utils.names import match_names
from urbankit.utils.progress import Progress

ALLOWED = "prior"
"""The entry of `allow_leak` that allows a model whose city overlaps with this one."""


@dataclass(frozen=True)
class CityPrior:
    """The predictions of a model for a city of N regions.

    Attributes:
        predictions: By task, as `Prior.of` takes them: values in the unit of the task [N], or log-probabilities of its
            classes [N, classes]. Tasks that start from nothing are missing.
        facts: The model, for the manifest.
        notes: Notes for the user.
    """

    predictions: dict[str, NDArray[np.float64]]
    facts: dict[str, Any]
    notes: list[str]


def city_prior(
    recipe: Recipe, path: Path, city: City, tasks: Mapping[str, TaskData], progress: Progress | None = None
) -> CityPrior:
    """Predict the regions of a city with a model of other cities; no label of the city is used.

    Args:
        recipe: The recipe of the run.
        path: The folder of the model, or of a run.
        city: The city of the run.
        tasks: Its tasks.
        progress: Where progress is shown.

    Raises:
        UserError: If the folder is no model, the model was trained on regions of this city, it predicts a target in
            another unit or of another kind, or the city lacks what it reads.
    """
    model = Model.open(path)
    notes = list(_check_regions(model, city, recipe))
    chosen = {name: task for name, task in tasks.items() if recipe.tasks[name].prior}
    heads = _matching_heads(model, chosen, recipe, notes)
    predictions: dict[str, NDArray[np.float64]] = {}
    if heads:
        if city.n_regions == 1:
            message = "one region has no mean and standard deviation, by which the inputs of the model are standardised"
            raise UserError(Problem(message, city.path, key="prior"))
        vectors, carry_notes = model.vectors(city, "own", allow_missing=True)
        notes += [f"prior: {note}" for note in carry_notes]
        features = model.city_features(city)
        for name, head in heads.items():
            carried = head.predict(vectors, features, of_city=True)
            values = _log_probabilities(carried, chosen[name], notes) if head.classes else carried.prediction
            if values is not None:
                predictions[name] = values
    facts = {
        "model": str(model.path),
        "name": model.facts.get("name") or model.facts["recipe"].get("name") or model.path.name,
        "city": model.facts["city"],
        "content_hash": model.content_hash,
        "tasks": list(predictions),
    }
    return CityPrior(predictions, facts, [f"heads start from the predictions of {prior_line(facts)}", *notes])


def _check_regions(model: Model, city: City, recipe: Recipe) -> Iterator[str]:
    """Raise `UserError` if a model was trained on regions of this city; yield a note if nobody can tell."""
    trained_on = f"the model was trained on {model.facts['city']}"
    remedy = "its predictions would contain labels that this run is tested on"
    if model.facts.get("city_hash") == city.content_hash:
        message = f"{trained_on}, which is the city of this run: {remedy}; use a model of other cities"
        raise UserError(Problem(message, model.path, key="prior"))
    if model.outline is None:
        yield (
            "prior: the model does not say where its regions are (an earlier version exported it), so that nobody can"
            " check that they are not those of this city"
        )
    elif ALLOWED not in recipe.allow_leak and (inside := count_inside(model.outline, city.regions.geometry)):
        message = f"{trained_on}, where {inside:,} of the {city.n_regions:,} regions of this city lie: {remedy}"
        remedy = f"use a model of other cities, or allow it by `allow_leak: [{ALLOWED}]`"
        raise UserError(Problem(f"{message}; {remedy}", model.path, key="prior"))


def _matching_heads(
    model: Model, tasks: Mapping[str, TaskData], recipe: Recipe, notes: list[str]
) -> dict[str, CarriedHead]:
    """The heads of the model for the same targets, by task. Raises `UserError` for those of another kind or unit."""
    heads, problems = {}, Problems(model.path)
    for name, task in tasks.items():
        settings = recipe.tasks[name]
        target = settings.target or name
        head = next((head for head in model.heads.values() if target in (head.target, head.name)), None)
        if head is None:
            of_model = ", ".join(model.heads) or "none"
            notes.append(f"prior: {name} starts from nothing: the model has no task of this target (it has {of_model})")
        elif task.kind == head.kind == "regression" and settings.scale != head.target_scale:
            message = f"the model has `scale: {head.target_scale}`, this recipe `scale: {settings.scale}`"
            problems.add(f"{message}; use the same, or leave the task out with `prior: false`", key=f"tasks.{name}")
        elif task.kind != head.kind or (task.unit and head.unit and task.unit != head.unit):
            problems.add(other_quantity(head, task, "the city of the model"), key=f"tasks.{name}")
        else:
            heads[name] = head
            if bool(task.unit) != bool(head.unit):
                where, unit = "the model" if task.unit else "this city", task.unit or head.unit
                notes.append(f"prior: {name}: {where} does not say the unit; it is taken to be {unit}")
    problems.raise_if_any()
    return heads


def _log_probabilities(carried: Carried, task: TaskData, notes: list[str]) -> NDArray[np.float64] | None:
    """Log-probabilities of the classes of a task, [N, classes]; None if the model has none of them."""
    matches = match_names(task.classes, carried.classes)
    missing = [name for name in task.classes if name not in matches]
    if not matches:
        notes.append(f"prior: {task.name} starts from nothing: the model has none of its classes")
        return None
    if missing:
        notes.append(f"prior: {task.name}: the model does not have the classes {', '.join(missing)}")
    probabilities = np.full((len(carried.outputs), len(task.classes)), SMALLEST)
    columns = [task.classes.index(name) for name in matches]
    probabilities[:, columns] = carried.probabilities()[:, [carried.classes.index(name) for name in matches.values()]]
    return np.log(np.maximum(probabilities, SMALLEST))
