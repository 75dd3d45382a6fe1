"""What a recipe is computed from: its city, the modalities and views that the city has, labels, splits and floors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from urbankit import registry
from urbankit.city.city import City
from urbankit.city.prepare.prepare import prepare
from urbankit.datasets.synthetic import write_demo
from urbankit.evaluation.floors import evaluate_floors
from urbankit.evaluation.folds import evaluate_fold_floors
from urbankit.evaluation.raw_features import build_raw_features
from urbankit.evaluation.splits import PROTOCOLS, Split, make_split
from urbankit.evaluation.tasks import Scored, TaskData, load_task
from urbankit.methods.base import MethodInputs
from urbankit.recipe.components import components
from urbankit.recipe.recipe import Recipe
from urbankit.utils.device import encoder_precision, pick_device
from urbankit.utils.errors import Problem, Problems, UserError
from urbankit.utils.files import cache_folder, file_lock, hash_json
from urbankit.utils.hashes import cached_hash
from urbankit.utils.progress import Progress
from urbankit.utils.version import __version__


def prepare_city(recipe: Recipe, progress: Progress | None = None) -> City:
    """The prepared city of a recipe: opened, or prepared first from its spec or as the synthetic city.

    Cities that are prepared on the way are kept in the cache folder and are up to date the next time. Processes that
    want one city at the same time take turns.
    """
    wanted = recipe.city
    if wanted.prepared is not None:
        return City.open(wanted.prepared)
    cities = cache_folder() / "cities"
    if wanted.demo is not None:
        sources = cities / f"demo-{wanted.demo.regions}-{wanted.demo.seed}-{__version__}"
        with file_lock(sources.with_name(f"{sources.name}.lock")):
            if not (sources / "city.yaml").exists():
                write_demo(sources, regions=wanted.demo.regions, seed=wanted.demo.seed, progress=progress)
            return City.open(prepare(sources / "city.yaml", out=sources / "prepared", progress=progress))
    assert wanted.spec is not None  # a recipe names exactly one of the three
    key = hash_json([str(wanted.spec), str(wanted.data)])[:8]
    out = cities / f"{wanted.spec.name.split('.')[0]}-{key}"
    with file_lock(out.with_name(f"{out.name}.lock")):
        return City.open(prepare(wanted.spec, data=wanted.data, out=out, progress=progress))


def build_inputs(recipe: Recipe, city: City) -> tuple[MethodInputs, list[str]]:
    """What the method sees of the city, and a note for each modality and view that the city lacks."""
    modalities, views, notes = {}, {}, []
    for name, use in recipe.modalities.items():
        encoder = registry.get("modality_encoder", use.name)
        reason = encoder.requires(encoder.Params(**use.params), city, name)
        if reason is None:
            modalities[name] = use
        else:
            notes.append(f"modality {name} is left out: {reason}")
    for name, use in recipe.views.items():
        view = registry.create("view", use)
        reason = view.requires(city)
        if reason is None:
            views[name] = view.build(city)
        else:
            notes.append(f"view {name} is left out: {reason}")
    if recipe.modalities and not modalities:
        message = "the city has none of the recipe's modalities; name one that it has, or `location`, which all have"
        raise UserError([Problem(message, city.path, key="modalities"), *(Problem(note) for note in notes)])
    device = pick_device(recipe.device)
    return MethodInputs(city, modalities, views, recipe.engine, encoder_precision(device, recipe.precision)), notes


def files_read(recipe: Recipe, city: City, hash_of: Callable[[Path], str] = cached_hash) -> dict[str, dict[str, str]]:
    """SHA-256 of the files beside the city that components of a recipe read, by the component's key and the path.

    Raises `UserError` or `OSError` where such a file is not there or cannot be read.
    """
    found = {}
    for used in components(recipe):
        component = registry.get(used.kind, used.use.name)
        files = component.reads(component.Params(**used.use.params), city)
        if files:
            found[used.key] = {str(file): hash_of(file) for file in files}
    return found


def changed_files(before: dict[str, dict[str, str]], now: dict[str, dict[str, str]]) -> list[str]:
    """The components whose `files_read` have other contents now, each with the files that differ."""
    changed = []
    for key in {**before, **now}:
        was, read = before.get(key, {}), now.get(key, {})
        if [*was.values()] != [*read.values()]:
            others = [path for path, digest in read.items() if digest not in was.values()]
            gone = [path for path, digest in was.items() if digest not in read.values()]
            said = ", ".join(others) or ("no more " + ", ".join(gone) if gone else "the same files in another order")
            changed.append(f"{key} reads {said}")
    return changed


def load_tasks(recipe: Recipe, city: City) -> dict[str, TaskData]:
    """The recipe's tasks with the city's labels. Raises one `UserError` with what is wrong with any of them."""
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
    problems.raise_if_any()
    return tasks


def make_splits(recipe: Recipe, city: City) -> dict[tuple[str, int], Split]:
    """The splits that the recipe evaluates on, by protocol and seed; `folds` is no split and has none."""
    asked = recipe.evaluation
    return {
        (protocol, seed): make_split(protocol, city.xy, seed, fractions=asked.fractions, blocks=asked.blocks)
        for protocol in asked.splits
        if protocol in PROTOCOLS
        for seed in asked.seeds
    }


def run_floors(
    recipe: Recipe,
    city: City,
    tasks: dict[str, TaskData],
    splits: dict[tuple[str, int], Split],
    progress: Progress,
) -> Scored:
    """The recipe's floors on its tasks, splits and folds; they need nothing of a run."""
    asked = recipe.evaluation
    if not tasks or not asked.floors:
        return Scored.joined([])
    raw = build_raw_features(city, recipe)
    scored = [evaluate_floors(tasks, raw, city.xy, splits, asked.floors, progress)] if splits else []
    if "folds" in asked.splits:
        scored.append(evaluate_fold_floors(tasks, raw, city.xy, asked.floors, asked.folds, asked.seeds))
    return Scored.joined(scored)
