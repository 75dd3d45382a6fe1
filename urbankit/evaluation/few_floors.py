"""The floors under the protocols of few labels: every choice is made by the k labels of a draw.

As an embedding does, they see the input features of all regions, which are standardised over all regions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import joblib
import numpy as np
import sklearn
import torch
from numpy.typing import NDArray
from sklearn.utils.class_weight import compute_sample_weight

from urbankit.city.raw_features import RawFeatures
from urbankit.evaluation import floors as of_parts
from urbankit.evaluation.few_labels import Draws, curve_records, curves_scored
from urbankit.evaluation.floors import (
    NEIGHBOURS,
    PROCESS,
    VERSION,
    Candidate,
    Case,
    Inputs,
    cached_array,
    check_names,
    digest,
)
from urbankit.evaluation.metrics import higher_is_better, score_one
from urbankit.evaluation.ridge import fit_ridge
from urbankit.evaluation.shares import ShareTransform
from urbankit.evaluation.splits import Split
from urbankit.evaluation.tasks import Scored, TaskData
from urbankit.evaluation.transforms import LOGARITHMS, TargetTransform
from urbankit.heads.gp import GP
from urbankit.heads.stacking.features import Scaler, Table
from urbankit.recipe.schema import Few
from urbankit.utils.files import hash_json
from urbankit.utils.progress import Progress

TREES = 30
"""Of a forest. At this size scikit-learn takes 1 ms to set up a tree, and a run fits hundreds of forests."""


def evaluate_few_floors(
    tasks: Mapping[str, TaskData],
    raw: RawFeatures,
    xy: NDArray[np.float64],
    region_ids: Sequence[str],
    protocols: Sequence[str],
    floors: Sequence[str],
    few: Few,
    progress: Progress | None = None,
) -> Scored:
    """Learning curves of `floors` on every task, and the areas below them.

    Args:
        tasks: the labels by task.
        raw: the input features of N regions.
        xy: their centres in metres, [N, 2].
        region_ids: their ids; draws do not depend on their order.
        protocols: protocols of few labels.
        floors: names, in the order of the results.
        few: numbers of labels and of draws.
        progress: where progress is shown.
    """
    check_names(floors)
    inputs = Inputs(raw, xy, Split(np.arange(len(xy)), *(np.empty(0, dtype=np.int64),) * 2))
    features = hash_json([digest(raw.values), list(raw.blocks), digest(xy)])
    progress, curves = Progress(quiet=True) if progress is None else progress, []
    total = len(protocols) * len(tasks) * len(few.labels) * len(floors)
    with progress.stage("floors with few labels", total=total) as stage:
        for protocol in protocols:
            for task in tasks.values():
                draws = Draws.of(protocol, task.labelled, region_ids, xy, few.draws)
                for labels in few.labels:
                    case = FewCase(task, draws.train(labels), draws.test(labels), inputs)
                    for floor in floors:
                        predictions = _cached_predictions(floor, case, features)
                        model = f"floor:{floor}"
                        curves += curve_records(model, protocol, task, labels, case.test, predictions)
                        stage.advance()
    return curves_scored(curves, tasks)


@dataclass(frozen=True)
class FewCase:
    """The data of the fits of all draws with one number of labels.

    Attributes:
        task: the task.
        train: the training regions of each draw, int64 [draws, k].
        test: the test regions of each draw, int64 [draws, m].
        inputs: the features, standardised over all regions.
    """

    task: TaskData
    train: NDArray[np.int64]
    test: NDArray[np.int64]
    inputs: Inputs

    def draws(self) -> Iterator[Case]:
        """Yield the data of one draw after another, without a validation part."""
        for train, test in zip(self.train, self.test, strict=True):
            yield Case(self.task, Split(train, train[:0], test), self.inputs)

    def learned(self, form: str) -> tuple[NDArray[np.float64], list[TargetTransform | ShareTransform | None]]:
        """The labels as models learn them, [draws, k, outputs], and how each draw's were made from own units.

        Classes are a column of 0 and 1 each. `form` is that of a regression, fitted to the labels of each draw.
        """
        labels = self.task.y[self.train]
        if self.task.classes:
            return np.eye(self.task.outputs)[labels], [None] * len(labels)
        fitted = [self.task.form(train, form) for train in self.train]
        learned = [transform.columns(values) for transform, values in zip(fitted, labels, strict=True)]
        return np.stack(learned), list(fitted)

    def error(self, draw: int, prediction: NDArray[Any]) -> float:
        """How wrong a prediction [k] of a draw's own labels is; smaller is better."""
        truth = self.task.y[self.train[draw]]
        if not self.task.classes:
            return float(np.square(prediction - truth).mean())
        value = score_one(self.task.metric, self.task.kind, truth, prediction)
        return -value if higher_is_better(self.task.metric) else value


