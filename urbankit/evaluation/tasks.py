"""What a task predicts: a city's target made ready to be split, learned and scored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from urbankit.city.city import City
from urbankit.city.texts import Text
from urbankit.evaluation.metrics import primary, score
from urbankit.evaluation.shares import ShareTransform
from urbankit.evaluation.transforms import LOGARITHMS, TRANSFORMS, TargetTransform
from urbankit.utils.errors import Problems, UserError

MIN_CLASS_SIZE = 10
MIN_LABELLED = 10
"""Fewer labelled regions than this leave fewer than two in the validation and test parts."""

LARGEST = 1e30
"""Nothing that is measured is larger; a value that stands for missing and was not declared so is."""

SCALES = ("own", "log")


class Scored(NamedTuple):
    """The scores of some models.

    Attributes:
        records: metric records.
        predictions: the table of `TaskData.predictions`.
        curves: rows of learning curves (`urbankit.evaluation.few_labels`).
    """

    records: list[dict[str, Any]]
    predictions: pd.DataFrame
    curves: Sequence[dict[str, Any]] = ()

    @classmethod
    def joined(cls, parts: Iterable[Scored]) -> Scored:
        """All records and predictions of `parts`, in their order."""
        parts = list(parts)
        tables = [pd.DataFrame(), *(part.predictions for part in parts)]
        return cls(
            [record for part in parts for record in part.records],
            pd.concat(tables, ignore_index=True),
            [row for part in parts for row in part.curves],
        )


TRUTH_SHARE, PREDICTION_SHARE = "truth_share_", "prediction_share_"
"""What the columns of shares begin with in a table of `TaskData.predictions`."""


@dataclass(frozen=True)
class TaskData:
    """One task over the regions of a city.

    `y` is float64 [N] (NaN where not labelled) for regression, int64 [N] (a position in `classes`, -1 where not
    labelled) for classification, float64 [N, K] (shares of the K `parts`, which sum to one) for a distribution. `notes`
    say what was left out and why. `title`, `description` and `class_texts` (by class or part) are what readers see of
    the target; empty where the city file has none. `part_of` is the distribution that a regression is a part of
    (`urbankit.evaluation.parts`); empty for others.
    """

    name: str
    kind: str
    y: NDArray
    labelled: NDArray[np.bool_]
    classes: tuple[str, ...] = ()
    unit: str = ""
    transform: str = "none"
    notes: tuple[str, ...] = ()
    title: str = ""
    description: str = ""
    class_texts: Mapping[str, Text] = field(default_factory=dict)
    parts: tuple[str, ...] = ()
    part_of: str = ""

    @property
    def label(self) -> str:
        """The name that readers see."""
        return self.title or self.name

    @property
    def class_labels(self) -> tuple[str, ...]:
        """The names of the classes that readers see."""
        return tuple(self.class_titles.get(name, name) for name in self.classes)

    @property
    def class_titles(self) -> dict[str, str]:
        """The titles of the classes that have one."""
        return {name: text.title for name, text in self.class_texts.items() if text.title}

    @property
    def metric(self) -> str:
        """The metric models of this task are chosen and compared by."""
        return primary(self.kind)

    @property
    def outputs(self) -> int:
        """How many numbers a head predicts: one, one for each class, or one for each part but the last."""
        return len(self.classes) or max(len(self.parts) - 1, 1)

    @property
    def names(self) -> tuple[str, ...]:
        """The classes, or the parts of a distribution; none of a regression."""
        return self.classes or self.parts

    @property
    def missing(self) -> float:
        """What `y` has where it is not labelled."""
        return -1 if self.classes else np.nan

    def form(self, rows: NDArray[np.int64], transform: str | None = None) -> TargetTransform | ShareTransform:
        """The form in which the numbers of a task are learned, fitted to the labelled regions `rows`.

        `transform` is another form of a regression than that of the task. Classes have no form.
        """
        if self.parts:
            return ShareTransform.fit(self.y[rows])
        return TargetTransform.fit(self.transform if transform is None else transform, self.y[rows])

    def without_zeros(self, rows: NDArray[np.int64], prediction: NDArray[Any]) -> NDArray[Any]:
        """Replace zeros in predicted shares [n, K], as those of the regions `rows` are; other predictions stay.

        Only a share that is exactly zero is one: other tiny shares of a prediction stay.
        """
        return ShareTransform.fit(self.y[rows]).positive(prediction, prediction == 0) if self.parts else prediction

    def records(
        self, model: str, protocol: str, seed: int, regions: NDArray[np.int64], prediction: NDArray
    ) -> list[dict[str, Any]]:
        """Metric records (`task, model, split, seed, metric, value`) of predictions [n] for labelled `regions` [n]."""
        return self.scores(model, protocol, seed, score(self.kind, self.y[regions], prediction))

    def scores(self, model: str, protocol: str, seed: int, values: Mapping[str, float]) -> list[dict[str, Any]]:
        """Metric records of metrics that were computed elsewhere."""
        return [
            {"task": self.name, "model": model, "split": protocol, "seed": seed, "metric": metric, "value": value}
            for metric, value in values.items()
        ]

    def predictions(
        self, model: str, protocol: str, seed: int, parts: Mapping[str, NDArray[np.int64]], prediction: NDArray
    ) -> pd.DataFrame:
        """The predictions table of one model on one split; `prediction` has the regions of `parts` in their order.

        Columns: `region` (row of the city), `task, model, split, seed, fold` (a key of `parts`), `truth, prediction`
        (NaN where not labelled; positions in `classes` for a classification), `truth_class, prediction_class`. A
        distribution has the last four of its largest part, and `truth_share_PART, prediction_share_PART` of each part.
        """
        regions = np.concatenate(list(parts.values()))
        fold = np.repeat(np.array(list(parts), dtype=object), [len(part) for part in parts.values()])
        truth = self.y[regions]
        shares: dict[str, NDArray[Any]] = {}
        if self.parts:
            for side, values in ((TRUTH_SHARE, truth), (PREDICTION_SHARE, prediction)):
                shares |= {f"{side}{part}": of for part, of in zip(self.parts, values.T, strict=True)}
            truth, prediction = largest(truth), largest(prediction)
        names = np.array([*self.names, None], dtype=object)
        classes = [names[np.asarray(codes)] if self.names else None for codes in (truth, prediction)]
        return pd.DataFrame(
            {
                "region": regions, "task": self.name, "model": model, "split": protocol, "seed": seed, "fold": fold,
                "truth": np.where(self.labelled[regions], truth.astype(np.float64), np.nan),
                "prediction": np.asarray(prediction, dtype=np.float64),
                "truth_class": classes[0], "prediction_class": classes[1], **shares,
            }
        )  # fmt: skip


def part_name(task: str, part: str) -> str:
    """Return the name that a part of a distribution has as a task of its own."""
    return f"{task}_share_{part}"


def largest(shares: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the position of the largest part in each row of shares [n, K]; -1 for a row without shares."""
    return np.where(np.isnan(shares).any(axis=1), -1, np.asarray(shares).argmax(axis=1))


