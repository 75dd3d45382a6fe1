"""Predictions for every region of a city, with intervals and class probabilities, from cross-fitted heads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from urbankit.evaluation.calibration import Calibration
from urbankit.evaluation.intervals import Interval, cv_plus, split_conformal
from urbankit.evaluation.means import Means
from urbankit.evaluation.metrics import score
from urbankit.evaluation.tasks import TaskData
from urbankit.evaluation.transforms import TargetTransform

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class CrossFit:
    """The predictions of one task: K heads are fitted to the labels outside one fold each, and one head to all labels.

    A labelled region gets the prediction of the head that did not see its label. Other regions get that of the head
    fitted to all labels.

    Attributes:
        task: The labels, of N regions.
        fold: The fold of each region, int64 [N]; -1 without a label.
        by_fold: Predictions without each fold: float64 [K, N] in the target's units, or outputs [K, N, classes], or
            shares [K, N, parts]. Those of a target that is learned in logarithms are not yet means (`Means`).
        full: Predictions of the head fitted to all labels, float64 [N], [N, classes] or [N, parts].
    """

    task: TaskData
    fold: NDArray[np.int64]
    by_fold: NDArray[np.float64]
    full: NDArray[np.float64]

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """Whether a region has an out-of-fold prediction, bool [N]."""
        return self.fold >= 0

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes; none of a regression."""
        return self.task.classes

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of a distribution; none of another task."""
        return self.task.parts

    @property
    def calibrating(self) -> int:
        """The number of labels that calibrate the interval."""
        return int(self.labelled.sum())

    @property
    def values(self) -> NDArray[np.float64]:
        """Out-of-fold predictions of labelled regions and predictions of the others: [N], or outputs [N, classes]."""
        rows = np.flatnonzero(self.labelled)
        values = self.full.copy()
        values[rows] = self.by_fold[self.fold[rows], rows]
        return values

    @property
    def prediction(self) -> NDArray:
        """Predictions, float64 [N] in the target's units, class codes int64 [N] or shares float64 [N, parts]."""
        return self.values.argmax(axis=1) if self.task.classes else self._means()

    def _means(self) -> NDArray[np.float64]:
        """The means of `values`, float64 [N]; the factor of a labelled region is from the labels of other folds."""
        values, rows = self.values, np.flatnonzero(self.labelled)
        means = Means.fit(self.task, rows, values[rows])(values)
        for k in range(len(self.by_fold)):
            others, fold = rows[self.fold[rows] != k], self.fold == k
            means[fold] = Means.fit(self.task, others, values[others])(values[fold])
        return means

    def scores(self) -> dict[str, float]:
        """The metrics of the out-of-fold predictions."""
        return score(self.task.kind, self.task.y[self.labelled], self.prediction[self.labelled])

    def interval(self, level: float) -> Interval | None:
        """The conformal interval of a regression, [N] in the target's units; None with too few labels for the level.

        Labelled regions have the out-of-fold prediction plus and minus a quantile of all out-of-fold residuals, others
        the CV+ interval. Residuals are those of the learned form of the target: with a logarithm the interval is about
        the median, and wider where the prediction is larger. It always contains the prediction. A lower bound below 0
        becomes 0 if no label is negative.
        """
        rows, y = np.flatnonzero(self.labelled), self.task.y
        transform = TargetTransform.fit(self.task.transform, y[rows])
        by_fold = transform.transform(self.by_fold)
        fold = self.fold[rows]
        centre = by_fold[fold, rows]
        residuals = np.abs(transform.transform(y[rows]) - centre)
        of_labelled = split_conformal(residuals, centre, level)
        of_others = cv_plus(residuals, fold, by_fold, level)
        if of_labelled is None or of_others is None:
            return None
        bounds = []
        for labelled, others in zip(of_labelled, of_others, strict=True):
            others[rows] = labelled
            bounds.append(transform.inverse(others))
        floor = 0.0 if y[rows].min() >= 0 else -np.inf
        prediction = self.prediction
        lower = np.minimum(np.maximum(bounds[0], floor), prediction)
        return Interval(lower, np.maximum(bounds[1], prediction))

    def probabilities(self) -> NDArray[np.float64]:
        """Class probabilities [N, classes], calibrated on the out-of-fold outputs."""
        values, rows = self.values, np.flatnonzero(self.labelled)
        return Calibration.fit(values[rows], self.task.y[rows]).probabilities(values)


def split_interval(
    task: TaskData, train: Indices, calibration: Indices, prediction: NDArray[np.float64], level: float
) -> Interval | None:
    """The split-conformal interval of a head that was fitted to the training part of a split.

    Args:
        task: The labels, of N regions.
        train: Labelled regions that the head was fitted to; they also fit the transform that residuals are taken in.
        calibration: Labelled regions that the head was not fitted to.
        prediction: Predictions in the target's units, [N], before they become means (`Means`).
        level: The share of regions that the interval should cover.

    Returns:
        The interval, [N]; None with too few calibrating regions for the level.
    """
    transform = TargetTransform.fit(task.transform, task.y[train])
    centre = transform.transform(prediction)
    residuals = np.abs(transform.transform(task.y[calibration]) - centre[calibration])
    interval = split_conformal(residuals, centre, level)
    return None if interval is None else Interval(*(transform.inverse(bound) for bound in interval))
