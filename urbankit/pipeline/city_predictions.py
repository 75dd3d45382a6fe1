"""The predictions of a model for the regions of another city."""

from __future__ import annotations

from dataclasses import dataclass

import geopandas as gpd
import numpy as np

from urbankit.evaluation.carried_head import Carried
from urbankit.evaluation.metrics import metric_label, score
from urbankit.evaluation.tasks import TaskData
from urbankit.export.tables import ExportTable, prediction_export
from urbankit.pipeline.prediction_options import in_unit, mean_width


@dataclass(frozen=True)
class CityPredictions:
    """The predictions of a model for every region of a city.

    Attributes:
        predicted: The predictions by task.
        table: One row per region; see `urbankit.runs.prediction_table.carried_table`.
        level: The share of regions that an interval should cover.
        tasks: The labels of this city, of the tasks that have any. They play no part in the predictions.
        notes: What was not carried over, and what else a reader should know.
        facts: Where the predictions are from.
    """

    predicted: dict[str, Carried]
    table: gpd.GeoDataFrame
    level: float
    tasks: dict[str, TaskData]
    notes: list[str]
    facts: dict[str, str]

    @property
    def title(self) -> str:
        """What a summary is headed by."""
        calibrated = f"{self.level:.0%} intervals, calibrated in {self.facts['calibrated_in']}"
        return f"{calibrated}; they may not hold in {self.facts['city']}"

    def summary(self) -> tuple[list[str], list[list[str]]]:
        """Columns and rows of text, one row per task. Scores are on the labels of this city, if it has any."""
        rows = []
        for name, carried in self.predicted.items():
            scores, metric = self.scores(name), carried.head.metric
            score = f"{metric_label(metric)} {scores[metric]:.3f}" if scores else "–"
            labelled = int(self.tasks[name].labelled.sum()) if name in self.tasks else 0
            coverage = f"{scores['coverage']:.0%}" if "coverage" in scores else "–"
            width = "–" if carried.classes else mean_width(self.table, name)
            title = in_unit(name, carried.head.unit)
            rows.append([title, str(len(self.table)), str(labelled), score, coverage, width])
        return ["task", "regions", "labelled here", "score here", "covered here", "mean width"], rows

    def export(self) -> ExportTable:
        """The table for an exporter."""
        classes = {name: one.classes for name, one in self.predicted.items()}
        titles = {name: task.class_titles for name, task in self.tasks.items() if name in classes}
        return prediction_export(self.table, classes, self.facts, titles)

    def scores(self, task: str) -> dict[str, float]:
        """The metrics of the predictions on the labels of this city, and of their intervals; empty without labels."""
        if task not in self.tasks:
            return {}
        data, carried = self.tasks[task], self.predicted[task]
        rows = np.flatnonzero(data.labelled)
        names = self.table[task].to_numpy()[rows]
        if data.classes:
            return score(data.kind, np.array(data.classes, dtype=object)[data.y[rows]], names)
        interval = carried.interval(self.level)
        bounds = {} if interval is None else score("interval", data.y[rows], np.column_stack(interval)[rows])
        return score(data.kind, data.y[rows], names) | bounds
