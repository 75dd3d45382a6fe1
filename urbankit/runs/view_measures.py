"""Measures of the views and of pre-training without labels: `views.parquet`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pandas as pd

from urbankit.evaluation.retrieval import STANDARD_ERRORS

FILE = "views.parquet"

COLUMNS = ("name", "metric", "value")

_TO = " → "

VIEWS = "views"
"""The task of these measures in `metrics.json`."""


class Loss(NamedTuple):
    """A loss on held-out regions, and that of a model that learned nothing."""

    name: str
    held_out: float
    reference: float

    @property
    def learned(self) -> bool:
        """Whether the loss is lower than that of a model that learned nothing."""
        return self.held_out < self.reference


class Recall(NamedTuple):
    """How often a region's vector in a block finds its own in another block; see `urbankit.evaluation.retrieval`.

    `recall_before` is the recall before pre-training, and `recall_error` the standard error of the difference to the
    larger of it and chance.
    """

    name: str
    recall: float
    recall_before: float
    recall_chance: float
    recall_error: float
    recall_k: float
    recall_regions: float

    @classmethod
    def of(cls, block: str, other: str, *values: float) -> Recall:
        """Return the measure of a pair of blocks."""
        return cls(f"{block}{_TO}{other}", *values)

    @property
    def block(self) -> str:
        """The block that is judged."""
        return self.name.partition(_TO)[0]

    @property
    def other(self) -> str:
        """The block that is searched."""
        return self.name.partition(_TO)[2]

    @property
    def excess(self) -> float:
        """By how much the recall exceeds what is needed to say that the block learned something."""
        return self.recall - max(self.recall_before, self.recall_chance) - STANDARD_ERRORS * self.recall_error

    @property
    def learned(self) -> bool:
        """Whether the recall clearly exceeds that before pre-training, and chance."""
        return self.excess > 0

    @property
    def gained(self) -> bool:
        """Whether the recall exceeds that before pre-training, and chance, by however little."""
        return self.recall > max(self.recall_before, self.recall_chance)

    @property
    def verdict(self) -> str:
        """What can be said of the block. A small gain among few regions may be chance."""
        if self.learned:
            return "learned something"
        return "no clear sign of learning" if self.gained else "learned nothing"

    def __str__(self) -> str:
        return (
            f"recall@{self.recall_k:.0f} {two_digits(self.recall)} of {self.other} among {self.recall_regions:.0f} "
            f"regions, before pre-training {two_digits(self.recall_before)}, chance {two_digits(self.recall_chance)}"
        )


class Order(NamedTuple):
    """How well a view's block orders pairs of regions as the view does; see `ViewOrder` in `urbankit.analysis`."""

    view: str
    spearman: float
    spearman_all: float
    related: float


M = TypeVar("M", Loss, Order, Recall)


def rows(measures: Iterable[Order | Loss | Recall]) -> list[dict[str, Any]]:
    """Return the rows of `views.parquet`: `name, metric, value`."""
    return [
        dict(zip(COLUMNS, (measure[0], metric, value), strict=True))
        for measure in measures
        for metric, value in list(measure._asdict().items())[1:]
    ]


def records(measured: Iterable[Mapping[Any, Any]], model: str, seed: int) -> list[dict[str, Any]]:
    """Return the rows as records of `metrics.json`, of the task `views`; `split` is the name of the view or loss."""
    return [
        {
            "task": VIEWS,
            "model": model,
            "split": row["name"],
            "seed": seed,
            "metric": row["metric"],
            "value": row["value"] if math.isfinite(row["value"]) else None,
        }
        for row in measured
    ]


def read_orders(table: pd.DataFrame) -> list[Order]:
    """Return the measures of the views in a table of `views.parquet`."""
    return _read(table, Order)


def read_losses(table: pd.DataFrame) -> list[Loss]:
    """Return the losses on held-out regions in a table of `views.parquet`."""
    return _read(table, Loss)


def read_recalls(table: pd.DataFrame) -> list[Recall]:
    """Return the retrievals among held-out regions in a table of `views.parquet`."""
    return _read(table, Recall)


def best_recalls(recalls: Iterable[Recall]) -> list[Recall]:
    """Return for each block the retrieval in which it does best: first of those with a gain."""
    best: dict[str, Recall] = {}
    for recall in recalls:
        best[recall.block] = max(best.get(recall.block, recall), recall, key=lambda one: (one.gained, one.excess))
    return list(best.values())


def learned_nothing(recalls: Iterable[Recall]) -> list[str]:
    """Return a sentence for each block for which pre-training was of no clear use on held-out regions."""
    return [f"{best.block}: {best.verdict} ({best})" for best in best_recalls(recalls) if not best.learned]


def lines(orders: Iterable[Order], losses: Iterable[Loss], recalls: Iterable[Recall]) -> list[str]:
    """Return sentences on the measures of views and losses, and of blocks that learned something."""
    sentences, losses = [], list(losses)
    if measured := [f"{order.view} {two_digits(order.spearman)}" for order in orders]:
        sentences.append(
            f"Rank correlation of similarity in a view's block with the view: {', '.join(measured)} (1 means the same "
            "order of pairs of regions)."
        )
    reference = "than the loss of chance or of a constant (in brackets)"
    for learned, text in (
        (True, f"Held-out losses better {reference}"),
        (False, f"Held-out losses no better {reference}, so that nothing was learned for other regions"),
    ):
        if named := [
            f"{loss.name} {loss.held_out:.3g} ({loss.reference:.3g})" for loss in losses if loss.learned is learned
        ]:
            sentences.append(f"{text}: {', '.join(named)}.")
    if named := [f"{best.block} ({best})" for best in best_recalls(recalls) if best.learned]:
        sentences.append(f"Learned something that holds for held-out regions: {'; '.join(named)}.")
    return sentences


def two_digits(value: float) -> str:
    """Return a number as text; `not defined` if it is not finite."""
    return f"{value:.2f}" if np.isfinite(value) else "not defined"


def _read(table: pd.DataFrame, measure: type[M]) -> list[M]:
    metrics = measure._fields[1:]
    by_name = _by_name(table[table["metric"].isin(metrics)])
    return [measure(name, **values) for name, values in by_name.items() if set(values) == set(metrics)]


def _by_name(table: pd.DataFrame) -> dict[str, dict[str, float]]:
    by_name: dict[str, dict[str, float]] = {}
    for name, metric, value in table[list(COLUMNS)].itertuples(index=False):
        by_name.setdefault(str(name), {})[str(metric)] = float(value)
    return by_name
