"""Any runs side by side, in the same tables as a suite's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from urbankit.runs.folder import Run, folder_names
from urbankit.runs.records import run_results
from urbankit.tables.comparison import build_tables
from urbankit.tables.records import Ground, is_floor
from urbankit.tables.spec import SuiteTable
from urbankit.tables.table import Table
from urbankit.utils.errors import Problem, Problems, UserError


def compare_runs(runs: Sequence[str | Path], names: Sequence[str] = ()) -> list[Table]:
    """Tables of finished runs, one for every city and split protocol; the last run is the reference.

    `names` are what they are called, by default the names of their folders. Runs of one name are one row: its seeds of
    pre-training. Runs that share city and splits are paired by seeds; others come in tables of their own. Raises
    `UserError` for a folder that is no finished run, and for two runs of one name and seed.
    """
    if names and len(names) != len(runs):
        raise UserError(f"there are {len(runs)} runs and {len(names)} names; give one name a run")
    opened = _finished(runs)
    called = list(names) or folder_names([run.path for run in opened])
    problems = Problems()
    grounds: dict[str, Ground] = {}
    members: dict[tuple[str, str], dict[int, Path]] = {}
    tables = []
    for run, name in zip(opened, called, strict=True):
        recipe = run.recipe
        ground = Ground.of(recipe, run.manifest["city_hash"])
        grounds[ground.key] = ground
        row, seed = members.setdefault((name, ground.key), {}), run.manifest["seed"]
        if seed in row:
            problems.add(
                f"has the name '{name}' and seed {seed}, as {row[seed]}; give them names of their own by --name",
                file=run.path,
            )
        found = run_results(run, suite="", row=name, recipe=recipe.name, city=run.manifest["city"], ground=ground.key)
        # Floors do not depend on the seed of pre-training: those of a row's first run stand for all.
        tables.append(found[~is_floor(found)] if row else found)
        row[seed] = run.path
    problems.raise_if_any()
    rows = list(dict.fromkeys(called))
    return build_tables(pd.concat(tables, ignore_index=True), grounds, SuiteTable(rows=rows, reference=rows[-1]))


def _finished(runs: Sequence[str | Path]) -> list[Run]:
    """The runs opened; raises one `UserError` with all that have no numbers to compare."""
    problems, opened = Problems(), []
    for path in runs:
        try:
            run = Run.open(path)
            if run.status != "done":
                message = f"the run is not done (its status: {run.status}); resume it with --resume"
                raise UserError(Problem(message, run.path))
            if not run.has("metrics.parquet") or run.metrics.empty:
                raise UserError(Problem("the run has no metrics: its recipe has no tasks to compare", run.path))
            opened.append(run)
        except UserError as error:
            problems.extend(error.problems)
    problems.raise_if_any()
    return opened
