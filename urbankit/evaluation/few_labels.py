"""Few labels as a protocol: training on k labelled regions, drawn many times, and testing on the others.

The draws of a task are nested: the first five regions of a draw are among its first ten. They depend on the ids and the
centres of the labelled regions alone, not on their order in the city's table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from urbankit import registry
from urbankit.evaluation.metrics import AREA, score
from urbankit.evaluation.splits import FewLabels, is_few
from urbankit.evaluation.tasks import Scored, TaskData
from urbankit.recipe.schema import Few
from urbankit.registry.component import Use
from urbankit.utils.errors import Problems

MIN_TEST = 10
"""Fewest labelled regions that are left to test on."""

STREAM = 3
"""Separates the random numbers of draws from those of the other split protocols."""


class RandomFew(FewLabels):
    """Training regions drawn at random among the labelled regions."""

    needs_location = False
    tested_on = "the regions beside a few with labels"

    division = (
        "{evaluation.few.draws} times, a few labelled regions drawn at random for training, in sizes of "
        "{evaluation.few.labels}; the other labelled regions are tested"
    )
    reading = (
        "Few labels: heads on the frozen embedding, trained on k random regions and tested on the rest. The deviation "
        "is over draws of the regions."
    )

    def order(self, xy: NDArray[np.float64], seed: int) -> NDArray[np.int64]:
        return np.random.default_rng([seed, STREAM]).permutation(len(xy))


class SpatialFew(FewLabels):
    """Training regions in one district: a labelled region drawn at random, and those nearest to it."""

    tested_on = "the city beside one district with labels"
    division = (
        "{evaluation.few.draws} times, one district for training, in sizes of {evaluation.few.labels}: a labelled "
        "region drawn at random and those nearest to it; the other labelled regions are tested"
    )
    reading = (
        "Few labels in one district: heads on the frozen embedding, trained on k neighbouring regions and tested on "
        "the rest of the city."
    )

    def order(self, xy: NDArray[np.float64], seed: int) -> NDArray[np.int64]:
        centre = xy[np.random.default_rng([seed, STREAM]).integers(len(xy))]
        return np.argsort(np.hypot(*(xy - centre).T), kind="stable")


@dataclass(frozen=True)
class Draws:
    """The draws of one task.

    Attributes:
        order: rows of the labelled regions in the order in which each draw takes them, int64 [draws, n].
    """

    order: NDArray[np.int64]

    @classmethod
    def of(
        cls, protocol: str, labelled: NDArray[np.bool_], region_ids: Sequence[str], xy: NDArray[np.float64], draws: int
    ) -> Draws:
        """Draw among the labelled regions (bool [N]) by `protocol`; `xy` are centres in metres, [N, 2]."""
        rows = np.flatnonzero(labelled)
        rows = rows[np.argsort(np.asarray(region_ids, dtype=str)[rows], kind="stable")]
        split = registry.create("split", Use(name=protocol))
        return cls(np.stack([rows[split.order(xy[rows], draw)] for draw in range(draws)]))

    def train(self, labels: int) -> NDArray[np.int64]:
        """The training regions, int64 [draws, labels]."""
        return self.order[:, :labels]

    def test(self, labels: int) -> NDArray[np.int64]:
        """The test regions, int64 [draws, n - labels]."""
        return self.order[:, labels:]


def few_protocols(protocols: Iterable[str]) -> list[str]:
    """The protocols that train on a few labels."""
    return [protocol for protocol in protocols if is_few(protocol)]


def check_few(tasks: Mapping[str, TaskData], few: Few) -> None:
    """Raise one `UserError` with all tasks that have too few labelled regions for the largest number of labels."""
    problems, most = Problems(), max(few.labels)
    for name, task in tasks.items():
        labelled = int(task.labelled.sum())
        if labelled < most + MIN_TEST:
            problems.add(
                f"{labelled} regions are labelled; training on {most} and testing on {MIN_TEST} others needs "
                f"{most + MIN_TEST}. Lower the numbers in evaluation.few.labels to {labelled - MIN_TEST} or less"
                if labelled > MIN_TEST
                else f"{labelled} regions are labelled, too few to train on some and test on {MIN_TEST} others: "
                "remove the task or the protocol",
                key=f"tasks.{name}",
            )
    problems.raise_if_any()


def curve_records(
    model: str, protocol: str, task: TaskData, labels: int, test: NDArray[np.int64], predictions: NDArray[Any]
) -> list[dict[str, Any]]:
    """Rows of a learning curve: every metric of every draw.

    Args:
        model: the method, or `floor:NAME`.
        protocol: the split protocol.
        task: the task.
        labels: the number of training regions.
        test: the test regions of each draw, int64 [draws, m].
        predictions: the predictions for them, [draws, m].
    """
    facts = {"task": task.name, "model": model, "split": protocol, "labels": labels}
    return [
        {**facts, "draw": draw, "metric": metric, "value": value}
        for draw, (regions, predicted) in enumerate(zip(test, predictions, strict=True))
        for metric, value in score(task.kind, task.y[regions], predicted).items()
    ]


def curves_scored(curves: list[dict[str, Any]], tasks: Mapping[str, TaskData]) -> Scored:
    """Learning curves with the areas below those of each task's main metric as metric records, one a draw."""
    return Scored(area_records(curves, tasks), pd.DataFrame(), curves)


def area_records(curves: Sequence[Mapping[str, Any]], tasks: Mapping[str, TaskData]) -> list[dict[str, Any]]:
    """Metric records of the areas below learning curves; the seed of a record is the draw."""
    if not curves:
        return []
    table = pd.DataFrame(curves)
    table = table[table["metric"] == table["task"].map({name: task.metric for name, task in tasks.items()})]
    records = []
    for key, rows in table.groupby(["task", "model", "split", "draw", "metric"], sort=False):
        task, model, split, draw, metric = cast(tuple[str, str, str, int, str], key)
        value = area(rows["labels"].to_numpy(), rows["value"].to_numpy())
        facts = {"task": task, "model": model, "split": split, "seed": int(draw)}
        records.append({**facts, "metric": f"{metric}{AREA}", "value": value})
    return records


def area(labels: NDArray[np.int64], values: NDArray[np.float64]) -> float:
    """Return the area below a learning curve over the logarithm of the number of labels, divided by its length.

    This is the mean of the metric if the number of labels is drawn from the range at a constant rate per octave. It
    comes from the trapezoidal rule; of a single size it is the value itself.
    """
    order = np.argsort(labels, kind="stable")
    x, y = np.log(np.asarray(labels, dtype=np.float64)[order]), np.asarray(values, dtype=np.float64)[order]
    return float(y[0]) if len(x) == 1 else float(np.trapezoid(y, x) / (x[-1] - x[0]))


def curve_summary(curves: pd.DataFrame) -> pd.DataFrame:
    """Mean, median and quartiles over the draws of a table of learning curves.

    Columns: `task, model, split, labels, metric, mean, median, lower, upper, draws`; `lower` and `upper` are the 25th
    and 75th percentile. A metric that is not defined for a draw makes all of them NaN.
    """
    keys = ["task", "model", "split", "labels", "metric"]
    rows = []
    for key, values in curves.groupby(keys, sort=False)["value"]:
        lower, median, upper = np.quantile(values.to_numpy(), (0.25, 0.5, 0.75))
        rows.append((*key, values.mean(skipna=False), median, lower, upper, len(values)))
    return pd.DataFrame(rows, columns=[*keys, "mean", "median", "lower", "upper", "draws"])
