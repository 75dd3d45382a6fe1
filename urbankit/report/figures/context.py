"""The data that the figures of one run are drawn from, each computed once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from urbankit.analysis.anchors import find_anchors
from urbankit.analysis.clusters import Hierarchy
from urbankit.city.city import City
from urbankit.evaluation.out_of_sample import out_of_sample, rows_of_test_parts
from urbankit.evaluation.parts import part_predictions, part_tasks
from urbankit.evaluation.splits import strictest
from urbankit.evaluation.tasks import TaskData
from urbankit.report.figures.errors import NotPossible
from urbankit.report.figures.projection import Projection, project
from urbankit.report.maps import RegionMap
from urbankit.runs.context import RunContext
from urbankit.runs.folder import Run, folder_names

CLUSTERS = (2, 3, 4, 5, 6)
"""Numbers of clusters in the figure (paper, figure 8)."""


class FigureContext:
    """A run, its city, other runs to compare it with (by the names of their folders), and data that figures share.

    A distribution is a regression task for each of its parts. An attribute raises `NotPossible` with the reason if its
    data is missing.
    """

    def __init__(self, run_context: RunContext, others: Sequence[Run] = ()) -> None:
        self.run_context = run_context
        self.others = dict(zip(folder_names([run.path for run in others]), others, strict=True))
        self.run, self.tasks = run_context.run, part_tasks(run_context.tasks)
        self.folder: Path = run_context.run.path / "figures"

    @property
    def city(self) -> City:
        if self.run_context.city is None:
            raise NotPossible("the run's city is not available any more")
        return self.run_context.city

    @cached_property
    def region_ids(self) -> NDArray:
        """Ids of the regions, object [N]."""
        if self.run_context.regions is None:
            raise NotPossible("the run has not written its regions")
        return self.run_context.regions["region_id"].to_numpy(object)

    @cached_property
    def row(self) -> dict[str, int]:
        """The row of each region by its id."""
        return {region: row for row, region in enumerate(self.region_ids)}

    @cached_property
    def map(self) -> RegionMap:
        if self.run_context.regions is None or not len(self.run_context.regions):
            raise NotPossible("the run has not written its regions")
        if self.run_context.regions.crs is None:
            raise NotPossible("the regions have no geometry")
        return RegionMap(self.run_context.regions)

    @cached_property
    def vectors(self) -> NDArray[np.float32]:
        """The embeddings [N, dim]."""
        if not self.run.has("embeddings.parquet"):
            raise NotPossible("the run has not written embeddings")
        vectors = self.run.vectors
        if not vectors.size or not np.isfinite(vectors).all():
            raise NotPossible("the embeddings are empty or not finite")
        return vectors

    @cached_property
    def projection(self) -> Projection:
        """The embeddings in two dimensions."""
        return project(self.vectors, self.run.recipe.report.projection, keep=self.anchors)

    @cached_property
    def hierarchy(self) -> Hierarchy:
        if len(self.vectors) < 3:
            raise NotPossible(f"clusters need three regions or more, the city has {len(self.vectors)}")
        return Hierarchy.of(self.vectors)

    @cached_property
    def clusters(self) -> dict[int, NDArray[np.int64]]:
        """The cluster [N] of each region by number of clusters, without numbers that the regions do not allow."""
        clusters = self.hierarchy.nested(CLUSTERS)
        if not clusters:
            raise NotPossible("the regions' embeddings are all the same")
        return clusters

    @cached_property
    def anchors(self) -> list[int]:
        """Rows of the anchor regions A, B and C; empty if there are not three."""
        if self.run_context.city is not None:
            rows = find_anchors(self.run_context.city, self.run.recipe.report.anchors)
        elif self.run.has("walks.parquet"):
            rows = [self.row[root] for root in dict.fromkeys(self.run.walks["root"]) if root in self.row]
        else:
            rows = []
        return rows if len(rows) == 3 else []

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """The method's predictions of test regions."""
        if not self.run.recipe.tasks:
            raise NotPossible("the recipe has no tasks")
        if not self.run.has("predictions.parquet") or self.run.predictions.empty:
            raise NotPossible("the run has not written predictions")
        return part_predictions(self.run.predictions)

    def predicted(self, kind: str | None = None) -> list[TaskData]:
        """The tasks that were predicted, optionally of one `kind`; raises `NotPossible` if that kind has none."""
        predicted = set(self.predictions["task"])
        if not self.tasks:
            raise NotPossible("the targets cannot be read")
        tasks = [task for task in self.tasks if task.name in predicted and kind in (None, task.kind)]
        if kind is not None and not tasks:
            raise NotPossible(f"the recipe has no {kind} task that was predicted")
        return tasks

    def protocols(self, task: TaskData) -> list[str]:
        """The split protocols under which the task was predicted."""
        return list(self.predictions.loc[self.predictions["task"] == task.name, "split"].unique())

    def strictest(self, task: TaskData) -> str:
        """The strictest protocol of the task: `spatial` if the run has it."""
        return strictest(self.protocols(task))

    def tested(self, task: TaskData, protocol: str) -> pd.DataFrame:
        """The out-of-sample predictions of one task and protocol whose truth is known."""
        rows = self.predictions
        rows = rows[(rows["task"] == task.name) & (rows["split"] == protocol)]
        return rows_of_test_parts(rows[rows["truth"].notna()])

    def out_of_sample(self, task: TaskData, protocol: str) -> NDArray[np.float64]:
        """The out-of-sample prediction of each region [N]; NaN for regions in no test part."""
        return out_of_sample(self.tested(task, protocol), self.region_ids, bool(task.classes))
