"""What a run measures of its views and of pre-training without any label: `views.parquet`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

FILE = "views.parquet"

COLUMNS = ("name", "metric", "value")

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


class Order(NamedTuple):
    """How well a view's block orders pairs of regions as the view does; see `ViewOrder` in `urbankit.analysis`."""

    view: str
    spearman: float
    spearman_all: float
    related: float


def rows(measures: Iterable[Order | Loss]) -> list[dict[str, Any]]:
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
    by_name = _by_name(table)
    return [Order(name, **values) for name, values in by_name.items() if set(values) == set(Order._fields[1:])]


def read_losses(table: pd.DataFrame) -> list[Loss]:
    """Return the losses on held-out regions in a table of `views.parquet`."""
    by_name = _by_name(table)
    return [Loss(name, **values) for name, values in by_name.items() if set(values) == set(Loss._fields[1:])]


def lines(orders: Iterable[Order], losses: Iterable[Loss]) -> list[str]:
    """Return sentences on the measures of views and losses."""
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
    return sentences


def two_digits(value: float) -> str:
    """Return a number as text; `not defined` if it is not finite."""
    return f"{value:.2f}" if np.isfinite(value) else "not defined"


def _by_name(table: pd.DataFrame) -> dict[str, dict[str, float]]:
    by_name: dict[str, dict[str, float]] = {}
    for name, metric, value in table[list(COLUMNS)].itertuples(index=False):
        by_name.setdefault(str(name), {})[str(metric)] = float(value)
    return by_name
