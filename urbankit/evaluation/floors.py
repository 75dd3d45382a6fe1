"""The floors: predictions without representation learning, from the same labels and splits as the method."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import joblib
import numpy as np
import sklearn
import torch
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.utils.class_weight import compute_sample_weight

from urbankit.city.raw_features import RawFeatures
from urbankit.evaluation.means import Means
from urbankit.evaluation.metrics import higher_is_better, score_one
from urbankit.evaluation.ridge import ALPHAS
from urbankit.evaluation.shares import ShareTransform
from urbankit.evaluation.splits import Split
from urbankit.evaluation.tasks import Scored, TaskData
from urbankit.evaluation.transforms import LOGARITHMS, TargetTransform
from urbankit.heads.gp import GP
from urbankit.heads.stacking.features import Scaler, Table
from urbankit.heads.stacking.super_learner import Features, SuperLearner
from urbankit.utils.cache import read_entry, write_entry
from urbankit.utils.errors import UserError, suggest
from urbankit.utils.files import cache_folder, hash_json
from urbankit.utils.progress import Progress
from urbankit.utils.standardise import standardised

NEIGHBOURS = 5
TREES = 100
LEAF = 3
"""Fewest training regions in a leaf of a regression tree: R² as with 1 (within 0.007 in New York), a fifth faster."""
INPUTS_A_SPLIT = 150
"""Most inputs tried at a split of a regression tree. Half of Shenzhen's 303 took half the time of all of them, with R²
between 0.01 below and 0.03 above (60 trees, two seeds)."""
TREES_TO_CHOOSE = 30
"""With more training regions than `ROWS_A_TREE`, the trees of each candidate before one is chosen and grown further."""
ROWS_A_TREE = 5_000
"""A tree is grown on a sample of at most this many training regions, so that its time does not grow with the city."""
PROCESS: dict[str, Any] = {"steps": 25, "learning_rate": 0.2}
"""Settings of the head `gp` in `raw-gp`: half the time of its defaults, and R² within 0.02 of theirs in New York."""
VERSION = 14
"""Part of every cache key: raise it when a floor computes something else."""


def evaluate_floors(
    tasks: Mapping[str, TaskData],
    raw: RawFeatures,
    xy: NDArray[np.float64] | None,
    splits: Mapping[tuple[str, int], Split],
    floors: Sequence[str],
    progress: Progress | None = None,
    groups: Mapping[str, NDArray[np.int64] | None] | None = None,
) -> Scored:
    """Fit and score `floors` on every task and every split, keyed by (protocol, seed).

    A floor is fitted to the training part, and its settings are chosen on the validation part. The labels of the test
    part are used for scoring only. Floors do not depend on the method, so the cache folder stores them by content.

    Args:
        tasks: the labels by task.
        raw: the input features of N regions.
        xy: their centres in metres, [N, 2]; None where they are not of one city.
        splits: training, validation and test regions.
        floors: names, in the order of the results.
        progress: where progress is shown.
        groups: by protocol, the group of each region that the protocol keeps together, [N] (`split_groups`).
    """
    check_names(floors)
    scored = []
    progress = Progress(quiet=True) if progress is None else progress
    data = {"features": digest(raw.values), "sources": raw.blocks, "location": "" if xy is None else digest(xy)}
    with progress.stage("floors", total=len(splits) * len(tasks) * len(floors)) as stage:
        for (protocol, seed), split in splits.items():
            inputs = Inputs(raw, xy, split, (groups or {}).get(protocol))
            data["groups"] = "" if inputs.groups is None else digest(inputs.groups)
            for task in tasks.values():
                case = Case(task, split.of(task.labelled, task.name), inputs)
                for floor in floors:
                    prediction, model = _cached_prediction(floor, case, data), f"floor:{floor}"
                    records = task.records(model, protocol, seed, case.split.test, prediction)
                    table = task.predictions(model, protocol, seed, {"test": case.split.test}, prediction)
                    scored.append(Scored(records, table))
                    stage.advance()
    return Scored.joined(scored)


def check_names(floors: Sequence[str]) -> None:
    """Raise `UserError` if there is no floor of one of the names."""
    for floor in floors:
        if floor not in FLOORS:
            raise UserError(f"unknown floor '{floor}'.{suggest(floor, FLOORS)}")


@dataclass(frozen=True)
class Inputs:
    """The features that floors predict from, on one split of all regions."""

    raw: RawFeatures
    xy: NDArray[np.float64] | None
    split: Split
    groups: NDArray[np.int64] | None = None

    @cached_property
    def scaled(self) -> NDArray[np.float64]:
        """Raw inputs [N, F] without missing values, standardised by the training part."""
        filled = self.raw.filled(self.split.train)
        return standardised(filled, filled[self.split.train])

    def features(self, regions: NDArray[np.int64]) -> Features:
        """What a super learner reads of `regions`."""
        tables = {"features": Table(self.raw.values[regions], self.raw.blocks)}
        return Features(tables, None if self.xy is None else self.xy[regions])


@dataclass(frozen=True)
class Candidate:
    """A scikit-learn model to choose from, with the transform of its target, or with balanced classes."""

    model: Any
    transform: str = "none"
    balanced: bool = False


@dataclass(frozen=True)
class Case:
    """The data of one fit: a task, its labelled regions in each part of one split, and the features."""

    task: TaskData
    split: Split
    inputs: Inputs

    @property
    def one_class(self) -> bool:
        """Whether the training part has one class only, so that there is nothing to fit."""
        y = self.task.y[self.split.train]
        return bool(self.task.classes) and y.min() == y.max()

    @property
    def transforms(self) -> tuple[str, ...]:
        """The forms of a regression target to choose from. Standardising changes no floor, so it is not among them."""
        return ("none", self.task.transform) if self.task.transform in LOGARITHMS else ("none",)

    def fitted(self, transform: str) -> TargetTransform | ShareTransform:
        return self.task.form(self.split.train, transform)

    def fit(self, candidate: Candidate) -> None:
        """Fit to the training part."""
        y = self.task.y[self.split.train]
        weight = compute_sample_weight("balanced", y) if candidate.balanced else None
        target = y if self.task.classes else one_column(self.fitted(candidate.transform).columns(y))
        # Threads that grow a forest race for the list of warning filters and may leave it empty for good.
        with warnings.catch_warnings():
            candidate.model.fit(self.inputs.scaled[self.split.train], target, sample_weight=weight)

    def predict(self, candidate: Candidate, part: str = "test") -> NDArray:
        """Predictions for a part, in the target's own units."""
        return self.means(lambda of: self._predict(candidate, of), candidate.transform, part)

    def means(self, predict: Callable[[str], NDArray], transform: str, part: str = "test") -> NDArray:
        """What `predict` returns for a part; means if the target is learned in logarithms (`Means`).

        The labels of the validation part give their factor. With few labels there is no validation part, and the
        predictions stay as they are.
        """
        predicted = predict(part)
        if transform not in LOGARITHMS or not len(self.split.validation):
            return predicted
        validation = predicted if part == "validation" else predict("validation")
        return Means.fit(self.task, self.split.validation, validation)(predicted)

    def _predict(self, candidate: Candidate, part: str) -> NDArray:
        # Threads add up the predictions of a forest's trees in any order, which changes the last bit.
        with joblib.parallel_config(backend="sequential"):
            predicted = candidate.model.predict(self.inputs.scaled[getattr(self.split, part)])
        if self.task.classes:
            return predicted
        return self.fitted(candidate.transform).predicted(predicted.reshape(len(predicted), -1))

    def choose(self, candidates: Sequence[Candidate]) -> Candidate:
        """Return the fitted candidate that scores best on the validation part; the first of equal ones."""
        best, chosen = -np.inf, candidates[0]
        for candidate in candidates:
            self.fit(candidate)
            value = self.validated(self.predict(candidate, "validation"))
            if value > best:
                best, chosen = value, candidate
        return chosen

    def validated(self, prediction: NDArray[Any]) -> float:
        """How good a prediction of the validation part is; larger is better."""
        truth = self.task.y[self.split.validation]
        value = score_one(self.task.metric, self.task.kind, truth, prediction)
        if np.isnan(value):  # R² of a validation part in which all values are the same
            return -float(np.mean((prediction - truth) ** 2))
        return value if higher_is_better(self.task.metric) else -value