def load_task(
    city: City,
    name: str,
    target: str,
    *,
    transform: str = "none",
    scale: str = "own",
    min_class_size: int = MIN_CLASS_SIZE,
) -> TaskData:
    """A task named `name` on the city's target; see `make_task`."""
    column = city.target(target)
    task = make_task(
        name,
        column.kind,
        column.values,
        unit=column.unit or "",
        region_ids=city.region_ids,
        transform=transform,
        scale=scale,
        min_class_size=min_class_size,
        parts=column.parts,
    )
    return replace(task, title=column.title, description=column.description, class_texts=column.classes)


def make_task(
    name: str,
    kind: str,
    values: NDArray,
    *,
    unit: str = "",
    region_ids: Sequence[str] | None = None,
    transform: str = "none",
    scale: str = "own",
    min_class_size: int = MIN_CLASS_SIZE,
    parts: Sequence[str] = (),
) -> TaskData:
    """A task of target values [N] (float with NaN for missing, or object with None for missing).

    Values of a distribution are shares [N, K] of its `parts`.

    `transform` is how a regression target is learned (`none`, `standard`, `log`): metrics stay in its own units.
    `scale="log"` makes log(1 + value) the target itself: it is learned, predicted and scored in that unit, for
    targets of which only the order of magnitude means something. Classes with fewer than `min_class_size` regions
    are left out. Raises `UserError`: no label at all or too few, infinite values, a logarithm of negative values, fewer
    than two classes, a logarithm of a distribution.
    """
    ids = [str(i) for i in (range(len(values)) if region_ids is None else region_ids)]
    if kind == "classification":
        return _classification(name, values, unit, min_class_size)
    problems = Problems()
    if parts:
        return _distribution(name, values, tuple(parts), unit, (transform, scale), problems)
    if transform not in TRANSFORMS:
        problems.add(f"unknown transform '{transform}'; known: {', '.join(TRANSFORMS)}", key=f"tasks.{name}.transform")
    if scale not in SCALES:
        problems.add(f"unknown scale '{scale}'; known: {', '.join(SCALES)}", key=f"tasks.{name}.scale")
    y = np.array(values, dtype=np.float64)
    infinite = np.abs(y) > LARGEST
    if infinite.any():
        problems.add(
            f"{int(infinite.sum())} values are infinite or beyond {LARGEST:g} (regions {_some(ids, infinite)}); remove "
            "or correct them",
            key=f"tasks.{name}",
        )
    negative = y < 0
    if (transform in LOGARITHMS or scale == "log") and negative.any():
        problems.add(
            f"a logarithm needs values of at least 0, but {int(negative.sum())} are negative "
            f"(regions {_some(ids, negative)}); use transform: standard",
            key=f"tasks.{name}.transform" if transform in LOGARITHMS else f"tasks.{name}.scale",
        )
    labelled = ~np.isnan(y)
    _enough(name, int(labelled.sum()), problems)
    problems.raise_if_any()
    if scale == "log":
        y, unit = np.log1p(y), f"log(1 + {unit})" if unit else "log(1 + value)"
    return TaskData(name, "regression", y, labelled, unit=unit, transform=transform)


