"""Tidy records of scores, the rows of every table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from urbankit.evaluation.splits import is_sampled
from urbankit.recipe.recipe import Recipe
from urbankit.tables.table import FLOOR
from urbankit.utils.files import hash_json

COLUMNS = (
    "suite", "row", "recipe", "city", "run_seed", "task", "model", "split", "seed", "metric", "value", "ground",
)  # fmt: skip


@dataclass(frozen=True)
class EvaluationSetup:
    """What the numbers of a run were measured on; only runs with the same setup are compared.

    Attributes:
        city: The content hash of the city.
        shares: The shares of training, validation and test regions.
        blocks: The number of blocks along a side of the grid of the spatial split.
        min_class_size: The minimum size of a class.
        folds: The parameters of the protocol `folds`.
        tasks: (name, target, scale) of tasks whose target has another name or scale.
        few: The numbers of labels and of draws of the protocols of few labels.
    """

    city: str
    shares: tuple[float, float, float]
    blocks: int
    min_class_size: int
    folds: tuple[tuple[str, Any], ...]
    tasks: tuple[tuple[str, str, str], ...]
    few: tuple[tuple[int, ...], int] = ((), 0)

    @classmethod
    def of(cls, recipe: Recipe, city_hash: str) -> EvaluationSetup:
        """The setup of a run of `recipe` on the city with this content hash."""
        evaluation = recipe.evaluation
        targets = ((name, task.target or name, task.scale) for name, task in sorted(recipe.tasks.items()))
        tasks = tuple(task for task in targets if (task[1], task[2]) != (task[0], "own"))
        folds = tuple(evaluation.folds.model_dump().items())
        few = (tuple(evaluation.few.labels), evaluation.few.draws)
        return cls(city_hash, evaluation.fractions, evaluation.blocks, evaluation.min_class_size, folds, tasks, few)

    @property
    def key(self) -> str:
        """A hash of the setup: the column `ground` of results."""
        return hash_json(asdict(self))[:12]

    def test_to_train(self, split: str) -> float | None:
        """The number of test regions divided by that of training regions.

        None for protocols whose seeds draw no splits: `folds`, whose seeds are those of k-means, and `all`, which
        scores the same regions for every seed.
        """
        return self.shares[2] / self.shares[0] if is_sampled(split) else None


def results(records: pd.DataFrame | Sequence[Mapping[str, Any]], *, run_seed: int | None, **facts: Any) -> pd.DataFrame:
    """Metric records as a table of `COLUMNS`; `run_seed`, the seed of pre-training, is missing for floors."""
    table = pd.DataFrame(records).assign(run_seed=run_seed, **facts).reindex(columns=list(COLUMNS))
    table.loc[is_floor(table), "run_seed"] = None
    return table.astype({"run_seed": "Int64", "seed": "Int64", "value": "float64"})


def is_floor(table: pd.DataFrame) -> pd.Series[bool]:
    """Which rows of a table of results are those of floors."""
    return table["model"].astype(str).str.startswith(FLOOR)
