"""A trained model, which embeds the regions of other cities and predicts for them: `Model`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import geopandas as gpd
import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor

from urbankit import registry
from urbankit.city.city import City
from urbankit.evaluation.carried_head import CarriedHead
from urbankit.evaluation.city_level import city_features
from urbankit.evaluation.tasks import TaskData, load_task
from urbankit.pipeline.bands import bands_in_order
from urbankit.pipeline.city_predictions import CityPredictions
from urbankit.pipeline.embedding import embed_regions
from urbankit.pipeline.model_files import MODEL, calibrating_cities, is_model_folder
from urbankit.pipeline.model_sources import ModelFolder, ModelOfRun, ModelSource
from urbankit.pipeline.prediction_options import predict_settings, select_tasks
from urbankit.pipeline.transfer.weights import transfer_weights
from urbankit.pipeline.transfer.zero_shot import class_notes, other_quantity
from urbankit.recipe.components import components
from urbankit.recipe.load import load
from urbankit.recipe.recipe import Recipe
from urbankit.recipe.schema import WhichCity
from urbankit.registry.models import model_folder
from urbankit.runs.data import method_inputs, missing_data, open_city
from urbankit.runs.prediction_table import carried_table
from urbankit.utils.device import pick_device
from urbankit.utils.errors import Problem, Problems, UserError
from urbankit.utils.progress import Progress
from urbankit.utils.version import __version__

if TYPE_CHECKING:
    from typing_extensions import Self

Statistics = Literal["source", "own"]

ONLY_THERE = (
    "intervals and probabilities are calibrated in {city}; in another city they may cover less than their level says"
)


class Model:
    """A trained model, which embeds and predicts the regions of other cities.

    `Model.open` reads a run folder, a folder of `urbankit export RUN --to model`, or an installed model by its name.
    Nothing is trained on the other city, and its labels are not read.

    >>> model = Model.open("models/singapore")
    >>> model.embed("cities/mumbai")
    >>> model.predict("cities/mumbai", interval=0.9)

    Attributes:
        path: Its folder.
        facts: The recipe, what it reads and what does not carry over, as `model.json` has them.
    """

    def __init__(self, source: ModelSource) -> None:
        self._source, self.title, self.path, self.facts = source, source.title, source.path, source.facts

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open a model folder, a run folder, or a model that a package ships.

        Args:
            path: The folder, or the name of an installed model; a folder of this name comes first.

        Raises:
            UserError: If no model has this name, the folder is neither, was written by another version, or is damaged,
                or if the run has no weights that another city can use.
        """
        path = model_folder(path)
        if is_model_folder(path):
            return cls(ModelFolder(path))
        if (path / "recipe.yaml").is_file():
            return cls(ModelOfRun(path))
        message = f"is neither a model nor a run: it has no {MODEL} and no recipe.yaml"
        remedy = "`urbankit export RUN --to model` writes a model"
        if str(path) in registry.names("model"):
            remedy = "it hides the installed model of this name; rename it, or work in another folder"
        raise UserError(Problem(f"{message}; {remedy}", path))

    def __repr__(self) -> str:
        return f"Model({self.facts['method']} of {self.facts['city']}, {str(self.path)!r})"

    @property
    def content_hash(self) -> str:
        """The hash of all that its predictions depend on."""
        return self._source.content_hash

    @property
    def outline(self) -> str | None:
        """The outline of the regions that it was trained on, WKT in degrees; None if an earlier version exported it."""
        return self._source.outline

    @property
    def state(self) -> Mapping[str, Tensor]:
        """The state of the method after pre-training."""
        return self._source.state

    @cached_property
    def heads(self) -> dict[str, CarriedHead]:
        """The heads by task."""
        return self._source.heads(lambda city: self.vectors(city, "source")[0])

    @property
    def modalities(self) -> list[str]:
        """The modalities that it was trained with, in the order of the method."""
        return list(self.facts["modalities"])

    @property
    def views(self) -> list[str]:
        """The views, likewise."""
        return list(self.facts["views"])

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe, with the folder of the model in place of a city."""
        return self._recipe(self.path, "source", ())

    def embed(
        self,
        city: City | str | Path,
        *,
        statistics: Statistics = "own",
        allow_missing: bool = False,
        sets: tuple[str, ...] = (),
        progress: Progress | None = None,
    ) -> gpd.GeoDataFrame:
        """Embed the regions of a city.

        Args:
            city: A prepared city, its folder, or a city file.
            statistics: Whose means and standard deviations standardise the inputs: `own` takes those of this city,
                `source` those of the city that the model was trained on, so that equal values mean the same in both.
            allow_missing: Whether the city may lack some of the modalities and views that the model reads. Its regions
                are then as those without observations, which a note says.
            sets: Changes of the recipe, such as `modalities.rsi.source=satellite`, as `--set` takes them.
            progress: Where progress is shown; nowhere by default.

        Returns:
            `region_id`, `geometry` and `embedding`, a float32 array [dim], of N regions in the order of the city.
            `attrs["notes"]` says what was not carried over.

        Raises:
            UserError: If the city lacks what the model reads; the message lists all of it.
        """
        opened = as_city(city, progress)
        vectors, notes = self.vectors(opened, statistics, sets, allow_missing)
        table = opened.regions[["region_id", "geometry"]].assign(embedding=list(vectors))
        table.attrs["notes"] = notes
        return table

    def predict(
        self,
        city: City | str | Path,
        interval: float | None = None,
        *,
        tasks: str | list[str] | None = None,
        statistics: Statistics = "own",
        allow_missing: bool = False,
        sets: tuple[str, ...] = (),
        progress: Progress | None = None,
    ) -> gpd.GeoDataFrame:
        """Predict the tasks for every region of a city.

        Args:
            city: A prepared city, its folder, or a city file.
            interval: The share of regions that an interval should cover; by default 0.9. Intervals are calibrated in
                the city that the model was trained on.
            tasks: One or more tasks; by default all of the model.
            statistics: As in `embed`. `own` also standardises the embeddings that heads read by those of this city.
            allow_missing: As in `embed`.
            sets: As in `embed`.
            progress: Where progress is shown; nowhere by default.

        Returns:
            One row per region; see `urbankit.runs.prediction_table.carried_table`. `attrs["notes"]` says what was not
            carried over.

        Raises:
            UserError: If the city lacks what the model reads, or an argument is wrong.
        """
        result = self.predictions(
            city,
            interval,
            tasks=tasks,
            statistics=statistics,
            allow_missing=allow_missing,
            sets=sets,
            progress=progress,
        )
        result.table.attrs["notes"] = result.notes
        return result.table

    def predictions(
        self,
        city: City | str | Path,
        interval: float | None = None,
        *,
        tasks: str | list[str] | None = None,
        statistics: Statistics = "own",
        allow_missing: bool = False,
        sets: tuple[str, ...] = (),
        progress: Progress | None = None,
    ) -> CityPredictions:
        """As `predict`, with what the table does not hold."""
        level = predict_settings({} if interval is None else {"interval": interval}).interval
        if not self.heads:
            raise UserError(Problem("the model has no head: its run had no task that carries over", self.path))
        heads, opened = select_tasks(self.heads, tasks, self.title), as_city(city, progress)
        labels, notes = _labels(heads, opened)
        if statistics == "own" and opened.n_regions == 1:
            message = "one region has no mean and standard deviation of its own; use the statistics of the model"
            raise UserError(Problem(message, opened.path, key="--statistics"))
        vectors, carry_notes = self.vectors(opened, statistics, sets, allow_missing)
        features, of_city = self.city_features(opened), statistics == "own"
        predicted = {name: head.predict(vectors, features, of_city=of_city) for name, head in heads.items()}
        source = self.facts["city"]
        table, interval_notes = carried_table(predicted, opened.regions, level, labels_of=source, tasks=labels)
        calibrated_in = calibrating_cities(self.facts)
        notes = [*carry_notes, *notes, *interval_notes, ONLY_THERE.format(city=calibrated_in)]
        facts = {
            "model": self.path.resolve().name,
            "model_city": source,
            "calibrated_in": calibrated_in,
            "city": opened.name,
            "urbankit": __version__,
        }
        return CityPredictions(predicted, table, level, labels, notes, facts)

    def city_features(self, city: City) -> dict[str, float]:
        """Return the means of a city from which the level of a target is predicted, by name."""
        return city_features(self.recipe.modalities, city, self.facts["left_out"])

    def vectors(
        self, city: City, statistics: Statistics = "own", sets: tuple[str, ...] = (), allow_missing: bool = False
    ) -> tuple[NDArray[np.float32], list[str]]:
        """Return the embeddings of a city, [N, dim], and notes on what was not carried over."""
        recipe, absent = self._recipe(city.path, statistics, sets), self._absent()
        left_out = self.facts["left_out"]
        notes = [f"not carried over: modality {name}: {reason}" for name, reason in left_out.items()]
        if statistics == "own":
            notes.append("inputs are standardised by the means and standard deviations of this city")
        missing, problems = missing_data(recipe, city, absent), Problems(city.path)
        lacking = [name for kind, name in missing if kind == "modality"]
        allowed = allow_missing and len(lacking) < len(set(recipe.modalities) - set(absent))
        for (kind, name), reason in missing.items():
            if allowed:
                notes.append(
                    f"without the {kind} {name}, which the model reads: {reason}; predictions are less certain"
                )
                continue
            key = f"{'modalities' if kind == 'modality' else 'views'}.{name}"
            remedy = "" if allow_missing else "; --allow-missing goes on without it"
            problems.add(f"the model reads it, but {reason}{remedy}", key=key)
        city, band_notes = bands_in_order(city, self.facts["bands"], problems)
        problems.raise_if_any()
        absent |= {name: self.facts["describes"].get(name, []) for name in lacking}
        empty = [name for kind, name in missing if kind == "view"]
        inputs, _ = method_inputs(recipe, city, absent, {}, empty_views=empty)
        torch.manual_seed(recipe.seed)
        method = registry.create("method", recipe.method, inputs).to(pick_device(recipe.device))
        transfer_notes = transfer_weights(method, inputs, recipe, self)
        method.freeze(set())
        vectors = embed_regions(method, recipe, city.n_regions).cpu().numpy()
        return vectors, [*notes, *band_notes, *(note.removeprefix("transfer: ") for note in transfer_notes)]

    def _recipe(self, city: Path, statistics: Statistics, sets: tuple[str, ...]) -> Recipe:
        """The recipe for another city."""
        transfer = {"from": str(self.path), "graph": "keep", "statistics": statistics}
        tree = {**self.facts["recipe"], "city": {"prepared": str(city)}, "transfer": transfer}
        problems = Problems()
        merged = load(tree, sets, problems).plain() if sets else tree
        problems.raise_if_any()
        try:
            recipe = Recipe.model_validate(merged)
            version = self.facts.get("urbankit") or __version__
            written = "" if sets else f"{self.path / MODEL}, written by urbankit {version}: "
            for used in components(recipe):
                registry.get(used.kind, used.use.name).Params.checked(used.use.params, f"{written}{used.key}")
            return recipe
        except ValidationError as error:
            file = None if sets else self.path / MODEL
            raise UserError(
                Problem(one["msg"], file, key=".".join(map(str, one["loc"]))) for one in error.errors()
            ) from None

    def _absent(self) -> dict[str, list[str]]:
        """The modalities that are left out, and those that each of them described."""
        return {name: self.facts["describes"].get(name, []) for name in self.facts["left_out"]}


def as_city(city: City | str | Path, progress: Progress | None = None, data: Path | None = None) -> City:
    """Return a city from itself, the folder of a prepared city, or a city file, which is prepared first.

    Args:
        city: One of the three.
        progress: Where progress is shown.
        data: The folder of the sources that a city file names.

    Raises:
        UserError: If the city cannot be opened or prepared.
    """
    if isinstance(city, City):
        return city
    path = Path(city)
    if data is None and (path.is_dir() or not path.exists()):
        return open_city(WhichCity(prepared=path.absolute()), progress)
    if path.is_dir():
        raise UserError(Problem("is a prepared city, which needs no folder of sources", path, key="--data"))
    return open_city(WhichCity(spec=path.absolute(), data=data and data.absolute()), progress)


def _labels(heads: Mapping[str, CarriedHead], city: City) -> tuple[dict[str, TaskData], list[str]]:
    """The labels that a city has of the tasks, and notes. Raises `UserError` for those of another kind or unit."""
    labels: dict[str, TaskData] = {}
    notes, problems = list[str](), Problems(city.path)
    for name, head in heads.items():
        target = next((target for target in (head.target, name) if target in city.target_names), None)
        if target is None:
            continue
        try:
            task = load_task(city, name, target, scale=head.target_scale, min_class_size=1)
        except UserError as error:
            notes.append(f"{name}: the labels of this city are not shown: {error}")
            continue
        if task.kind != head.kind or (task.unit and head.unit and task.unit != head.unit):
            problems.add(other_quantity(head, task, "the city of the model"), key=f"targets.{target}")
            continue
        if not task.unit and head.unit:
            notes.append(f"{name}: this city does not say the unit of its target; predictions are in {head.unit}")
        labels[name] = task
        if task.classes:
            notes += class_notes(name, task.classes, head.classes, "the city of the model")
    problems.raise_if_any()
    return labels, notes
