"""The protocol of the region-graph papers: a fixed probe on the frozen embedding, over folds in the regions' order.

A regression target is predicted by ridge regression with a fixed penalty, each fold from the others, and scored once on
the predictions of all folds together (pooled); so are the log-ratios of a distribution. The mean over folds of each
fold's own R² is recorded beside it, since both are called R² in print and differ: where folds differ in level, the
pooled truth varies more than that of a fold. A classification target is not predicted: k-means finds as many clusters
as there are classes, without labels.

This is what MVURE (Zhang et al., 2020), MGFN (Wu et al., 2022) and HREP (Zhou et al., 2023) report; ridge with α = 1,
`KFold(5)` without shuffling and predictions cut at 0 as in HREP's released `task.py`. Nothing is held out to choose by.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.linear_model import Ridge, RidgeCV

from urbankit.city.raw_features import RawFeatures
from urbankit.evaluation.floors import FLOORS, Candidate, Case, Inputs, forest, location, mean, one_column
from urbankit.evaluation.metrics import FOLD_MEAN, has_fold_mean, score
from urbankit.evaluation.ridge import ALPHAS
from urbankit.evaluation.splits import ProbeProtocol, Split
from urbankit.evaluation.tasks import Scored, TaskData
from urbankit.recipe.schema import Evaluation, Folds
from urbankit.utils.errors import Problems

Predict = Callable[[Split], NDArray[np.float64]]
"""Predictions for the test part of a split, from the labels of its training part."""


FOLDS = "folds"
"""The name of the protocol in records."""


class FoldsProtocol(ProbeProtocol):
    """A fixed probe on the frozen embedding, over folds in the regions' order; it has no validation part.

    Its settings are those of `evaluation.folds`.
    """

    needs_location = False
    tested_on = "each region in turn"

    division = (
        "a fixed probe on the frozen embedding, each fold predicted from the others; every region is tested, and "
        "there is no validation part"
    )
    reading = (
        "Folds: ridge regression (α = {evaluation.folds.alpha:g}) on the frozen embedding, {evaluation.folds.number} "
        "folds in the order of the regions, no fine-tuning. Pooled R² is computed from the predictions of all folds "
        "together, fold-mean R² is the mean over folds. Classes are clustered by k-means; the deviation is over its "
        "seeds."
    )

    def check(self, tasks: Mapping[str, TaskData], evaluation: Evaluation) -> None:
        check_folds(tasks, evaluation.folds)

    def score(
        self, model: str, embeddings: NDArray[np.float64], tasks: Mapping[str, TaskData], evaluation: Evaluation
    ) -> Scored:
        return evaluate_folds(model, embeddings, tasks, evaluation.folds, evaluation.seeds)

    def score_floors(
        self, tasks: Mapping[str, TaskData], raw: RawFeatures, xy: NDArray[np.float64] | None, evaluation: Evaluation
    ) -> Scored:
        return evaluate_fold_floors(tasks, raw, xy, evaluation.floors, evaluation.folds, evaluation.seeds)

    def summary(self, evaluation: Evaluation) -> str:
        folds = evaluation.folds
        return f"ridge, α = {folds.alpha:g}, {folds.number} folds; k-means for classes"


def evaluate_folds(
    model: str, embeddings: NDArray[np.float64], tasks: Mapping[str, TaskData], folds: Folds, seeds: Sequence[int]
) -> Scored:
    """Score frozen `embeddings` [N, d] as they are, unscaled, on every task.

    Ridge has no random choice and is recorded once, under the first of `seeds`; k-means once a seed.
    """
    x = np.asarray(embeddings, dtype=np.float64)
    return Scored.joined(
        _clustered(model, task, x, folds, seeds)
        if task.classes
        else _predicted(model, task, partial(_ridge, x, task, folds), folds, seeds[0])
        for task in tasks.values()
    )


def evaluate_fold_floors(
    tasks: Mapping[str, TaskData],
    raw: RawFeatures,
    xy: NDArray[np.float64] | None,
    floors: Sequence[str],
    folds: Folds,
    seeds: Sequence[int],
) -> Scored:
    """The floors under the same protocol, fitted to regression targets in their own units.

    They read the features of all regions, as an embedding does: these are standardised over all labelled regions,
    without labels. If only the training part standardised them, one outlier in the test part (trips within one region
    of Manhattan) would reduce R² to -9. Ridge regression chooses its penalty for each fold by leave-one-out over the
    training part, because input features have no scale that a fixed penalty could refer to: in Manhattan α = 1 reduces
    R² from 0.86 to 0.56. The others choose nothing.

    The classes of a classification are clustered by k-means: on the centres of regions for floors that read these, and
    on the input features (`raw-kmeans`) for floors that read features.
    """

    def of_task(task: TaskData) -> Iterator[Scored]:
        labelled = np.flatnonzero(task.labelled)
        inputs = Inputs(raw, xy, Split(labelled, labelled[:0], labelled[:0]))
        if task.classes:
            for name, table in _to_cluster(inputs, floors).items():
                yield _clustered(f"floor:{name}", task, table, folds, seeds)
            return
        for name in floors:
            if name in BY_FOLDS:
                predict = partial(_floor, BY_FOLDS[name], task, inputs)
                yield _predicted(f"floor:{name}", task, predict, folds, seeds[0])

    return Scored.joined(scored for task in tasks.values() for scored in of_task(task))


def check_folds(tasks: Mapping[str, TaskData], folds: Folds) -> None:
    """Raise `UserError` for every task with too few labelled regions for the folds."""
    problems = Problems()
    for name, task in tasks.items():
        labelled = int(task.labelled.sum())
        if labelled < folds.number:
            problems.add(
                f"{labelled} labelled regions cannot make {folds.number} folds; lower evaluation.folds.number",
                key=f"tasks.{name}",
            )
    problems.raise_if_any()


def make_folds(labelled: NDArray[np.bool_], number: int) -> list[Split]:
    """The labelled regions (bool [N]) cut into `number` runs in their order, each the test part of one split.

    As scikit-learn's `KFold(number)` over the labelled regions; the validation parts are empty.
    """
    parts = np.array_split(np.flatnonzero(labelled), number)
    nothing = np.empty(0, dtype=np.int64)
    return [Split(np.concatenate(parts[:k] + parts[k + 1 :]), nothing, test) for k, test in enumerate(parts)]


def _predicted(model: str, task: TaskData, predict: Predict, folds: Folds, seed: int) -> Scored:
    """Metrics of the predictions of all folds together, and the mean of the folds' own values of some."""
    splits = make_folds(task.labelled, folds.number)
    predictions = [_clipped(predict(split), task.y[split.train], folds.clip) for split in splits]
    parts = {str(k): split.test for k, split in enumerate(splits)}
    regions, pooled = np.concatenate(list(parts.values())), np.concatenate(predictions)
    records = task.records(model, FOLDS, seed, regions, pooled)
    by_fold = [score(task.kind, task.y[s.test], p) for s, p in zip(splits, predictions, strict=True)]
    means = {name: float(np.mean([fold[name] for fold in by_fold])) for name in by_fold[0] if has_fold_mean(name)}
    records += task.scores(model, FOLDS, seed, {f"{name}{FOLD_MEAN}": mean for name, mean in means.items()})
    return Scored(records, task.predictions(model, FOLDS, seed, parts, pooled))


