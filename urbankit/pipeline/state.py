"""What the stages of a run share."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from urbankit.city.city import City
from urbankit.evaluation.cross_fit import CrossFit
from urbankit.evaluation.few_labels import few_protocols
from urbankit.evaluation.raw_features import build_raw_features
from urbankit.evaluation.tasks import TaskData
from urbankit.heads.base import RegionData
from urbankit.methods.base import Method, MethodInputs
from urbankit.pipeline.tracking import Tracking
from urbankit.pipeline.transfer.floors import shared_features
from urbankit.pipeline.transfer.zero_shot import ZeroShot
from urbankit.recipe.recipe import Recipe
from urbankit.runs.data import Splits, centres, needs_region_data, region_data
from urbankit.runs.manifest import Manifest
from urbankit.training.finetune import Finetuned
from urbankit.training.head_training import HeadTraining
from urbankit.utils.progress import Progress

Predictions = dict[tuple[str, int], Finetuned]
"""Predictions for all regions, by split protocol and seed."""


@dataclass
class RunState:
    """What the stages of one run share.

    Attributes:
        recipe: The resolved recipe.
        city: The prepared city, of N regions.
        inputs: The modalities and views of the recipe that the city has.
        tasks: The tasks of the recipe that are scored, with the labels of the city.
        splits: Training, validation and test regions, by split protocol and seed.
        method: The method; `pretrain` trains it.
        manifest: The manifest of the run; its `folder` is the run folder.
        progress: Where progress is shown.
        learned: The tasks whose labels pre-training learns from (`pretrain.supervised`). They are not scored.
        zero_shot: Labels and embeddings of another city, in a zero-shot transfer.
        priors: By task, the predictions of a model of other cities that its head starts from; `prior` fills them.
        held_out: After pre-training, by name, the loss on held-out regions and that of a model that learned nothing.
        retrieval: After pre-training, by (block, other block), what `Recalled.beside` returns for held-out regions.
        view_measures: Rows of `views.parquet`; `embed` fills them.
        history: Losses of every epoch so far, in rows of `history.parquet`.
        tracking: The trackers of the recipe.
    """

    recipe: Recipe
    city: City
    inputs: MethodInputs
    tasks: dict[str, TaskData]
    splits: Splits
    method: Method
    manifest: Manifest
    progress: Progress
    learned: dict[str, TaskData] = field(default_factory=dict)
    zero_shot: ZeroShot | None = None
    priors: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    held_out: dict[str, tuple[float, float]] = field(default_factory=dict)
    retrieval: dict[tuple[str, str], tuple[float, float, float, float, int, int]] = field(default_factory=dict)
    view_measures: list[dict[str, Any]] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    tracking: Tracking = field(init=False)

    def __post_init__(self) -> None:
        self.tracking = Tracking(self.recipe, self.manifest, self.progress)

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.manifest.folder / "checkpoints"

    def head_training(self, embeddings: Tensor, folder: str, method: Method | None = None) -> HeadTraining:
        """The training of heads on embeddings [N, dim], with checkpoints in a folder of `checkpoints`.

        The embeddings are those of `method`, by default of that of the run. In a zero-shot transfer the heads are
        trained on the labels of the other city.
        """
        tasks, rows = self.tasks, None
        if self.zero_shot is not None:
            tasks, rows = self.zero_shot.tasks, self.zero_shot.n_source
            embeddings = self.zero_shot.joined(embeddings)
        heads = {name: self.recipe.tasks[name].head for name in tasks}
        return HeadTraining(
            method or self.method,
            embeddings,
            tasks,
            heads,
            self.recipe.finetune,
            self.checkpoints / folder,
            self.progress,
            rows,
            self.region_data,
            self.priors,
        )

    def cross_fit(self, embeddings: Tensor) -> dict[str, CrossFit]:
        """Cross-fitted predictions by task for embeddings [N, dim], as the section `predict` of the recipe says.

        In a zero-shot transfer the rows are those of the other city, then those of this city.

        Raises:
            UserError: If the labels of a task are too few for the folds.
        """
        city = self.city if self.zero_shot is None else self.zero_shot.city
        evaluation = self.recipe.evaluation
        training = self.head_training(embeddings, "predict")
        return training.cross_fit(self.recipe.predict, centres(city), evaluation.seeds[0], evaluation.blocks)

    @cached_property
    def region_data(self) -> dict[str, RegionData]:
        """By split protocol, what heads read beside the embedding; empty if no head reads more."""
        recipe, city, zero_shot = self.recipe, self.city, self.zero_shot
        if not needs_region_data(recipe):
            return {}
        features = build_raw_features(city, recipe)
        protocols = {protocol for protocol, _ in (self.splits if zero_shot is None else zero_shot.splits)}
        protocols.add(recipe.predict.split)
        protocols.update(few_protocols(recipe.evaluation.splits))
        if zero_shot is None:
            return {protocol: region_data(recipe, city, features, protocol) for protocol in protocols}
        # Coordinates of another city mean nothing here, so there is no smoother.
        both = shared_features(build_raw_features(zero_shot.city, recipe), features, zero_shot.statistics)
        return {
            protocol: RegionData(both.values, both.blocks, None, zero_shot.groups(protocol, city.n_regions))
            for protocol in protocols
        }
