"""The records of a finished run: its metrics, and its times and epochs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from urbankit.runs.folder import Run
from urbankit.tables.records import results
from urbankit.tables.table import TRAINING


def run_results(run: Run, **facts: Any) -> pd.DataFrame:
    """The metric records of a finished run as results, with `facts` (`suite`, `row`, `recipe`, `city`, `ground`).

    The times and epochs of the run are metrics of the task `training`; those of the whole run have an empty split and
    no seed.
    """
    method = {"task": TRAINING, "model": run.recipe.method.name}
    costs = [method | split | {"metric": name, "value": value} for split, name, value in _costs(run.manifest)]
    records = [pd.DataFrame(costs)]
    if run.has("metrics.parquet") and len(run.metrics):
        records.insert(0, run.metrics)
    return results(pd.concat(records, ignore_index=True), run_seed=run.recorded("seed"), **facts)


def _costs(manifest: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], str, float]]:
    """(split and seed, metric, value) of the times and epochs in a manifest."""
    whole_run = {"split": "", "seed": None}
    seconds = manifest.get("seconds") or {}
    yield whole_run, "seconds", sum(seconds.values())
    for stage in ("pretrain", "finetune"):
        if stage in seconds:
            yield whole_run, f"{stage}_seconds", seconds[stage]
    for name, record in (manifest.get("training") or {}).items():
        stage, *protocol_and_seed = name.split()
        split = {"split": protocol_and_seed[0], "seed": int(protocol_and_seed[1])} if protocol_and_seed else whole_run
        yield split, f"{stage}_epochs", record["epochs"]
        yield split, f"{stage}_epochs_to_best", 1 + max(record["best_epoch"].values())
        yield split, f"{stage}_seconds_per_epoch", record["seconds_per_epoch"]
