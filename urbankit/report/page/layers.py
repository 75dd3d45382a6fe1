"""Layers of the page's map: targets, predictions, residuals, clusters and coverage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from urbankit.analysis.clusters import Hierarchy
from urbankit.analysis.coverage import observations
from urbankit.analysis.traits import Feature, traits
from urbankit.city.city import City
from urbankit.city.texts import Text
from urbankit.evaluation.builtin_metrics import divergences
from urbankit.evaluation.out_of_sample import out_of_sample
from urbankit.evaluation.parts import share_rows
from urbankit.evaluation.splits import protocol_label
from urbankit.evaluation.tasks import TaskData, part_name
from urbankit.evaluation.transforms import LOGARITHMS
from urbankit.report.page.packing import pack_counts, pack_floats
from urbankit.report.scale import colour_ends

CLUSTERS = range(2, 9)
NO_CLASS = 65_535
"""The code of a region without a class."""

Layer = dict[str, Any]


@dataclass(frozen=True)
class MapTask:
    """A task on the map.

    Attributes:
        name: Its id.
        truth: float64 [N], NaN without a label; classes are their indices in `classes`.
        classes: The names of the classes that readers see.
        ids: The classes as files name them.
        unit: The unit of a regression.
        logarithmic: Whether colours are logarithmic.
        title: The name that readers see; empty for `name`.
        description: What the target is.
        class_notes: What each class is.
        part: Whether it is a part of a distribution, which has no interval.
    """

    name: str
    truth: NDArray[np.float64]
    classes: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    unit: str = ""
    logarithmic: bool = False
    title: str = ""
    description: str = ""
    class_notes: tuple[str, ...] = ()
    part: bool = False

    @property
    def facts(self) -> Layer:
        """What all layers of the task have in common."""
        title = self.title or self.name
        group = f"{title} ({self.unit})" if self.unit else title
        text = {"description": self.description} if self.description else {}
        return {"group": group, "task": self.name, "title": title, "unit": self.unit, **text}

    @property
    def class_facts(self) -> Layer:
        """What layers of classes have in addition."""
        notes = {"notes": list(self.class_notes)} if any(self.class_notes) else {}
        return {"kind": "class", "classes": list(self.classes), **notes}


def map_tasks(tasks: list[TaskData], predictions: pd.DataFrame | None, region_ids: NDArray) -> list[MapTask]:
    """The tasks of a run with labels from the city, or, if there is no city, from the predictions."""
    if tasks:
        return [
            MapTask(
                task.name,
                np.where(task.labelled, task.y.astype(np.float64), np.nan),
                task.class_labels,
                task.classes,
                task.unit,
                task.transform in LOGARITHMS,
                task.title,
                task.description,
                tuple(task.class_texts.get(name, Text()).description for name in task.classes),
                bool(task.part_of),
            )
            for task in tasks
        ]
    if predictions is None or predictions.empty:
        return []
    return [_from_predictions(str(name), of, region_ids) for name, of in predictions.groupby("task", sort=False)]


def _from_predictions(name: str, predictions: pd.DataFrame, region_ids: NDArray) -> MapTask:
    labelled = predictions.dropna(subset="truth").drop_duplicates("region_id").set_index("region_id")
    truth = labelled["truth"].reindex(region_ids).to_numpy(np.float64)
    pairs = [("truth", "truth_class"), ("prediction", "prediction_class")]
    names: dict[int, str] = {}
    for code, name_column in pairs:
        rows = predictions.dropna(subset=[code, name_column]).drop_duplicates(code)
        names |= {int(position): str(text) for position, text in zip(rows[code], rows[name_column], strict=True)}
    classes = tuple(names.get(i, f"class {i}") for i in range(max(names) + 1)) if names else ()
    part = "part_of" in predictions and bool((predictions["part_of"] != "").all())
    return MapTask(name, truth, classes, classes, part=part)


def task_layers(task: MapTask, predictions: pd.DataFrame | None, region_ids: NDArray) -> Iterator[Layer]:
    """The target, and for every split protocol the out-of-sample prediction and its residual.

    A residual is truth minus prediction, as in the figures: `less` names these two layers in this order.
    """
    common = task.facts
    if task.classes:
        common |= task.class_facts
    else:
        common |= {"kind": "value", "scale": _scale(task)}
    yield {**common, "id": f"truth:{task.name}", "label": "measured", **_data(task, task.truth)}
    if predictions is None:
        return
    of_task = predictions[predictions["task"] == task.name]
    for split in dict.fromkeys(of_task["split"]):
        values = out_of_sample(of_task[of_task["split"] == split], region_ids, bool(task.classes))
        label = protocol_label(split)
        key = f"{task.name}:{split}"
        predicted = {"id": f"prediction:{key}", "label": f"predicted, {label}", "split": label}
        yield {**common, **predicted, **_data(task, values)}
        yield {
            **task.facts,
            "kind": "match" if task.classes else "difference",
            "id": f"residual:{key}",
            "label": f"{'right or wrong' if task.classes else 'residual'}, {label}",
            "split": label,
            "less": [f"truth:{task.name}", f"prediction:{key}"],
        }


def all_prediction_layers(task: MapTask, table: pd.DataFrame, region_ids: NDArray) -> Iterator[Layer]:
    """The prediction of every region, and the width of its interval or the probability of its class."""
    if task.name not in table:
        return
    of_regions = table.set_index(table["region_id"].astype(str)).reindex([str(name) for name in region_ids])
    common = task.facts
    predicted = {"id": f"everywhere:{task.name}", "label": "predicted, every region"}
    if task.classes:
        codes = of_regions[task.name].map({name: float(code) for code, name in enumerate(task.ids)})
        yield {
            **common,
            **predicted,
            **task.class_facts,
            **_data(task, np.asarray(codes, np.float64)),
        }
        extent, label = of_regions[f"{task.name}_probability"], "probability of the class"
        common["unit"] = ""
    else:
        values = of_regions[task.name].to_numpy(np.float64)
        yield {**common, **predicted, "kind": "value", "scale": _scale(task), **_data(task, values)}
        if task.part:
            return
        extent, label = of_regions[f"{task.name}_upper"] - of_regions[f"{task.name}_lower"], "width of the interval"
    amounts = extent.to_numpy(np.float64)
    if np.isfinite(amounts).any():
        low, high = colour_ends(amounts[np.isfinite(amounts)])
        scale = {"low": low, "high": high, "log": False}
        yield {
            **common, "id": f"uncertainty:{task.name}", "label": label, "kind": "value", "scale": scale,
            "data": pack_floats(amounts),
        }  # fmt: skip


def divergence_layers(task: TaskData, predictions: pd.DataFrame, region_ids: NDArray) -> list[Layer]:
    """How far a predicted distribution is from the true one, for every split protocol: the residual of all parts."""
    rows = share_rows(predictions[predictions["task"] == task.name])
    layers = []
    for split in dict.fromkeys(rows["split"]):
        of_split = rows[rows["split"] == split]
        parts = [of_split[of_split["task"] == part_name(task.name, part)] for part in task.parts]
        shares = np.stack([out_of_sample(of_part, region_ids, False) for of_part in parts], axis=1)
        values = divergences(task.y, shares)
        finite = values[np.isfinite(values)]
        layers.append({
            **MapTask(task.name, values, title=task.title, description=task.description).facts,
            "unit": "nats", "kind": "value", "id": f"divergence:{task.name}:{split}",
            "label": f"divergence of the prediction, {protocol_label(split)}", "split": protocol_label(split),
            "scale": {"low": 0.0, "high": colour_ends(finite)[1], "log": False}, "data": pack_floats(values),
        })  # fmt: skip
    return layers


def cluster_layers(vectors: NDArray[np.float32], features: list[Feature]) -> Iterator[Layer]:
    """Ward's clusters of the embeddings, for each number of them, numbered as in the figures.

    `features` are the data that clusters are described by.
    """
    for k, labels in Hierarchy.of(vectors).nested(CLUSTERS).items():
        yield {
            "group": "Clusters of the embeddings",
            "id": f"cluster:{k}",
            "label": f"{k} clusters",
            "kind": "class",
            "unit": "",
            "classes": [f"cluster {i + 1}" for i in range(k)],
            "notes": traits(features, labels),
            "data": pack_counts(labels),
        }


def coverage_layers(city: City) -> Iterator[Layer]:
    """How many observations of each kind every region has."""
    for key, label, counts in observations(city):
        yield {
            "group": "Coverage",
            "id": f"coverage:{key}",
            "label": label,
            "kind": "count",
            "unit": "",
            "data": pack_counts(np.minimum(np.rint(counts), 2**32 - 1)),
        }


def _data(task: MapTask, values: NDArray[np.float64]) -> dict[str, Any]:
    if not task.classes:
        return {"data": pack_floats(values)}
    return {"data": pack_counts(np.where(np.isnan(values), NO_CLASS, values))}


def _scale(task: MapTask) -> dict[str, Any]:
    low, high = colour_ends(task.truth[np.isfinite(task.truth)])
    return {"low": low, "high": high, "log": bool(task.logarithmic and low >= 0)}
