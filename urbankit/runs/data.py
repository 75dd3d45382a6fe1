"""The data of a run: its city, the modalities and views that the city has, labels, splits and floors."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from urbankit import registry
from urbankit.city.city import City
from urbankit.city.joined import JoinedCity
from urbankit.city.manifest import MANIFEST
from urbankit.city.points import NO_GEOMETRY
from urbankit.city.prepare.prepare import prepare
from urbankit.city.raw_features import RawFeatures
from urbankit.datasets.synthetic import write_demo
from urbankit.evaluation.few_floors import evaluate_few_floors
from urbankit.evaluation.few_labels import check_few, few_protocols
from urbankit.evaluation.floors import FLOORS, evaluate_floors
from urbankit.evaluation.metrics import failed_metrics
from urbankit.evaluation.raw_features import build_raw_features, unread_inputs
from urbankit.evaluation.splits import Split, is_sampled, make_split, needs_location, probes, split_groups
from urbankit.evaluation.tasks import Scored, TaskData, load_task
from urbankit.heads.averaged_kriging import typical_spacing
from urbankit.heads.base import RegionData, RegionHead
from urbankit.methods.base import MethodInputs
from urbankit.recipe.recipe import Recipe
from urbankit.recipe.schema import CityFolder, WhichCity
from urbankit.runs.prediction_table import task_columns
from urbankit.utils.cache import is_writable, warn_unwritable
from urbankit.utils.device import encoder_precision, pick_device
from urbankit.utils.errors import Problem, Problems, UrbankitError, UserError, suggest
from urbankit.utils.files import cache_folder, hash_json
from urbankit.utils.locks import file_lock
from urbankit.utils.progress import Progress
from urbankit.utils.version import __version__
from urbankit.views.base import ViewGraph, build_view

Splits = dict[tuple[str, int], Split]
"""Training, validation and test regions, by split protocol and seed."""


def prepare_city(recipe: Recipe, progress: Progress | None = None) -> City:
    """Open the city of a recipe; a city file or the synthetic city is prepared first, where that is not done yet.

    Prepared cities are kept in the cache folder. A file lock lets one process at a time prepare a city.

    Args:
        recipe: The recipe; its `city` names a prepared folder, a city file or the synthetic city, its `cities`
            several of these, which are joined.
        progress: Where progress is shown; nowhere by default.

    Raises:
        UserError: If the city cannot be opened or prepared; with the mistakes of all cities.
    """
    if recipe.city is not None:
        return open_city(recipe.city, progress)
    assert recipe.cities is not None  # the schema: one of both
    if isinstance(recipe.cities, CityFolder):
        return JoinedCity(open_cities(folder_cities(recipe.cities), progress), recipe.cities.folder)
    named = {f"cities.{index}": settings for index, settings in enumerate(recipe.cities)}
    cities = list(open_cities(named, progress).values())
    names = [city.name for city in cities]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        message = f"two cities have the name {' and '.join(twice)}; give each city file a `name` of its own"
        raise UserError(Problem(message, key="cities"))
    return JoinedCity(dict(zip(names, cities, strict=True)), cities[0].path.parent)


def city_key(recipe: Recipe) -> str:
    """What is equal for two recipes on the same city or cities."""
    return recipe.model_dump_json(include={"city", "cities"})


def folder_cities(settings: CityFolder) -> dict[str, WhichCity]:
    """The cities in the folders of a folder, by the names of these. Raises `UserError` if there is none."""
    folders = sorted(path for path in settings.folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    names = [path.name for path in folders]
    problems = Problems(settings.folder)
    for name in settings.exclude:
        if name not in names:
            problems.add(f"there is no folder '{name}' to leave out.{suggest(name, names)}", key="cities.exclude")
    selected = [path for path in folders if fnmatchcase(path.name, settings.pattern)]
    selected = [path for path in selected if path.name not in settings.exclude]
    if not selected:
        problems.add(f"no folder in it matches the pattern '{settings.pattern}'", key="cities.pattern")
    cities = {}
    for path in selected:
        if settings.spec is not None:
            cities[path.name] = WhichCity(spec=settings.spec, data=path)
        elif (path / MANIFEST).is_file():
            cities[path.name] = WhichCity(prepared=path)
        elif (path / "city.yaml").is_file():
            cities[path.name] = WhichCity(spec=path / "city.yaml")
        else:
            message = (
                "is neither a prepared city nor has a city.yaml; name a city file for all folders in `cities.spec`"
            )
            problems.add(message, file=path)
    problems.raise_if_any()
    return cities


def open_cities(settings: Mapping[str, WhichCity], progress: Progress | None = None) -> dict[str, City]:
    """Open several cities by name; see `prepare_city`. Raises one `UserError` with the mistakes of all."""
    cities, problems = {}, Problems()
    for name, one in settings.items():
        try:
            cities[name] = open_city(one, progress)
        except UserError as error:
            problems.extend(error.problems)
    problems.raise_if_any()
    return cities


def open_city(settings: WhichCity, progress: Progress | None = None) -> City:
    """Open a city; see `prepare_city`."""
    if settings.prepared is not None:
        city = City.open(settings.prepared)
        city.check()
        return city
    cities = cache_folder() / "cities"
    try:
        return _prepare_in(cities, settings, progress)
    except (OSError, UrbankitError) as error:
        if is_writable(cities):
            raise
        warn_unwritable(error)
    _TEMPORARY.append(tempfile.TemporaryDirectory(prefix="urbankit-cities-"))
    return _prepare_in(Path(_TEMPORARY[-1].name), settings, progress)


_TEMPORARY: list[tempfile.TemporaryDirectory[str]] = []
"""Folders of cities that could not be prepared in the cache; each is removed when the process ends."""


def _prepare_in(cities: Path, settings: WhichCity, progress: Progress | None) -> City:
    """Prepare a city file or the synthetic city in a folder of `cities`."""
    if settings.demo is not None:
        sources = cities / f"demo-{settings.demo.regions}-{settings.demo.seed}-{__version__}"
        with file_lock(sources.with_name(f"{sources.name}.lock"), say=progress.say if progress else None):
            if not (sources / "city.yaml").exists():
                write_demo(sources, regions=settings.demo.regions, seed=settings.demo.seed, progress=progress)
            return City.open(prepare(sources / "city.yaml", out=sources / "prepared", progress=progress))
    assert settings.spec is not None  # a recipe names exactly one of the three
    key = hash_json([str(settings.spec), str(settings.data)])[:8]
    out = cities / f"{settings.spec.name.split('.')[0]}-{key}"
    with file_lock(out.with_name(f"{out.name}.lock"), say=progress.say if progress else None):
        return City.open(prepare(settings.spec, data=settings.data, out=out, progress=progress))


def held_out_regions(names: Sequence[str], city: City) -> Tensor | None:
    """The regions of the cities that `pretrain.hold_out` names, int64; None if it names none.

    Raises `UserError` for a name that is not among the cities, or if no city is left to train on.
    """
    if not names:
        return None
    members, problems = list(city.members), Problems()
    for name in names:
        if name not in members:
            problems.add(
                f"there is no city '{name}' among the cities.{suggest(name, members)}", key="pretrain.hold_out"
            )
    if set(members) <= set(names):
        problems.add("holds out every city; leave one to train on", key="pretrain.hold_out")
    problems.raise_if_any()
    positions = [members.index(name) for name in names]
    return torch.as_tensor(np.isin(city.member, positions).nonzero()[0])


def missing_data(recipe: Recipe, city: City, absent: Collection[str] = ()) -> dict[tuple[str, str], str]:
    """Why the city lacks what a modality or view of the recipe reads, by (`modality` or `view`, name).

    Modalities in `absent` are not looked at.
    """
    city, reasons = city.unlabelled(), {}
    for name, use in recipe.modalities.items():
        encoder = registry.get("modality_encoder", use.name)
        reasons["modality", name] = (
            None if name in absent else encoder.requires(encoder.Params(**use.params), city, name)
        )
    for name, use in recipe.views.items():
        reasons["view", name] = registry.create("view", use).requires(city)
    return {key: reason for key, reason in reasons.items() if reason is not None}


def method_inputs(
    recipe: Recipe,
    city: City,
    absent: Mapping[str, Collection[str]] | None = None,
    missing: Mapping[tuple[str, str], str] | None = None,
    empty_views: Collection[str] = (),
) -> tuple[MethodInputs, list[str]]:
    """Return the modalities and views of the recipe that the city has, and notes on those that it or the floors lack.

    Args:
        recipe: The recipe.
        city: The city.
        absent: See `MethodInputs`.
        missing: What `missing_data` returns, if the caller has asked it already.
        empty_views: Views that the city lacks the data of, and that the method needs all the same: they have no edges.
    """
    absent = absent or {}
    if missing is None:
        missing = missing_data(recipe, city, absent)
    city = city.unlabelled()
    notes = [f"{kind} {name} is left out: {reason}" for (kind, name), reason in missing.items()]
    modalities = {name: use for name, use in recipe.modalities.items() if ("modality", name) not in missing}
    views = {
        name: ViewGraph.empty(city.n_regions) if name in empty_views else build_view(registry.create("view", use), city)
        for name, use in recipe.views.items()
        if ("view", name) not in missing
    }
    notes += failed_metrics()
    if recipe.evaluation.floors:
        notes += [f"the floors do not read what {name} reads" for name in unread_inputs(city, recipe)]
    if recipe.modalities and not modalities:
        message = "the city has none of the recipe's modalities; name one that it has, or `location`, which all have"
        raise UserError([Problem(message, city.path, key="modalities"), *(Problem(note) for note in notes)])
    precision = encoder_precision(pick_device(recipe.device), recipe.precision)
    return MethodInputs(city, modalities, views, recipe.engine, precision, absent), notes


def load_labels(recipe: Recipe, city: City) -> tuple[dict[str, TaskData], Splits]:
    """The tasks and the splits of the recipe; raises `UserError` if a task lacks the labels that a split needs."""
    tasks, splits = load_tasks(recipe, city), make_splits(recipe, city)
    for task in tasks.values():
        for split in splits.values():
            split.of(task.labelled, f"tasks.{task.name}")
    for probe in probes(recipe.evaluation.splits):
        probe.check(tasks, recipe.evaluation)
    if few_protocols(recipe.evaluation.splits):
        check_few(tasks, recipe.evaluation.few)
    return tasks, splits


def load_tasks(recipe: Recipe, city: City) -> dict[str, TaskData]:
    """The tasks of the recipe with the labels of the city; raises one `UserError` with the mistakes of all tasks."""
    tasks, problems = {}, Problems()
    for name, task in recipe.tasks.items():
        try:
            tasks[name] = load_task(
                city,
                name,
                task.target or name,
                transform=task.transform,
                scale=task.scale,
                min_class_size=recipe.evaluation.min_class_size,
            )
        except UserError as error:
            problems.extend(error.problems)
    missing = [name for name, task in recipe.tasks.items() if (task.target or name) not in city.target_names]
    if missing:
        problems.add(f"name targets of the city, and remove other tasks with null: `{missing[0]}: null`", key="tasks")
    _check_columns(tasks, problems)
    problems.raise_if_any()
    return tasks


def _check_columns(tasks: Mapping[str, TaskData], problems: Problems) -> None:
    """Add a problem for each task that would have a column of another one in the predictions of every region."""
    owners: dict[str, str] = {}
    for name, task in tasks.items():
        columns = task_columns(task)
        taken = next((column for column in columns if column in owners), None)
        if taken is not None:
            problems.add(
                f"its predictions and those of tasks.{owners[taken]} would both have the column '{taken}'; "
                "rename one of the tasks, and give the name of its target as `target`",
                key=f"tasks.{name}",
            )
        owners |= dict.fromkeys(columns, name)


def make_splits(recipe: Recipe, city: City) -> Splits:
    """The splits of the recipe, by protocol and seed; a probe has none.

    Raises `UserError` for protocols that need the geometry of regions that have none.
    """
    settings = recipe.evaluation
    if not city.has_geometry:
        _check_without_geometry(recipe, city)
    return {
        (protocol, seed): make_split(
            protocol, centres(city), seed, fractions=settings.fractions, blocks=settings.blocks
        )
        for protocol in settings.splits
        if is_sampled(protocol)
        for seed in settings.seeds
    }


def _check_without_geometry(recipe: Recipe, city: City) -> None:
    problems = Problems()
    keys = {protocol: "evaluation.splits" for protocol in recipe.evaluation.splits}
    if recipe.predict.folds:
        keys.setdefault(recipe.predict.split, "predict.split")
    for protocol, key in keys.items():
        if needs_location(protocol):
            message = f"'{protocol}' needs locations, but the regions of '{city.name}' {NO_GEOMETRY}"
            problems.add(f"{message}; use random or folds, or give polygons as `regions` in the city file", key=key)
    problems.raise_if_any()


def centres(city: City) -> np.ndarray:
    """Return the centres of the regions in metres, float64 [N, 2]; NaN if the regions have no geometry."""
    return city.xy if city.has_geometry else np.full((city.n_regions, 2), np.nan)


def run_floors(
    recipe: Recipe,
    city: City,
    tasks: dict[str, TaskData],
    splits: Splits,
    progress: Progress,
) -> Scored:
    """Score the floors of the recipe on its tasks and split protocols; no trained method is needed."""
    settings = recipe.evaluation
    if not tasks or not settings.floors:
        return Scored.joined([])
    features, xy = build_raw_features(city, recipe), city.xy if city.has_geometry else None
    if xy is None:
        settings = settings.model_copy(update={"floors": _without_location(settings.floors, features)})
    scored = []
    if splits:
        groups = {protocol: split_groups(protocol, centres(city), settings.blocks) for protocol, _ in splits}
        scored.append(evaluate_floors(tasks, features, xy, splits, settings.floors, progress, groups))
    scored += [probe.score_floors(tasks, features, xy, settings) for probe in probes(settings.splits)]
    few = few_protocols(settings.splits)
    if few:
        # These floors have no form without locations.
        floors = [name for name in settings.floors if xy is not None or "location" not in FLOORS[name].reads]
        scored.append(
            evaluate_few_floors(tasks, features, centres(city), city.region_ids, few, floors, settings.few, progress)
        )
    return Scored.joined(scored)


def _without_location(floors: Sequence[str], features: RawFeatures) -> list[str]:
    """Return the floors that a city without geometry has: those that need locations are left out."""
    return [
        name
        for name in floors
        if not FLOORS[name].needs_location and (features.names or "features" not in FLOORS[name].reads)
    ]


def region_data(recipe: Recipe, city: City, features: RawFeatures, protocol: str) -> RegionData:
    """What heads may read of the regions beside the embedding, under a split protocol.

    Args:
        recipe: The recipe.
        city: Its prepared city.
        features: The input features of the recipe (`build_raw_features`).
        protocol: The split protocol; heads divide their training regions into folds as it does.
    """
    groups = split_groups(protocol, centres(city), recipe.evaluation.blocks)
    if not city.has_geometry:
        return RegionData(features.values, features.blocks, None, groups)
    return RegionData(features.values, features.blocks, city.xy, groups, spacing=typical_spacing(city.xy))


def needs_region_data(recipe: Recipe) -> bool:
    """Whether a head of the recipe reads coordinates or input features beside the embedding."""
    if recipe.finetune.paradigm == "linear_probe":
        return False
    for task in recipe.tasks.values():
        head = registry.get("head", task.head.name)
        starts_from_prior = bool(recipe.prior and task.prior and head.takes_prior)
        if issubclass(head, RegionHead) and (head.reads_features or starts_from_prior):
            return True
    return False
