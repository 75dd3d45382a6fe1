"""Tidy records of scores, the rows of every table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from urbankit.evaluation.splits import PROTOCOLS
from urbankit.recipe.recipe import Recipe
from urbankit.tables.table import FLOOR
from urbankit.utils.files import hash_json

COLUMNS = (
    "suite", "row", "recipe", "city", "run_seed", "task", "model", "split", "seed", "metric", "value", "ground",
)  # fmt: skip


@dataclass(frozen=True)
class Ground:
    """What a run's numbers were measured on: numbers of two runs are compared where this is the same.

    `shares` are those of the training, validation and test part; `folds` is the probe of that protocol; `tasks` are the
    (name, target, scale) of tasks that do not predict the target of their own name in its own unit.
    """

    city: str
    shares: tuple[float, float, float]
    blocks: int
    min_class_size: int
    folds: tuple[tuple[str, Any], ...]
    tasks: tuple[tuple[str, str, str], ...]

    @classmethod
    def of(cls, recipe: Recipe, city_hash: str) -> Ground:
        judged = recipe.evaluation
        named = ((name, task.target or name, task.scale) for name, task in sorted(recipe.tasks.items()))
        tasks = tuple(task for task in named if (task[1], task[2]) != (task[0], "own"))
        folds = tuple(judged.folds.model_dump().items())
        return cls(city_hash, judged.fractions, judged.blocks, judged.min_class_size, folds, tasks)

    @property
    def key(self) -> str:
        return hash_json(asdict(self))[:12]

    def test_to_train(self, split: str) -> float | None:
        """Size of the test part over that of the training part; None for a protocol that is no resampling: `folds`,
        whose seeds are those of k-means, and `all`, which scores the same regions for every seed."""
        return self.shares[2] / self.shares[0] if split in PROTOCOLS else None


def results(records: pd.DataFrame | Sequence[Mapping[str, Any]], *, run_seed: int | None, **facts: Any) -> pd.DataFrame:
    """Metric records as a table of `COLUMNS`; `run_seed`, the seed of pre-training, is missing for floors."""
    table = pd.DataFrame(records).assign(run_seed=run_seed, **facts).reindex(columns=list(COLUMNS))
    table.loc[is_floor(table), "run_seed"] = None
    return table.astype({"run_seed": "Int64", "seed": "Int64", "value": "float64"})


def is_floor(table: pd.DataFrame) -> pd.Series[bool]:
    """Which rows of a table of results are those of floors."""
    return table["model"].astype(str).str.startswith(FLOOR)