def _clipped(prediction: NDArray, train: NDArray, clip: bool) -> NDArray:
    return np.maximum(prediction, 0.0) if clip and train.min() >= 0 else prediction


def _clustered(model: str, task: TaskData, x: NDArray[np.float64], folds: Folds, seeds: Sequence[int]) -> Scored:
    """k-means on the rows of `x` [N, d] that have a label; a cluster is no prediction, so there are none."""
    rows, truth = x[task.labelled], task.y[task.labelled]
    records = []
    for seed in seeds:
        clusters = KMeans(len(task.classes), n_init=folds.starts, random_state=seed).fit_predict(rows)
        records += task.scores(model, FOLDS, seed, score("clustering", truth, clusters))
    return Scored(records, pd.DataFrame())


def _ridge(x: NDArray[np.float64], task: TaskData, folds: Folds, split: Split) -> NDArray[np.float64]:
    form = task.form(split.train, "none")
    ridge = Ridge(folds.alpha).fit(x[split.train], one_column(form.columns(task.y[split.train])))
    return form.predicted(ridge.predict(x[split.test]).reshape(len(split.test), -1))


def _floor(floor: Callable[[Case], NDArray[Any]], task: TaskData, inputs: Inputs, split: Split) -> NDArray[np.float64]:
    return floor(Case(task, split, inputs))


def _fitted(case: Case, model: Any) -> NDArray[np.float64]:
    candidate = Candidate(model)
    case.fit(candidate)
    return case.predict(candidate)


BY_FOLDS: dict[str, Callable[[Case], NDArray[Any]]] = {
    "mean": mean,
    "location": location,
    "raw-ridge": lambda case: _fitted(case, RidgeCV(alphas=ALPHAS)),
    "raw-forest": lambda case: _fitted(case, forest(case)),
}
"""How floors predict a fold. The others choose their settings on a validation part or on folds of their own."""


def _to_cluster(inputs: Inputs, floors: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Return the tables that floors cluster, by the name of the floor in results."""
    tables = {}
    for name in floors:
        if "features" in FLOORS[name].reads:
            tables["raw-kmeans"] = inputs.scaled
        elif "location" in FLOORS[name].reads and inputs.xy is not None:
            tables[name] = inputs.xy
    return tables
