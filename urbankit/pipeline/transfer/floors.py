"""The floors of a zero-shot transfer: predictions from labels of the source city, without representation learning."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from urbankit.city.city import City
from urbankit.city.raw_features import RawFeatures
from urbankit.evaluation.floors import CARRIED, FLOORS, evaluate_floors
from urbankit.evaluation.raw_features import build_raw_features
from urbankit.evaluation.splits import ALL, Split
from urbankit.evaluation.tasks import PREDICTION_SHARE, Scored, TaskData
from urbankit.pipeline.transfer.zero_shot import Splits, ZeroShot
from urbankit.recipe.recipe import Recipe
from urbankit.utils.names import match_names
from urbankit.utils.progress import Progress


def carried_floors(
    zero_shot: ZeroShot, city: City, recipe: Recipe, splits: Splits, progress: Progress | None = None
) -> Scored:
    """Score the floors of the recipe that need no location, fitted to the labels of the source city.

    They read the features that have the same name in both cities. They are scored on the test regions of `splits`, and
    on all labelled regions as `all`, under the names `floor:carried-NAME`.
    """
    names = [name for name in recipe.evaluation.floors if not FLOORS[name].needs_location]
    if not names or not zero_shot.tasks:
        return Scored.joined([])
    of_source, of_city = build_raw_features(zero_shot.city, recipe), build_raw_features(city, recipe)
    features = shared_features(of_source, of_city, zero_shot.statistics)
    groups = {protocol: zero_shot.groups(protocol, city.n_regions) for protocol, _ in zero_shot.splits}
    tasks = {name: _with_both_labels(task, zero_shot.scored[name]) for name, task in zero_shot.tasks.items()}
    n, all_regions = zero_shot.n_source, np.arange(city.n_regions)
    both = {key: Split(split.train, split.validation, n + all_regions) for key, split in zero_shot.splits.items()}
    fitted = evaluate_floors(tasks, features, None, both, names, progress, groups).predictions
    scored = []
    for key, rows in fitted.groupby(["task", "model", "split", "seed"], sort=False):
        name, floor, protocol, seed = cast(tuple[str, str, str, int], key)
        task, model = zero_shot.scored[name], floor.replace("floor:", f"floor:{CARRIED}")
        columns = [f"{PREDICTION_SHARE}{part}" for part in task.parts] or ["prediction"]
        predicted = np.zeros((city.n_regions, *task.y.shape[1:]), dtype=task.y.dtype)
        of_rows = rows[columns].to_numpy(np.float64).reshape(len(rows), *task.y.shape[1:])
        predicted[rows["region"].to_numpy() - n] = of_rows
        tested = {protocol: splits[protocol, seed].of(task.labelled, name).test}
        if protocol == recipe.evaluation.splits[0]:
            tested[ALL] = np.flatnonzero(task.labelled)
        for split, regions in tested.items():
            records = task.records(model, split, seed, regions, predicted[regions])
            table = task.predictions(model, split, seed, {"test": regions}, predicted[regions])
            scored.append(Scored(records, table))
    return Scored.joined(scored)


def shared_features(
    source: RawFeatures, target: RawFeatures, statistics: Literal["source", "own"] = "source"
) -> RawFeatures:
    """The rows of both cities, in the columns that both have and that have the same meaning in both.

    With the statistics `own`, columns of the target city get the mean and standard deviation of the source city.

    Values of the target city are clipped to the range of the source city. Without this, a ridge regression
    extrapolates without bound: the areas of the cells of Singapore's grid differ by 0.03 % only, and its R² of
    population density on New York's tracts was -4 million.
    """
    names = match_names((name for name in target.names if name not in target.bound), source.names)
    before, shared = source.columns(list(names.values())).values, target.columns(list(names))
    after = shared.values
    if statistics == "own":
        (mean, std), (new_mean, new_std) = (_mean_and_std(values) for values in (after, before))
        after = (after - mean) / std * new_std + new_mean
    after = np.clip(after, np.fmin.reduce(before, axis=0), np.fmax.reduce(before, axis=0))
    return replace(shared, values=np.vstack([before, after]))


def _mean_and_std(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of the values that are not missing, [F]; of a column without any 0 and 1."""
    masked = np.ma.masked_invalid(values)
    std = masked.std(axis=0).filled(1.0)
    return masked.mean(axis=0).filled(0.0), np.where(std > 1e-12, std, 1.0)


def _with_both_labels(source: TaskData, scored: TaskData) -> TaskData:
    """`scored` with the regions and labels of the source city before its own, in its class indices."""
    n = len(source.y) - len(scored.y)
    labels = source.y[:n]
    if source.classes:
        codes = np.array([*(scored.classes.index(name) for name in source.classes), -1], dtype=np.int64)
        labels = codes[labels]
    return replace(
        scored,
        y=np.concatenate([labels, scored.y]),
        labelled=np.concatenate([source.labelled[:n], scored.labelled]),
    )
