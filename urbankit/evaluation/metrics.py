"""The metrics of a prediction: the base class, and what tables ask of every registered metric by its name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from urbankit import registry
from urbankit.registry.component import Component, P, Use
from urbankit.utils.errors import RunError, UserError

MODEL_KINDS = ("regression", "classification", "distribution", "clustering")
"""Numbers, classes, shares of parts, or clusters with classes (classifications under the protocol `folds`): models are
compared by one metric of each."""

AREA_KINDS = ("regression", "classification", "distribution")
"""The kinds of tasks that have learning curves."""

KINDS = (*MODEL_KINDS, "interval", "probabilities")
"""What a metric compares with the truth; also the bounds of intervals, and probabilities of classes."""

FOLD_MEAN = "_fold_mean"

AREA = "_area"
"""The area below the learning curve of a main metric, under the protocols of few labels."""


class Metric(Component[P], ABC):
    """A number that says how well predictions of a task agree with the truth, recorded under its registered name.

    Every registered metric of a task's kind is computed. Models are chosen and compared by the one with the lowest
    `order`.

    Attributes:
        kinds: What it compares; some of `regression`, `classification`, `distribution`, `clustering`, `interval` and
            `probabilities`.
        label: The name in tables and reports: `macro-F1`.
        higher_is_better: Whether a higher value means a better prediction; None if a certain value is aimed at.
        order: Metrics with lower numbers come first; those of urbankit have 0 to 90.
        in_run_table: Whether the table of a run has a column for it.
        suite_order: The position among the columns of a suite's table that names no metrics; None for no column.
        fold_mean: Whether the protocol `folds` also records the mean of the folds' own values, as `NAME_fold_mean`.
    """

    kinds: ClassVar[tuple[str, ...]]
    label: ClassVar[str]
    higher_is_better: ClassVar[bool | None]
    order: ClassVar[int] = 1000
    in_run_table: ClassVar[bool] = True
    suite_order: ClassVar[int | None] = 1000
    fold_mean: ClassVar[bool] = False

    def __init__(self, params: P) -> None:
        self.params = params

    @abstractmethod
    def compute(self, truth: NDArray[Any], prediction: NDArray[Any]) -> float:
        """Return the value for some regions; NaN if it is not defined for them.

        Args:
            truth: The labels [n]: float64 in the target's unit for a regression, else a code or name of a class.
                For `interval` numbers, for `probabilities` codes, for `distribution` the shares of K parts [n, K].
            prediction: The predictions [n] of the same type; for `clustering`, the number of each region's cluster, for
                `interval` lower and upper bounds [n, 2], for `probabilities` those of each class [n, C].
        """

    def in_words(self, value: float, unit: str = "") -> str:
        """Return what a value says of predictions, as a predicate such as `is off by 0.06 mg/m³ on average`.

        The first screen of a report has such sentences. It leaves out metrics that return an empty text.

        Args:
            value: The value, never NaN.
            unit: The unit of the target.
        """
        return ""


def metrics(kind: str | None = None) -> dict[str, Metric[Any]]:
    """Return the metrics that compare `kind`, by default all, by name and in order, except those that do not load."""
    return {name: metric for name, metric in _all_metrics().items() if kind is None or kind in metric.kinds}


@registry.cached
def _all_metrics() -> dict[str, Metric[Any]]:
    loaded: dict[str, Metric[Any]] = {}
    for name in registry.names("metric"):
        with suppress(UserError):  # `failed_metrics` says why
            loaded[name] = registry.create("metric", Use(name=name))
    return dict(sorted(loaded.items(), key=lambda item: (item[1].order, item[0])))


def failed_metrics() -> Iterator[str]:
    """Yield the reason why a registered metric does not load."""
    for name in registry.names("metric"):
        try:
            registry.get("metric", name)
        except UserError as error:
            yield f"metric {name} is left out: {str(error).rstrip('.')}"


def score(kind: str, truth: NDArray[Any], prediction: NDArray[Any]) -> dict[str, float]:
    """Return every metric of `kind` of predictions [n] against the truth [n]. Raises `RunError` if one fails."""
    return {name: score_one(name, kind, truth, prediction) for name in metrics(kind)}


def score_one(name: str, kind: str, truth: NDArray[Any], prediction: NDArray[Any]) -> float:
    """Return one metric of `kind` of predictions [n] against the truth [n]. Raises `RunError` if it fails."""
    dtype = np.float64 if kind in ("regression", "distribution", "interval") else None
    try:
        return float(metrics(kind)[name].compute(np.asarray(truth, dtype), np.asarray(prediction, dtype)))
    except Exception as error:
        message = f"metric '{name}' failed: {type(error).__name__}: {error}. Correct or remove its plugin, then"
        raise RunError(f"{message} continue with --resume") from error


def primary(kind: str) -> str:
    """Return the metric that models for tasks of `kind` are chosen and compared by."""
    return next(iter(metrics(kind)))


def main_metrics() -> list[str]:
    """Return the metrics that models are compared by, of every kind, each before its mean over folds and its area."""
    main = {primary(kind) for kind in MODEL_KINDS}
    return [name for name in recorded_names() if _base(name) in main]


def recorded_names() -> list[str]:
    """Return the names under which the metrics are recorded, in order."""
    return [recorded for name, metric in metrics().items() for recorded in _recorded(name, metric)]


def run_columns() -> list[str]:
    """Return the metrics that have a column in the table of a run, in order."""
    shown = {name: metric for name, metric in metrics().items() if metric.in_run_table}
    return [column for name, metric in shown.items() for column in _recorded(name, metric)]


def suite_columns() -> list[str]:
    """Return the columns of a suite's table that names no metrics, in order."""
    orders = {name: metric.suite_order for name, metric in metrics().items() if metric.suite_order is not None}
    return sorted(orders, key=lambda name: orders[name])


