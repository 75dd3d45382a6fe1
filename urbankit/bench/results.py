"""Finished runs as one tidy table, and what their numbers were measured on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from urbankit.bench.suite import TRAINING
from urbankit.evaluation.splits import PROTOCOLS
from urbankit.evaluation.table import FLOOR
from urbankit.files import hash_json

if TYPE_CHECKING:
    import pandas as pd

    from urbankit.recipe.schema import Recipe
    from urbankit.runfolder import Run

COLUMNS = (
    "suite", "row", "recipe", "city", "run_seed", "task", "model", "split", "seed", "metric", "value", "ground",
)  # fmt: skip

TRAINING_LABELS = {
    "seconds": "seconds",
    **{
        f"{stage}_{name}": f"{label} {text}"
        for stage, label in (("pretrain", "pre-training"), ("finetune", "fine-tuning"))
        for name, text in (
            ("seconds", "seconds"),
            ("epochs", "epochs"),
            ("epochs_to_best", "epochs to best"),
            ("seconds_per_epoch", "s / epoch"),
        )
    },
}
"""What is known of a run's cost, as metrics of the task `training`."""


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


def run_results(run: Run, **facts: Any) -> pd.DataFrame:
    """The records of a finished run as results, with `facts` (`suite`, `row`, `recipe`, `city`, `ground`).

    Its times and epochs are metrics of the task `training`; what does not belong to one split has an empty split and
    no seed.
    """
    records = run.metrics.to_dict("records") if run.has("metrics.parquet") else []
    cost = {"task": TRAINING, "model": run.recipe.method.name}
    records += [cost | place | {"metric": name, "value": value} for place, name, value in _costs(run.manifest)]
    return results(records, run_seed=run.manifest["seed"], **facts)


def results(records: Sequence[Mapping[str, Any]], *, run_seed: int | None, **facts: Any) -> pd.DataFrame:
    """Metric records as a table of `COLUMNS`. Seeds are nullable: floors have none of pre-training."""
    import pandas as pd

    table = pd.DataFrame(list(records)).assign(run_seed=run_seed, **facts).reindex(columns=list(COLUMNS))
    table.loc[is_floor(table), "run_seed"] = None
    return table.astype({"run_seed": "Int64", "seed": "Int64", "value": "float64"})


def is_floor(table: pd.DataFrame) -> pd.Series[bool]:
    return table["model"].astype(str).str.startswith(FLOOR)


def _costs(manifest: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], str, float]]:
    """(split and seed, metric, value) of the times and epochs in a manifest."""
    anywhere = {"split": "", "seed": None}
    seconds = manifest.get("seconds", {})
    yield anywhere, "seconds", sum(seconds.values())
    for stage in ("pretrain", "finetune"):
        if stage in seconds:
            yield anywhere, f"{stage}_seconds", seconds[stage]
    for name, record in manifest.get("training", {}).items():
        stage, *place = name.split()
        where = {"split": place[0], "seed": int(place[1])} if place else anywhere
        yield where, f"{stage}_epochs", record["epochs"]
        yield where, f"{stage}_epochs_to_best", 1 + max(record["best_epoch"].values())
        yield where, f"{stage}_seconds_per_epoch", record["seconds_per_epoch"]
