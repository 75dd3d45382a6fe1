"""Heads that predict in another city: ridge regressions that keep nothing of the regions that they were fitted to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from urbankit.evaluation.calibration import Calibration
from urbankit.evaluation.city_level import CityFeatures, CityLevel
from urbankit.evaluation.intervals import Interval, split_conformal
from urbankit.evaluation.metrics import primary, score_one
from urbankit.evaluation.tasks import TaskData
from urbankit.evaluation.transforms import TargetTransform
from urbankit.heads.stacking.members import Training, fit_ridge
from urbankit.heads.stacking.super_learner import BALANCE, SMALLEST, balanced_logits, log_shares
from urbankit.recipe.schema import Task
from urbankit.utils.standardise import nonzero_std

Array = NDArray[np.float64]

CONSTANT = 1e-5
"""A dimension of an embedding with a smaller standard deviation is constant but for rounding."""

ARRAYS = ("mean", "scale", "range", "coefficients", "bias", "bounds", "residuals", "class_bias", "log_shares")


@dataclass(frozen=True)
class CarriedHead:
    """A ridge regression from the embedding to one task, with what calibrates its predictions.

    Classes are regressed as indicators. No label, embedding or id of a region is kept.

    Attributes:
        name: The task.
        target: The city's target that it was fitted to.
        target_scale: Whether its logarithm is the task, as the key `scale` of a task says.
        kind: `regression` or `classification`.
        unit: The unit of a regression.
        classes: The classes.
        transform: The form in which a regression is learned.
        labelled: The number of labels that it was fitted to.
        penalty: The penalty of the ridge regression.
        score: The main metric of the out-of-fold predictions.
        balance: Classes are predicted by argmax p / share^balance.
        class_scale: The scale of `Calibration`.
        mean, scale: What standardises an embedding, [dim].
        range: Smallest and largest standardised values, [2, dim]; embeddings of another city are cut to them, because
            a linear function has no bound beyond.
        coefficients, bias: Of the standardised embedding, [dim, outputs] and [outputs].
        bounds: Smallest and largest learned label, [2]; predictions beyond them are cut.
        residuals: Sorted absolute out-of-fold residuals in the learned form, [labelled]; empty for classes.
        class_bias, log_shares: The bias of `Calibration`, and the logarithms of the shares of the classes; [classes].
        city_level: What predicts level and scale of a regression in another city; None for a head of one city.
    """

    name: str
    target: str
    target_scale: str
    kind: str
    unit: str
    classes: tuple[str, ...]
    transform: TargetTransform
    labelled: int
    penalty: float
    score: float
    balance: float
    class_scale: float
    mean: Array
    scale: Array
    range: Array
    coefficients: Array
    bias: Array
    bounds: Array
    residuals: Array
    class_bias: Array
    log_shares: Array
    city_level: CityLevel | None = None

    @classmethod
    def fit(
        cls,
        task: TaskData,
        settings: Task,
        embeddings: NDArray[Any],
        fold: NDArray[np.int64],
        member: NDArray[np.int64] | None = None,
        unseen: NDArray[np.bool_] | None = None,
        cities: Sequence[CityFeatures] | None = None,
    ) -> CarriedHead:
        """Fit to all labels of a task; predictions without each fold choose the penalty and calibrate.

        With several cities, embeddings and the learned form of a regression are standardised within each city, since
        level and scale of a city tell nothing of those of another. The head predicts at the level and scale that the
        features of a city say (`CityLevel`). The residuals, which calibrate its intervals,
        include how far levels and scales are off in cities that were left out.

        Args:
            task: The labels of N regions.
            settings: The task in the recipe.
            embeddings: [N, dim].
            fold: The fold of each labelled region, [n].
            member: The city of each region, int64 [N]; None for one city.
            unseen: Which regions have labels that the embeddings have not learned from, bool [N]; None for all. Only
                these calibrate and give the score, since errors on the others are too small.
            cities: The features of each city that `member` counts; None for one city.
        """
        rows = np.flatnonzero(task.labelled)
        judged = np.ones(len(rows), bool) if unseen is None else unseen[rows]
        z = np.asarray(embeddings, dtype=np.float64)
        mean, scale = z.mean(axis=0), nonzero_std(z, CONSTANT)
        several = member is not None and len(np.unique(member)) > 1
        standardised = _within(z, member) if several and member is not None else (z - mean) / scale
        x = standardised[rows]
        levels = Levels.none(len(rows))
        transform = TargetTransform("none")
        if task.classes:
            y = np.eye(len(task.classes))[task.y[rows]]
        else:
            transform = TargetTransform.fit(task.transform, task.y[rows])
            y = transform.transform(task.y[rows])[:, None]
            if several and member is not None:
                levels = Levels.of(y[:, 0], member[rows], cities)
                y = levels.standardised(y)
        held_out, path = fit_ridge(x, Training(y, fold, bool(task.classes), seed=0))
        coefficients, bias = path.coefficients[0], path.level - path.shift @ path.coefficients[0]
        fitted: dict[str, Any] = {"residuals": np.empty(0), "class_bias": np.empty(0), "log_shares": np.empty(0)}
        balance, class_scale = 0.0, 1.0
        if not task.classes:
            held_out, y = levels.predicted(held_out), levels.original(y)
            coefficients, bias = coefficients * levels.scale, bias * levels.scale + levels.level
        bounds = np.array([y.min(), y.max()])
        if task.classes:
            codes = task.y[rows]
            calibration = Calibration.fit(held_out[judged], codes[judged])
            probabilities = np.maximum(calibration.probabilities(held_out), SMALLEST)
            fitted["log_shares"] = log_shares(y)
            balance = BALANCE
            class_scale, fitted["class_bias"] = calibration.scale, calibration.bias
            predicted = balanced_logits(probabilities, balance, fitted["log_shares"]).argmax(axis=1)
        else:
            learned = held_out[:, 0].clip(*bounds)
            fitted["residuals"] = np.sort(np.abs(y[:, 0] - learned)[judged])
            predicted = transform.inverse(learned)
        return cls(
            name=task.name,
            target=settings.target or task.name,
            target_scale=settings.scale,
            kind=task.kind,
            unit=task.unit,
            classes=task.classes,
            transform=transform,
            labelled=len(rows),
            penalty=float(path.penalties[0]),
            score=score_one(primary(task.kind), task.kind, task.y[rows][judged], predicted[judged]),
            balance=balance,
            class_scale=class_scale,
            mean=mean,
            scale=scale,
            range=np.stack([standardised.min(axis=0), standardised.max(axis=0)]),
            coefficients=coefficients,
            bias=bias,
            bounds=bounds,
            city_level=levels.model,
            **fitted,
        )

    @property
    def metric(self) -> str:
        """The metric of `score`."""
        return primary(self.kind)

    def predict(self, embeddings: NDArray[Any], city: CityFeatures | None = None, *, of_city: bool = False) -> Carried:
        """Predict for the N regions of a city.

        Args:
            embeddings: [N, dim].
            city: The features of the city, which say its level and scale; None for those of the average city.
            of_city: Whether the embeddings are standardised by their own mean and standard deviation.
        """
        z = np.asarray(embeddings, dtype=np.float64)
        mean, scale = (z.mean(axis=0), nonzero_std(z, CONSTANT)) if of_city else (self.mean, self.scale)
        outputs = ((z - mean) / scale).clip(*self.range) @ self.coefficients + self.bias
        if self.city_level is not None and city is not None:
            outputs = self.city_level.adjust(outputs, city)
        return Carried(self, outputs if self.classes else outputs[:, 0].clip(*self.bounds))

    def arrays(self) -> dict[str, Array]:
        """The arrays by name."""
        return {name: getattr(self, name) for name in ARRAYS}

    def facts(self) -> dict[str, Any]:
        """All that is not an array, ready for JSON."""
        facts = {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in ARRAYS}
        facts["city_level"] = None if self.city_level is None else self.city_level.facts()
        transform = {key: value for key, value in asdict(self.transform).items() if value != np.inf}  # as JSON has none
        return facts | {"classes": list(self.classes), "transform": transform}

    @classmethod
    def load(cls, facts: Mapping[str, Any], arrays: Mapping[str, Array]) -> CarriedHead:
        """The head of `facts` and `arrays`. Raises `KeyError` or `TypeError` for those of something else."""
        values: dict[str, Any] = dict(facts) | {name: arrays[name] for name in ARRAYS}
        transform, level = TargetTransform(**facts["transform"]), facts.get("city_level")
        loaded = {
            "classes": tuple(facts["classes"]),
            "transform": transform,
            "city_level": None if level is None else CityLevel.load(level),
        }
        return cls(**values | loaded)


@dataclass(frozen=True)
class Levels:
    """The level and the scale of a target in several cities, of which n labels are.

    Attributes:
        mean, std: Of the city of each label, [n].
        level, scale: Their mean and geometric mean over the cities.
        other_level, other_scale: For each label what the other cities say of the level and scale of its own, [n].
        model: What predicts the level in a new city; None for one city.
    """

    mean: Array
    std: Array
    level: float
    scale: float
    other_level: Array
    other_scale: Array
    model: CityLevel | None = None

    @classmethod
    def none(cls, n: int) -> Levels:
        """Those of one city, which change nothing."""
        zero, one = np.zeros(n), np.ones(n)
        return cls(zero, one, 0.0, 1.0, zero, one)

    @classmethod
    def of(cls, y: Array, member: NDArray[np.int64], cities: Sequence[CityFeatures] | None) -> Levels:
        """Those of labels y [n] of the cities `member` [n], with the features of all cities."""
        members, city, count = np.unique(member, return_inverse=True, return_counts=True)
        mean = np.bincount(city, y) / count
        variance = np.bincount(city, (y - mean[city]) ** 2) / count
        std = np.where(variance > 0, np.sqrt(variance), 1.0)
        features = [{} if cities is None else cities[index] for index in members]
        model, other_mean, other_std = CityLevel.fit(mean, std, features)
        return cls(
            mean[city],
            std[city],
            model.mean.average,
            float(np.exp(model.log_std.average)),
            other_mean[city],
            other_std[city],
            model,
        )

    def standardised(self, y: Array) -> Array:
        """The labels [n, 1] within their city."""
        return (y - self.mean[:, None]) / self.std[:, None]

    def original(self, y: Array) -> Array:
        """Standardised labels [n, 1] as they were."""
        return y * self.std[:, None] + self.mean[:, None]

    def predicted(self, y: Array) -> Array:
        """Standardised predictions [n, 1] at the level that the other cities tell."""
        return y * self.other_scale[:, None] + self.other_level[:, None]


def _within(z: Array, member: NDArray[np.int64]) -> Array:
    """Standardise embeddings [N, dim] within each city."""
    result = np.empty_like(z)
    for city in np.unique(member):
        rows = member == city
        result[rows] = (z[rows] - z[rows].mean(axis=0)) / nonzero_std(z[rows], CONSTANT)
    return result


@dataclass(frozen=True)
class Carried:
    """The predictions of a `CarriedHead` for the N regions of another city.

    Attributes:
        head: The head.
        outputs: Learned form of a regression [N], or one output per class [N, classes].
    """

    head: CarriedHead
    outputs: Array

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes; none of a regression."""
        return self.head.classes

    @property
    def calibrating(self) -> int:
        """The number of labels that calibrate the interval."""
        return len(self.head.residuals)

    @property
    def prediction(self) -> NDArray:
        """Predictions, float64 [N] in the unit of the task, or class codes int64 [N]."""
        if not self.classes:
            return self.head.transform.inverse(self.outputs)
        probabilities = np.maximum(self.probabilities(), SMALLEST)
        return balanced_logits(probabilities, self.head.balance, self.head.log_shares).argmax(axis=1)

    def interval(self, level: float) -> Interval | None:
        """The split-conformal interval of a regression, calibrated in the city of the model; None with too few labels.

        A lower bound below 0 becomes 0 if no label of that city was negative.
        """
        interval, inverse = split_conformal(self.head.residuals, self.outputs, level), self.head.transform.inverse
        if interval is None:
            return None
        floor = 0.0 if inverse(self.head.bounds[:1])[0] >= 0 else -np.inf
        return Interval(np.maximum(inverse(interval.lower), floor), inverse(interval.upper))

    def probabilities(self) -> Array:
        """Class probabilities [N, classes], calibrated in the city of the model."""
        return Calibration(self.head.class_scale, self.head.class_bias).probabilities(self.outputs)