def higher_is_better(name: str) -> bool:
    """Return whether a higher value of a recorded metric is better; False for one that is not installed."""
    metric = _metric(name)
    return metric is not None and bool(metric.higher_is_better)


def has_direction(name: str) -> bool:
    """Return whether higher or lower values of a recorded metric are better; False if a certain value is aimed at."""
    metric = _metric(name)
    return metric is None or metric.higher_is_better is not None


def compares(name: str, kind: str) -> bool:
    """Return whether a recorded metric compares `kind`."""
    metric = _metric(name)
    return metric is not None and kind in metric.kinds


def metric_label(name: str) -> str | None:
    """Return how a recorded metric is shown; None for one that is not installed."""
    metric = _metric(name)
    if metric is None:
        return None
    if name in metrics():
        return metric.label
    return f"{metric.label} area" if name.endswith(AREA) else f"fold-mean {metric.label}"


def in_words(kind: str, values: Mapping[str, float], unit: str = "") -> list[str]:
    """Return the sentences of the metrics that compare `kind`, in order; metrics without a value are left out."""
    known = {name: value for name, value in values.items() if np.isfinite(value)}
    texts = [metric.in_words(known[name], unit) for name, metric in metrics(kind).items() if name in known]
    return [text for text in texts if text]


def has_fold_mean(name: str) -> bool:
    """Return whether under folds the mean of the folds' own values is recorded beside the metric."""
    metric = metrics().get(name)
    return metric is not None and metric.fold_mean


def _recorded(name: str, metric: Metric[Any]) -> list[str]:
    folds = [f"{name}{FOLD_MEAN}"] if metric.fold_mean else []
    areas = [f"{name}{AREA}"] if any(name == primary(kind) for kind in AREA_KINDS) else []
    return [name, *folds, *areas]


def _base(name: str) -> str:
    return name.removesuffix(FOLD_MEAN).removesuffix(AREA)


def _metric(name: str) -> Metric[Any] | None:
    available = metrics()
    base = available.get(_base(name))
    return available.get(name) or (base if base is not None and name in _recorded(_base(name), base) else None)
