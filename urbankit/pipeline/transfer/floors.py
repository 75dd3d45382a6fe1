"""The floors of zero-shot predictions: what the source city's labels say without any learned representation."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np

from urbankit.city.city import City
from urbankit.city.raw_features import RawFeatures
from urbankit.evaluation.floors import evaluate_floors
from urbankit.evaluation.raw_features import build_raw_features
from urbankit.evaluation.splits import ALL, Split
from urbankit.evaluation.tasks import Scored, TaskData
from urbankit.pipeline.transfer.zero_shot import Splits, ZeroShot
from urbankit.recipe.recipe import Recipe
from urbankit.utils.progress import Progress


def carried_floors(
    seen: ZeroShot, city: City, recipe: Recipe, splits: Splits, progress: Progress | None = None
) -> Scored:
    """The recipe's floors but `location`, fitted to the labels that the heads see, and carried over to `city`.

    Their raw inputs are those of the same name in both cities. They are scored on the test parts of `splits`, and on
    all regions as `all`, under the names `floor:carried-NAME`.
    """
    names = [name for name in recipe.evaluation.floors if name != "location"]
    if not names or not seen.tasks:
        return Scored.joined([])
    raw = _shared(build_raw_features(seen.city, recipe), build_raw_features(city, recipe))
    tasks = {name: _both(task, seen.scored[name]) for name, task in seen.tasks.items()}
    n, everywhere = seen.n_source, np.arange(city.n_regions)
    both = {key: Split(one.train, one.validation, n + everywhere) for key, one in seen.splits.items()}
    fitted = evaluate_floors(tasks, raw, np.vstack([seen.city.xy, city.xy]), both, names, progress).predictions
    scored = []
    for key, rows in fitted.groupby(["task", "model", "split", "seed"], sort=False):
        name, floor, protocol, seed = cast(tuple[str, str, str, int], key)
        task, model = seen.scored[name], floor.replace("floor:", "floor:carried-")
        predicted = np.zeros(city.n_regions, dtype=task.y.dtype)
        predicted[rows["region"].to_numpy() - n] = rows["prediction"].to_numpy()
        parts = {protocol: splits[protocol, seed].of(task.labelled, name).test}
        if protocol == recipe.evaluation.splits[0]:
            parts[ALL] = np.flatnonzero(task.labelled)
        for part, regions in parts.items():
            records = task.records(model, part, seed, regions, predicted[regions])
            table = task.predictions(model, part, seed, {"test": regions}, predicted[regions])
            scored.append(Scored(records, table))
    return Scored.joined(scored)


def _shared(source: RawFeatures, own: RawFeatures) -> RawFeatures:
    """The rows of both, in the columns that both have and that do not describe one city alone.

    Values beyond all of the source's are cut to its range. A ridge runs away otherwise: the cells of Singapore's grid
    are of one area but for 0.03 %, and on New York's tracts its R² of population density was -4 million.
    """
    names = [name for name in own.names if name in source.names and name not in own.bound]
    theirs, ours = (one.values[:, [one.names.index(name) for name in names]] for one in (source, own))
    ours = np.clip(ours, np.fmin.reduce(theirs, axis=0), np.fmax.reduce(theirs, axis=0))
    return RawFeatures(np.vstack([theirs, ours]), tuple(names))


def _both(source: TaskData, scored: TaskData) -> TaskData:
    """`scored` with the source's regions and labels before its own, in its codes of classes."""
    n = len(source.y) - len(scored.y)
    theirs = source.y[:n]
    if source.classes:
        codes = np.array([*(scored.classes.index(name) for name in source.classes), -1], dtype=np.int64)
        theirs = codes[theirs]
    return replace(
        scored,
        y=np.concatenate([theirs, scored.y]),
        labelled=np.concatenate([source.labelled[:n], scored.labelled]),
    )