def one_column(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return columns [n, outputs] as scikit-learn takes them: a single one as [n]."""
    return values[:, 0] if values.shape[1] == 1 else values


def mean(case: Case) -> NDArray:
    """The mean of the training part, or its majority class."""
    y = case.task.y[case.split.train]
    value = np.bincount(y).argmax() if case.task.classes else y.mean(axis=0)
    return np.full((len(case.split.test), *y.shape[1:]), value)


def location(case: Case) -> NDArray:
    """The mean, or the majority, of the five nearest training regions by distance between centres."""
    estimator = KNeighborsClassifier if case.task.classes else KNeighborsRegressor
    train, xy = case.split.train, case.inputs.xy
    assert xy is not None  # callers leave this floor out otherwise
    model = estimator(n_neighbors=min(NEIGHBOURS, len(train)))
    predicted = model.fit(xy[train], case.task.y[train]).predict(xy[case.split.test])
    return case.task.without_zeros(train, predicted)


def raw_ridge(case: Case) -> NDArray:
    """Return predictions of ridge regression or a ridge classifier; the validation part chooses the penalty.

    It also chooses whether classes are balanced, and whether the target is learned as a logarithm if the task does so.
    """
    if case.one_class:
        return mean(case)
    if case.task.classes:
        candidates = [Candidate(RidgeClassifier(a), balanced=b) for b in (False, True) for a in ALPHAS]
    else:
        candidates = [Candidate(Ridge(a), transform) for transform in case.transforms for a in ALPHAS]
    return case.predict(case.choose(candidates))


def raw_forest(case: Case) -> NDArray:
    """Return predictions of a random forest of 100 trees.

    The validation part chooses whether classes are balanced, and whether the target is learned as a logarithm if the
    task does so. Regression trees try up to 150 features at every split. With a third of the features, R² falls from
    0.78 to 0.73 for population density in New York (spatial split) and from 0.97 to 0.94 for PM2.5 in Singapore
    (random split).
    """
    many = len(case.split.train) > ROWS_A_TREE
    trees = TREES_TO_CHOOSE if many else TREES
    if case.task.classes:
        candidates = [Candidate(forest(case, trees), balanced=b) for b in (False, True)]
    else:
        candidates = [Candidate(forest(case, trees), transform) for transform in case.transforms]
    if many and len(candidates) == 1:
        return _grown(case, candidates[0])
    chosen = case.choose(candidates)
    return _grown(case, chosen) if many else case.predict(chosen)


def _grown(case: Case, candidate: Candidate) -> NDArray:
    """Predictions of a candidate's forest with the trees that it lacks; its first ones stay, if it has any."""
    candidate.model.set_params(n_estimators=TREES, warm_start=True)
    case.fit(candidate)
    return case.predict(candidate)


def forest(case: Case, trees: int | None = None) -> RandomForestClassifier | RandomForestRegressor:
    """The forest of `raw_forest`, not yet fitted, or one of another number of trees."""
    train = case.split.train
    settings: dict[str, Any] = {
        "n_estimators": trees or TREES,
        "max_samples": None if len(train) <= ROWS_A_TREE else ROWS_A_TREE / len(train),
        "n_jobs": -1,
        "random_state": 0,
    }
    if case.task.classes:
        return RandomForestClassifier(**settings)
    inputs = min(INPUTS_A_SPLIT, case.inputs.scaled.shape[1])
    return RandomForestRegressor(min_samples_leaf=LEAF, max_features=inputs, **settings)


def raw_gp(case: Case) -> NDArray[Any]:
    """The head `gp` on the input features, with a length scale for each source.

    The validation part chooses whether the kernel has linear terms.
    """
    if case.one_class:
        return mean(case)
    train, y = case.split.train, case.task.y[case.split.train]
    table = Table(case.inputs.raw.values[case.inputs.split.train], case.inputs.raw.blocks)
    scaler = Scaler(table)
    x = torch.from_numpy(scaler.scaled(case.inputs.raw.values))
    transform = None if case.task.classes else case.fitted(case.task.transform)
    labels = torch.from_numpy(np.eye(case.task.outputs)[y] if transform is None else transform.columns(y))
    predictions = []
    for linear in (False, True):
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(0)
            head = GP(GP.Params(linear=linear, **PROCESS), x.shape[1], case.task.outputs)
            head.fit_values(x[train], labels, scaler.blocks)
            outputs = {part: head(x[getattr(case.split, part)]).numpy() for part in ("validation", "test")}
        predictions.append([_own_units(case, outputs, transform, part) for part in outputs])
    return max(predictions, key=lambda predicted: case.validated(predicted[0]))[1]


def _own_units(
    case: Case,
    outputs: Mapping[str, NDArray[np.float64]],
    transform: TargetTransform | ShareTransform | None,
    part: str,
) -> NDArray[Any]:
    """Classes, or predictions in the target's units, of learned outputs [n, outputs] of a part."""
    if transform is None:
        return outputs[part].argmax(axis=1)
    return case.means(lambda of: transform.predicted(outputs[of]), case.task.transform, part)


def raw_stack(case: Case) -> NDArray[Any]:
    """The head `stack` without an embedding: on the input features and the coordinates."""
    train, inputs = case.split.train, case.inputs
    y = case.task.y[train]
    groups = None if inputs.groups is None else inputs.groups[train]
    fit = partial(SuperLearner, inputs.features(train), groups=groups)
    if case.task.classes:
        learner = fit(np.eye(case.task.outputs)[y], classified=True)
        return learner.logits(learner.predict(inputs.features(case.split.test))).argmax(axis=1)
    transform = case.fitted(case.task.transform)
    own = transform if isinstance(transform, TargetTransform) else None  # a coordinate has no other units
    learners = [fit(column[:, None], classified=False, transform=own) for column in transform.columns(y).T]

    def predict(part: str) -> NDArray[np.float64]:
        features = inputs.features(getattr(case.split, part))
        return transform.predicted(np.hstack([learner.predict(features) for learner in learners]))

    return case.means(predict, case.task.transform)


@dataclass(frozen=True)
class Floor:
    """A floor, and what its predictions depend on beside the labels and the split.

    Attributes:
        predict: returns predictions for the test part.
        reads: `features`, `sources` (which features are of one source), `location`, `groups` (of a protocol).
        needs_location: whether it cannot predict without the centres of regions, which two cities do not share.
        title: what it is, in the words of a report.
    """

    predict: Callable[[Case], NDArray[Any]]
    reads: tuple[str, ...] = ()
    needs_location: bool = False
    title: str = ""


CARRIED = "carried-"
"""What the name of a floor starts with that was fitted to the labels of another city."""

FLOORS: dict[str, Floor] = {
    "mean": Floor(mean, title="mean of the labels"),
    "location": Floor(location, ("location",), needs_location=True, title="nearest regions"),
    "raw-ridge": Floor(raw_ridge, ("features",), title="ridge"),
    "raw-forest": Floor(raw_forest, ("features",), title="random forest"),
    "raw-gp": Floor(raw_gp, ("features", "sources"), title="Gaussian process"),
    "raw-stack": Floor(raw_stack, ("features", "sources", "location", "groups"), title="super learner"),
}


def _cached_prediction(name: str, case: Case, data: Mapping[str, Any]) -> NDArray:
    """Return the test predictions of a floor, from the cache folder if they are there."""
    task, split, floor = case.task, case.inputs.split, FLOORS[name]
    arrays = [digest(array) for array in (task.y, split.train, split.validation, split.test)]
    read = [data[part] for part in floor.reads]
    facts = [VERSION, sklearn.__version__, name, task.kind, task.transform, read, *arrays]
    return cached_array(facts, lambda: floor.predict(case))


def cached_array(facts: Sequence[Any], compute: Callable[[], NDArray[Any]]) -> NDArray[Any]:
    """Return what `compute` returns, from the cache folder if it is there; `facts` are all that it depends on."""
    path = cache_folder() / "floors" / f"{hash_json(list(facts))}.npy"
    content = read_entry(path)
    if content is not None:
        return np.load(io.BytesIO(content), allow_pickle=False)
    array, stream = compute(), io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    write_entry(path, stream.getvalue())
    return array


def digest(array: NDArray[Any]) -> str:
    """Return a hash of the values, type and shape of an array."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest() + f"{array.dtype}{array.shape}"
