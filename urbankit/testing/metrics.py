"""The conformance checks of a metric."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from urbankit.evaluation.metrics import KINDS
from urbankit.testing.candidate import Candidate, Check

TRUTH = {"regression": np.array([1.0, 3.0, 2.0, 8.0, 5.0, 4.0]), "classification": np.array([0, 1, 2, 0, 1, 1])}
TRUTH["clustering"] = TRUTH["classification"]


def describes_itself(candidate: Candidate) -> Iterator[str]:
    """It says what it compares, how tables show it, and which values are better."""
    kinds, label = getattr(candidate.component, "kinds", ()), getattr(candidate.component, "label", None)
    if not kinds or isinstance(kinds, str) or not set(kinds) <= set(KINDS):
        yield f"`kinds` is {kinds!r}; give a tuple of some of {', '.join(KINDS)}"
    if not isinstance(label, str) or not label.strip():
        yield f"`label` is {label!r}; give a text, such as 'MAE'"
    if not isinstance(getattr(candidate.component, "higher_is_better", None), bool):
        yield "`higher_is_better` is missing; give True or False"
    if not isinstance(candidate.component.order, int) or candidate.component.order < 0:
        yield f"`order` is {candidate.component.order!r}; give an integer of at least 0"


def prefers_better_predictions(candidate: Candidate) -> Iterator[str]:
    """It returns a number, a better one for the truth itself than for wrong predictions."""
    metric = candidate.create()
    for kind in metric.kinds:
        truth = TRUTH[kind]
        right, wrong = metric.compute(truth, truth.copy()), metric.compute(truth, np.roll(truth, 2))
        if not isinstance(right, (int, float, np.number)) or not np.isfinite(right):
            yield f"for a correct {kind} compute() returns {right!r}; expected a finite number"
        elif (wrong > right) if metric.higher_is_better else (wrong < right):
            better = "higher" if metric.higher_is_better else "lower"
            yield (
                f"for a {kind} it returns {right:.4g} for the truth and {wrong:.4g} for wrong predictions, but "
                f"{better} values are better by `higher_is_better`"
            )


def ignores_the_order_of_regions(candidate: Candidate) -> Iterator[str]:
    """The order of the regions does not change it."""
    metric = candidate.create()
    for kind in metric.kinds:
        truth = TRUTH[kind]
        one, two = metric.compute(truth, np.roll(truth, 2)), metric.compute(truth[::-1], np.roll(truth, 2)[::-1])
        if not np.isclose(one, two, equal_nan=True):
            yield f"for a {kind} it returns {one:.4g}, and {two:.4g} for the regions in another order"


CHECKS: tuple[Check, ...] = (describes_itself, prefers_better_predictions, ignores_the_order_of_regions)
