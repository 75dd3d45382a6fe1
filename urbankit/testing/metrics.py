"""The conformance checks of a metric."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from urbankit.evaluation.metrics import KINDS
from urbankit.testing.candidate import Candidate, Check

NUMBERS, CLASSES = np.array([1.0, 3.0, 2.0, 8.0, 5.0, 4.0]), np.array([0, 1, 2, 0, 1, 1])
SHARES = np.stack([NUMBERS, NUMBERS[::-1] / 2, np.ones(6)], axis=1) / (NUMBERS + NUMBERS[::-1] / 2 + 1)[:, None]
TRUTH = {kind: CLASSES for kind in KINDS} | {"regression": NUMBERS, "interval": NUMBERS, "distribution": SHARES}
CORRECT = TRUTH | {"interval": NUMBERS[:, None] + [-0.5, 0.5], "probabilities": np.eye(3)[CLASSES]}
"""Correct predictions of each kind; with the regions in another order they are wrong."""


def describes_itself(candidate: Candidate) -> Iterator[str]:
    """It says what it compares, how tables show it, and which values are better."""
    kinds, label = getattr(candidate.component, "kinds", ()), getattr(candidate.component, "label", None)
    if not kinds or isinstance(kinds, str) or not set(kinds) <= set(KINDS):
        yield f"`kinds` is {kinds!r}; give a tuple of some of {', '.join(KINDS)}"
    if not isinstance(label, str) or not label.strip():
        yield f"`label` is {label!r}; give a text, such as 'MAE'"
    if getattr(candidate.component, "higher_is_better", "missing") not in (True, False, None):
        yield "`higher_is_better` is missing; give True or False, or None if a certain value is aimed at"
    if not isinstance(candidate.component.order, int) or candidate.component.order < 0:
        yield f"`order` is {candidate.component.order!r}; give an integer of at least 0"


def prefers_better_predictions(candidate: Candidate) -> Iterator[str]:
    """It returns a number, a better one for the truth itself than for wrong predictions."""
    metric = candidate.create()
    for kind in metric.kinds:
        truth, correct = TRUTH[kind], CORRECT[kind]
        right, wrong = metric.compute(truth, correct.copy()), metric.compute(truth, np.roll(correct, 2, axis=0))
        if not isinstance(right, (int, float, np.number)) or not np.isfinite(right):
            yield f"for a correct {kind} compute() returns {right!r}; expected a finite number"
        elif metric.higher_is_better is not None and (wrong > right if metric.higher_is_better else wrong < right):
            better = "higher" if metric.higher_is_better else "lower"
            yield (
                f"for a {kind} it returns {right:.4g} for the truth and {wrong:.4g} for wrong predictions, but "
                f"{better} values are better by `higher_is_better`"
            )


def ignores_the_order_of_regions(candidate: Candidate) -> Iterator[str]:
    """The order of the regions does not change it."""
    metric = candidate.create()
    for kind in metric.kinds:
        truth, prediction = TRUTH[kind], np.roll(CORRECT[kind], 2, axis=0)
        one, two = metric.compute(truth, prediction), metric.compute(truth[::-1], prediction[::-1])
        if not np.isclose(one, two, equal_nan=True):
            yield f"for a {kind} it returns {one:.4g}, and {two:.4g} for the regions in another order"


CHECKS: tuple[Check, ...] = (describes_itself, prefers_better_predictions, ignores_the_order_of_regions)
