"""The members of a stack: each is fitted to all training regions, and predicts each fold from the other folds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from sklearn.base import clone
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)

from urbankit.heads.averaged_kriging import AveragedKriging, Points, typical_spacing
from urbankit.heads.averaged_ridge import AveragedRidge
from urbankit.heads.gp import GP
from urbankit.heads.prior import Prior
from urbankit.heads.stacking.features import BINS, Array

Predict = Callable[[Array], Array]
"""Returns predictions [m, outputs] for rows [m, features]."""

PENALTIES = 10.0 ** np.arange(-1, 6.5, 0.5)
FOREST_TREES = 20
"""Trees of the forest of each fold; a prediction is the mean over the folds."""
ROWS_A_TREE = 5_000
BOOSTED: dict[str, Any] = {"max_leaf_nodes": 8, "max_bins": BINS, "early_stopping": False}
BOOSTED_COLUMNS = 32
"""Boosting takes as long to read a column as to grow several trees on it."""
PROCESS = GP.Params(steps=30, learning_rate=0.2, search_points=300, max_points=2000, beyond="sample")
KRIGING_POINTS = 1000
SMOOTHERS = tuple((neighbours, power) for neighbours in (3, 5, 10, 20, 40) for power in (0, 1, 2))


@dataclass(frozen=True)
class Training:
    """The labels that members are fitted to.

    Attributes:
        y: learned form of the target, [n, 1], or a column of 0 and 1 for each class, [n, classes].
        folds: the inner fold of each region, int64 [n].
        classified: whether the columns of `y` are classes.
        seed: decides every random choice.
    """

    y: Array
    folds: NDArray[np.int64]
    classified: bool
    seed: int


Fit = Callable[[Array, Training], "Fitted"]
"""Fits a member to rows [n, features]."""


class Fitted(NamedTuple):
    """A fitted member.

    Attributes:
        held_out: predictions of the training regions, each from the other folds, [n, outputs].
        predict: predictions of the member that is fitted to all training regions.
    """

    held_out: Array
    predict: Predict


def approximations(n: int) -> list[str]:
    """Return sentences on what the members sample of n training regions."""
    sentences = GP.approximations(PROCESS, n)
    if n > ROWS_A_TREE:
        sentences.append(f"each tree of a forest reads {ROWS_A_TREE:,} of {n:,} training regions, drawn at random")
    return sentences


def mean(x: Array, training: Training) -> Fitted:
    """The mean of the training regions, or the shares of the classes."""
    held_out = np.empty_like(training.y)
    for train, test in _folds(training):
        held_out[test] = training.y[train].mean(axis=0)
    return Fitted(held_out, constant(training.y.mean(axis=0)))


def ridge(x: Array, training: Training) -> Fitted:
    """Ridge regression, of indicators for classes; the folds choose its penalty."""
    held_out, path = fit_ridge(x, training)
    return Fitted(held_out, lambda new: path(new)[0])


def fit_ridge(x: Array, training: Training) -> tuple[Array, RidgePath]:
    """Return the held-out predictions [n, outputs] of the best penalty, and the regression on all regions with it."""
    held_out = np.empty((len(PENALTIES), *training.y.shape))
    for train, test in _folds(training):
        held_out[:, test] = ridge_path(x[train], training.y[train], PENALTIES)(x[test])
    best = _best(held_out, training)
    return held_out[best], ridge_path(x, training.y, PENALTIES[best : best + 1])


def from_prior(x: Array, training: Training, prior: Prior) -> Fitted:
    """`level + slope · p` of a prior, of which `x` has the columns."""
    return _refitted(x, training, lambda x, y: regression_from(x, y, prior))


def regression_from(x: Array, y: Array, prior: Prior) -> Predict:
    """The same, fitted to all rows of `x` and `y`, [n, outputs] both."""
    model = AveragedRidge.fit(np.empty((len(x), 0)), y, replace(prior, columns=x))
    return lambda new: model.predict(np.empty((len(new), 0)), replace(prior, columns=new))


def kriging(
    x: Array, training: Training, prior: Prior, blocks: Sequence[int], located: bool, spacing: float | None
) -> Fitted:
    """The head `kriging`.

    Args:
        x: The columns of the prior, the coordinates if `located`, and features; [n, outputs + 2 + features].
        training: The labels.
        prior: The prior.
        blocks: Widths of the blocks of the features.
        located: Whether there are coordinates.
        spacing: As in `RegionData`.
    """
    outputs, width = training.y.shape[1], sum(blocks)
    metres = spacing or (typical_spacing(x[:, outputs : outputs + 2]) if located else 1.0)

    def split(rows: Array) -> tuple[Points, Prior]:
        xy = rows[:, outputs : outputs + 2] if located else None
        points = Points.of(torch.from_numpy(rows[:, rows.shape[1] - width :]), blocks, xy, metres)
        return points, replace(prior, columns=rows[:, :outputs])

    def fit(rows: Array, y: Array) -> Predict:
        points, of_rows = split(rows)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(training.seed)
            model = AveragedKriging.fit(points, y, of_rows, KRIGING_POINTS)
        return lambda new: model.predict(*split(new)).numpy()

    return _refitted(x, training, fit)


def _refitted(x: Array, training: Training, fit: Callable[[Array, Array], Predict]) -> Fitted:
    """A member that is fitted without each fold, and to all rows."""
    held_out = np.empty_like(training.y)
    for train, test in _folds(training):
        held_out[test] = fit(x[train], training.y[train])(x[test])
    return Fitted(held_out, fit(x, training.y))


def smoother(xy: Array, training: Training) -> Fitted:
    """Mean of the nearest training regions. The folds choose how many, and the power of the distance in the weights."""
    held_out = np.empty((len(SMOOTHERS), *training.y.shape))
    for train, test in _folds(training):
        held_out[:, test] = _smooth(xy[train], training.y[train], xy[test], SMOOTHERS)
    best = _best(held_out, training)
    y = training.y
    return Fitted(held_out[best], lambda new: _smooth(xy, y, new, SMOOTHERS[best : best + 1])[0])


def gaussian_process(x: Array, training: Training, blocks: Sequence[int], linear: bool) -> Fitted:
    """The Gaussian process of the head `gp`. The folds share the parameters of its kernel, fitted to all regions."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        head = GP(PROCESS.model_copy(update={"linear": linear}), x.shape[1], training.y.shape[1])
        head.fit_values(torch.from_numpy(x), torch.from_numpy(training.y), blocks)

    order = head.order.numpy()
    folds, held_out = training.folds[order], training.y.copy()
    others = np.setdiff1d(np.arange(len(x)), order)  # of more regions than the process has points
    for points, residuals, weights in head.without_folds(torch.from_numpy(folds)):
        fold = points.numpy()
        held_out[order[fold]] -= residuals.numpy()
        rows = others[training.folds[others] == folds[fold[0]]]
        held_out[rows] = head.predict_with(torch.from_numpy(x[rows]), weights).numpy() if len(rows) else 0
    return Fitted(held_out, lambda new: head(torch.from_numpy(new)).numpy())


