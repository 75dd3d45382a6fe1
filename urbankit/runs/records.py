"""Finished runs as one tidy table, and what their numbers were measured on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from urbankit.runs.folder import Run
from urbankit.tables.records import TRAINING, results


def run_results(run: Run, **facts: Any) -> pd.DataFrame:
    """The records of a finished run as results, with `facts` (`suite`, `row`, `recipe`, `city`, `ground`).

    Its times and epochs are metrics of the task `training`; what does not belong to one split has an empty split and
    no seed.
    """
    records = run.metrics.to_dict("records") if run.has("metrics.parquet") else []
    cost = {"task": TRAINING, "model": run.recipe.method.name}
    records += [cost | place | {"metric": name, "value": value} for place, name, value in _costs(run.manifest)]
    return results(records, run_seed=run.manifest["seed"], **facts)


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
