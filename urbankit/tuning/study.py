"""A search over the values of a space: trials in a folder, by Optuna."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from urbankit.city.city import City
from urbankit.pipeline import stages
from urbankit.pipeline.resume import folder_lock
from urbankit.recipe.recipe import Recipe
from urbankit.registry.failure import explained
from urbankit.registry.recipes import find, shipped_with_origin
from urbankit.runs.manifest import recipe_hash
from urbankit.tuning.space import Space
from urbankit.tuning.trial import Pruned, check_tunable, run_trial, settings
from urbankit.utils.errors import Problem, UrbankitError, UserError
from urbankit.utils.files import hash_json, write_text
from urbankit.utils.locks import LOCKS
from urbankit.utils.progress import Progress

if TYPE_CHECKING:
    import optuna

STUDY, BEST = "study.db", "best.yaml"
STATES = {"COMPLETE": "done", "PRUNED": "stopped early", "FAIL": "failed", "RUNNING": "interrupted"}


@dataclass(frozen=True)
class TrialResult:
    """A trial of a search.

    Attributes:
        number: Its number, which is the name of its folder in `trials`.
        state: `done`, `stopped early`, `failed` or `interrupted`.
        value: Its score on the validation parts, None if it failed; of one that was stopped, that of the splits so far.
        values: Its values of the space, by key.
    """

    number: int
    state: str
    value: float | None
    values: dict[str, Any]


@dataclass(frozen=True)
class Tuned:
    """A search.

    Attributes:
        folder: Its folder.
        trials: The trials, the best first; those that are not done come last.
        best: The recipe of the best trial; None if no trial is done.
    """

    folder: Path
    trials: list[TrialResult]
    best: Path | None


def tune(
    recipe: str | Path,
    space: str | Path,
    out: str | Path | None = None,
    *,
    sets: Iterable[str] = (),
    seeds: Sequence[int] = (),
    trials: int = 20,
    timeout: float | None = None,
    progress: Progress | None = None,
) -> Tuned:
    """Search values of a recipe by their scores on the validation parts; a search in `out` goes on.

    Args:
        recipe: A recipe file, or the name of a shipped recipe.
        space: A space file: keys of the recipe, each with `{low, high, log, step}` or `{choices}`.
        out: The folder of the search; by default `runs/NAME-tune`.
        sets: Changes of the recipe, as `--set` takes them.
        seeds: The seeds of the splits that trials are scored on; by default those of the recipe.
        trials: How many trials the search has in the end, those of earlier calls included.
        timeout: Seconds after which no other trial is started; None for no limit.
        progress: Where progress is shown; nowhere by default.

    Returns:
        The trials, and `best.yaml`.

    Raises:
        UserError: The recipe or the space is wrong, Optuna is not installed, or the search in `out` had another recipe,
            space or city.
        RunError: The first trial failed.
    """
    optuna = _optuna()
    own, progress = tuple(sets), progress or Progress(quiet=True)
    used = (*own, f"evaluation.seeds={json.dumps(list(seeds))}") if seeds else own
    base = Recipe.load(recipe, used)
    check_tunable(base)
    searched = Space.read(Path(space), str(recipe), used)
    folder = Path(out) if out is not None else Path("runs") / f"{base.name}-tune"
    _check_folder(folder)
    with folder_lock(folder, "search"):
        city = stages.prepare_city(base, progress)
        study = _study(optuna, folder, base, searched, city)
        deadline = None if timeout is None else time.monotonic() + timeout
        while _finished(study) < trials and (deadline is None or time.monotonic() < deadline):
            _run_one(optuna, study, folder, searched, city, progress)
            _write_best(study, folder, searched, own)
        return Tuned(folder, _results(study, searched), _write_best(study, folder, searched, own))


def _optuna() -> Any:
    try:
        import optuna  # noqa: PLC0415 - optional
    except ImportError:
        raise UserError("tune needs the package optuna: pip install 'urbankit[tune]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _check_folder(folder: Path) -> None:
    """Raise `UserError` if the folder holds something else than a search."""
    if folder.is_dir() and not (folder / STUDY).is_file() and any(path.name not in LOCKS for path in folder.iterdir()):
        raise UserError(f"{folder}: is not empty and has no search ({STUDY}). Choose another --out.")


def _study(optuna: Any, folder: Path, recipe: Recipe, space: Space, city: City) -> optuna.Study:
    """Open the study of a folder, or create it. Raises `UserError` if it searched something else."""
    path = folder / STUDY
    facts = {
        "recipe": recipe_hash(recipe),
        "space": hash_json({key: values.model_dump() for key, values in space.keys.items()}),
        "city": city.content_hash,
    }
    try:
        storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
        pruner = optuna.pruners.MedianPruner(n_startup_trials=5)
        study = optuna.create_study(
            storage=storage, study_name="urbankit", direction="maximize", load_if_exists=True, pruner=pruner
        )
        # A search that goes on must not draw the values of its first trials again.
        study.sampler = optuna.samplers.TPESampler(seed=recipe.seed + len(study.trials))
        for name, value in facts.items():
            recorded = study.user_attrs.get(name, value)
            if recorded != value:
                raise UserError(f"{folder}: the search in it has another {name}; restore it, or choose another --out.")
            study.set_user_attr(name, value)
    except UrbankitError:
        raise
    except Exception as error:  # SQLAlchemy and Optuna have errors of their own
        message = f"is damaged or cannot be written ({str(error).splitlines()[0]}); choose another --out"
        raise UserError(Problem(message, path)) from None
    return study


def _finished(study: optuna.Study) -> int:
    return sum(trial.state.is_finished() for trial in study.trials)


def _run_one(optuna: Any, study: optuna.Study, folder: Path, space: Space, city: City, progress: Progress) -> None:
    """Run the trial that was interrupted, else a new one. An error is raised if no trial has succeeded before."""
    state = optuna.trial.TrialState
    interrupted = [one for one in study.trials if one.state == state.RUNNING]
    trial = optuna.trial.Trial(study, interrupted[0]._trial_id) if interrupted else study.ask()
    reported = set(interrupted[0].intermediate_values) if interrupted else set()
    values = space.draw(trial)

    def judge(number: int, mean: float) -> bool:
        if number not in reported:
            trial.report(mean, number)
        return bool(trial.should_prune())

    name = f"trial {trial.number}"
    progress.say(f"{name}: {settings(values)}")
    try:
        value = run_trial(space.resolved(values), city, folder / "trials" / f"{trial.number:03d}", progress, judge)
    except Pruned:
        study.tell(trial, state=state.PRUNED)
        progress.say(f"{name}: stopped early, as others were better after as many splits")
    except Exception as raised:
        error = explained(raised)
        if not isinstance(error, UrbankitError):  # an interruption, a full disk or a bug: the trial can go on
            raise
        study.tell(trial, state=state.FAIL)
        if not any(one.state in (state.COMPLETE, state.PRUNED) for one in study.trials):
            raise
        progress.say(f"{name}: failed: {error}")
    else:
        study.tell(trial, value)
        progress.say(f"{name}: {value:.4f}; best {study.best_value:.4f}")


def _results(study: optuna.Study, space: Space) -> list[TrialResult]:
    """The trials, the best first."""
    results = [
        TrialResult(
            trial.number, STATES.get(trial.state.name, trial.state.name), trial.value, _decoded(trial.params, space)
        )
        for trial in study.trials
    ]
    return sorted(results, key=lambda one: (one.state != "done", -(one.value if one.value is not None else -1e300)))


def _decoded(params: dict[str, Any], space: Space) -> dict[str, Any]:
    """The values of a trial; choices are stored as JSON."""
    return {
        key: json.loads(value) if isinstance(value, str) else value
        for key, value in params.items()
        if key in space.keys
    }


def _write_best(study: optuna.Study, folder: Path, space: Space, sets: Iterable[str]) -> Path | None:
    """Write the recipe of the best trial: the given one, with the changes of `--set` and the best values."""
    done = [one for one in _results(study, space) if one.state == "done"]
    if not done:
        return None
    best, path = done[0], find(space.recipe)
    recipe = replace(space, sets=tuple(sets)).resolved(best.values)
    values = recipe.model_dump(mode="json")  # its paths are absolute
    shipped = (name for name, _, file in shipped_with_origin() if file == path)
    keys: dict[str, Any] = {"extends": next(shipped, str(path.resolve())), "name": f"{recipe.name}-best"}
    for key in [*(change.partition("=")[0].strip() for change in sets), *best.values]:
        _put(keys, key.split("."), _get(values, key.split(".")))
    about = f"# Trial {best.number} of `urbankit tune`. Its score on the validation parts is {best.value:.4f}.\n"
    write_text(folder / BEST, about + yaml.safe_dump(keys, sort_keys=False, allow_unicode=True, width=110))
    return folder / BEST


def _get(values: Any, key: list[str]) -> Any:
    """The value at a key; None where a change has removed it."""
    for name in key:
        values = values.get(name) if isinstance(values, dict) else None
    return values


def _put(keys: dict[str, Any], key: list[str], value: Any) -> None:
    for name in key[:-1]:
        keys = keys.setdefault(name, {})
    keys[key[-1]] = value