def _classification(name: str, values: NDArray, unit: str, min_class_size: int) -> TaskData:
    codes, uniques = pd.factorize(pd.Series(values, dtype=object).map(str, na_action="ignore"), sort=True)
    names = [str(name) for name in uniques]
    sizes = np.bincount(codes[codes >= 0], minlength=len(names))
    selected = np.flatnonzero(sizes >= min_class_size)
    notes = tuple(
        f"{name}: class '{names[i]}' has {_regions(sizes[i])}, fewer than min_class_size {min_class_size}: left out"
        for i in np.flatnonzero(sizes < min_class_size)
    )
    if names and len(selected) < 2:
        class_sizes = ", ".join(f"'{c}' {size}" for c, size in zip(names, sizes, strict=True))
        raise UserError(
            f"tasks.{name}: a classification needs two classes of at least {min_class_size} regions each "
            f"(evaluation.min_class_size); the target has {class_sizes}"
        )
    renumbered = np.full(len(names) + 1, -1, dtype=np.int64)
    renumbered[selected] = np.arange(len(selected))
    y = renumbered[codes]
    problems = Problems()
    _enough(name, int((y >= 0).sum()), problems)
    problems.raise_if_any()
    classes = tuple(names[i] for i in selected)
    return TaskData(name, "classification", y, y >= 0, classes, unit=unit, notes=notes)


def _distribution(
    name: str, values: NDArray, parts: tuple[str, ...], unit: str, forms: tuple[str, str], problems: Problems
) -> TaskData:
    for key, form in zip(("transform", "scale"), forms, strict=True):
        if form in LOGARITHMS:
            message = f"`{key}: {form}` is of a regression; a distribution is learned in log-ratios of its parts"
            problems.add(f"{message}: remove the key", key=f"tasks.{name}.{key}")
    y = np.asarray(values, dtype=np.float64)
    labelled = np.asarray(np.isfinite(y).all(axis=1))
    _enough(name, int(labelled.sum()), problems)
    problems.raise_if_any()
    return TaskData(name, "distribution", y, labelled, unit=unit, parts=parts)


def _enough(name: str, labelled: int, problems: Problems) -> None:
    if labelled == 0:
        problems.add("the target has no value for any region; check its source", key=f"tasks.{name}")
    elif labelled < MIN_LABELLED:
        problems.add(
            f"only {_regions(labelled)} {'has' if labelled == 1 else 'have'} a value; train, validation and test parts "
            f"need at least {MIN_LABELLED} together",
            key=f"tasks.{name}",
        )


def _regions(count: int) -> str:
    return f"{count} region" + ("" if count == 1 else "s")


def _some(ids: Sequence[str], mask: NDArray[np.bool_], most: int = 5) -> str:
    rows = np.flatnonzero(mask)
    return ", ".join(ids[row] for row in rows[:most]) + (", …" if len(rows) > most else "")