def forest(x: Array, training: Training) -> Fitted:
    """Random forests of the input features, as the floor `raw-forest`."""
    settings: dict[str, Any] = {
        "n_estimators": FOREST_TREES,
        "min_samples_leaf": 3,
        "max_features": max(1, x.shape[1] // 3),
        "max_samples": ROWS_A_TREE / len(x) if len(x) > ROWS_A_TREE else None,
        "random_state": training.seed,
    }
    return _trees(x, training, RandomForestRegressor(**settings), RandomForestClassifier(**settings))


def boosting(x: Array, training: Training) -> Fitted:
    """Gradient-boosted trees on histograms, of the columns that explain most of the labels."""
    regressor = HistGradientBoostingRegressor(max_iter=25, learning_rate=0.18, **BOOSTED, random_state=training.seed)
    classifier = HistGradientBoostingClassifier(max_iter=10, learning_rate=0.28, **BOOSTED, random_state=training.seed)
    return _trees(x, training, regressor, classifier, BOOSTED_COLUMNS)


def _trees(x: Array, training: Training, regressor: Any, classifier: Any, most_columns: int | None = None) -> Fitted:
    """Trees fitted without each fold. Their mean predicts other regions, so that none is fitted to all regions."""

    def fit(rows: Array, y: Array) -> Predict:
        if (y == y[0]).all():
            return constant(y[0])
        columns = _informative(rows, y, most_columns or x.shape[1])
        if not training.classified:
            numbers = clone(regressor).fit(rows[:, columns], y[:, 0])
            return lambda new: numbers.predict(new[:, columns])[:, None]
        classes = clone(classifier).fit(rows[:, columns], y.argmax(axis=1))

        def shares(new: Array) -> Array:
            predicted = np.zeros((len(new), y.shape[1]))
            predicted[:, classes.classes_] = classes.predict_proba(new[:, columns])
            return predicted

        return shares

    models, held_out = [], np.empty_like(training.y)
    for train, test in _folds(training):
        models.append(fit(x[train], training.y[train]))
        held_out[test] = models[-1](x[test])
    return Fitted(held_out, lambda new: np.mean([model(new) for model in models], axis=0))


def _informative(x: Array, y: Array, most: int) -> NDArray[np.int64]:
    """The columns of `x`, at most `most`, that explain the largest share of variance of `y`, each alone."""
    if x.shape[1] <= most:
        return np.arange(x.shape[1])
    x = x - x.mean(axis=0)
    explained = np.square(x.T @ y / np.sqrt(np.square(y).sum(axis=0) + 1e-12)).sum(axis=1)
    share = explained / (np.square(x).sum(axis=0) + 1e-12)
    return np.sort(np.argsort(-share, kind="stable")[:most])


def _folds(training: Training) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    return [
        (np.flatnonzero(training.folds != fold), np.flatnonzero(training.folds == fold))
        for fold in np.unique(training.folds)
    ]


def _best(held_out: Array, training: Training) -> int:
    """The first index of `held_out` [settings, n, outputs] whose squared error is smallest."""
    return int(np.square(held_out - training.y).sum(axis=(1, 2)).argmin())


def constant(values: Array) -> Predict:
    """Returns a member that predicts the same `values` [outputs] for all regions."""
    return lambda new: np.tile(values, (len(new), 1))


class RidgePath(NamedTuple):
    """Ridge regressions with an intercept, one for each penalty: (x - shift) @ coefficients + level.

    Attributes:
        penalties: the penalties.
        shift: means of the inputs, [features].
        coefficients: [penalties, features, outputs].
        level: means of the targets, [outputs].
    """

    penalties: Array
    shift: Array
    coefficients: Array
    level: Array

    def __call__(self, new: Array) -> Array:
        """Return predictions [penalties, m, outputs] for rows [m, features]."""
        return (new - self.shift) @ self.coefficients + self.level


def ridge_path(x: Array, y: Array, penalties: Array) -> RidgePath:
    """Fit ridge regression of `y` [n, outputs] on `x` [n, features] with each penalty."""
    shift, level = x.mean(axis=0), y.mean(axis=0)
    x, y = x - shift, y - level
    dual = len(x) < x.shape[1]
    values, vectors = np.linalg.eigh(x @ x.T if dual else x.T @ x)
    shrunk = 1 / (np.maximum(values, 0) + penalties[:, None])
    coefficients = vectors @ (shrunk[:, :, None] * (vectors.T @ (y if dual else x.T @ y)))
    if dual:
        coefficients = x.T @ coefficients
    return RidgePath(penalties, shift, coefficients, level)


def _smooth(xy: Array, y: Array, new: Array, settings: Sequence[tuple[int, int]]) -> Array:
    most = min(max(neighbours for neighbours, _ in settings), len(xy))
    distance, nearest = cKDTree(xy).query(new, k=np.arange(1, most + 1))
    floor = np.maximum(distance[:, :1], 1e-3 * np.ptp(xy, axis=0).max() + 1e-9)
    predictions = np.empty((len(settings), len(new), y.shape[1]))
    for index, (neighbours, power) in enumerate(settings):
        count = min(neighbours, most)
        weight = (floor / np.maximum(distance[:, :count], floor)) ** power
        weight /= weight.sum(axis=1, keepdims=True)
        predictions[index] = np.einsum("mk,mko->mo", weight, y[nearest[:, :count]])
    return predictions