def _cached_predictions(floor: str, case: FewCase, features: str) -> NDArray[Any]:
    """Return the test predictions of a floor, from the cache folder if they are there."""
    task = case.task
    arrays = [digest(array) for array in (task.y, case.train, case.test)]
    facts = [VERSION, sklearn.__version__, "few", floor, task.kind, task.transform, features, *arrays]
    return cached_array(facts, lambda: FEW[floor](case))


def each_draw(floor: Callable[[Case], NDArray[Any]]) -> Callable[[FewCase], NDArray[Any]]:
    """A floor of split protocols that needs no validation part, for one draw after another."""
    return lambda case: np.stack([floor(draw) for draw in case.draws()])


def location(case: FewCase) -> NDArray[Any]:
    """The mean, or the majority, of the five nearest training regions by distance between centres."""
    xy, predictions = case.inputs.xy, []
    assert xy is not None
    for train, test in zip(case.train, case.test, strict=True):
        distance = np.hypot(*(xy[test][:, None] - xy[train][None]).transpose(2, 0, 1))
        nearest = case.task.y[train][np.argsort(distance, axis=1, kind="stable")[:, :NEIGHBOURS]]
        if case.task.classes:
            predictions.append(np.eye(case.task.outputs)[nearest].sum(axis=1).argmax(axis=1))
        else:
            predictions.append(case.task.without_zeros(train, nearest.mean(axis=1)))
    return np.stack(predictions)


def raw_ridge(case: FewCase) -> NDArray[Any]:
    """Return predictions of ridge regression, of indicators for classes.

    Leave-one-out over the k labels chooses the penalty, in the learned form, and then whether classes are balanced, or
    whether the target is learned as a logarithm if the task does so.
    """
    x, task = case.inputs.scaled, case.task
    best = np.full(len(case.train), np.inf)
    predictions = np.zeros((*case.test.shape, *task.y.shape[1:]), dtype=task.y.dtype)
    options = ("none", task.transform) if task.transform in LOGARITHMS else ("none",)
    for option in ("none", "balanced") if task.classes else options:
        weights = None
        if option == "balanced":
            weights = np.stack([compute_sample_weight("balanced", task.y[train]) for train in case.train])
        y, transforms = case.learned(option)
        fits = fit_ridge(x[case.train], y, weights)
        squared = np.square(fits.left_out - y[:, None]).sum(axis=3)
        penalties = (squared if weights is None else squared * weights[:, None]).sum(axis=2).argmin(axis=1)
        for draw, (penalty, transform) in enumerate(zip(penalties, transforms, strict=True)):
            error = case.error(draw, _own_units(fits.left_out[draw, penalty], transform))
            if error < best[draw]:
                best[draw] = error
                predictions[draw] = _own_units(fits.predict(x[case.test[draw]], draw, penalty), transform)
    return predictions


def raw_forest(case: Case) -> NDArray[Any]:
    """Return predictions of a random forest of 30 trees, with balanced classes, or in the form of the task."""
    candidate = Candidate(of_parts.forest(case, TREES), case.transforms[-1], balanced=bool(case.task.classes))
    with joblib.parallel_config(backend="sequential"):  # threads take longer to start than such trees to grow
        case.fit(candidate)
    return case.predict(candidate)


def raw_gp(case: FewCase) -> NDArray[Any]:
    """The head `gp` on the input features; leave-one-out over the k labels chooses whether it has linear terms."""
    raw = case.inputs.raw
    scaler = Scaler(Table(raw.values, raw.blocks))
    x = torch.from_numpy(scaler.scaled(raw.values))
    y, transforms = case.learned(case.task.transform)
    best = np.full(len(case.train), np.inf)
    outputs = np.zeros((*case.test.shape, y.shape[2]))
    for linear in (False, True):
        for batch in GP.batches(len(case.train), case.train.shape[1], len(scaler.blocks)):
            with torch.random.fork_rng(devices=[]), torch.no_grad():
                torch.manual_seed(0)
                head = GP(GP.Params(linear=linear, **PROCESS), x.shape[1], y.shape[2])
                head.fit_values(x[case.train[batch]], torch.from_numpy(y[batch]), scaler.blocks)
                error = head.left_out_residuals().square().sum(dim=(1, 2)).numpy()
                predicted = head(x[case.test[batch]]).numpy()
            better = error < best[batch]
            best[batch] = np.where(better, error, best[batch])
            outputs[batch] = np.where(better[:, None, None], predicted, outputs[batch])
    return np.stack([_own_units(values, transform) for values, transform in zip(outputs, transforms, strict=True)])


def _own_units(outputs: NDArray[np.float64], transform: TargetTransform | ShareTransform | None) -> NDArray[Any]:
    """Predictions [n] from learned outputs [n, outputs]: in the target's units, or codes of classes."""
    return outputs.argmax(axis=1) if transform is None else transform.predicted(outputs)


FEW: dict[str, Callable[[FewCase], NDArray[Any]]] = {
    "mean": each_draw(of_parts.mean),
    "location": location,
    "raw-ridge": raw_ridge,
    "raw-forest": each_draw(raw_forest),
    "raw-gp": raw_gp,
    "raw-stack": each_draw(of_parts.raw_stack),
}
