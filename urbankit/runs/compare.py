"""Comparison of finished runs, in the tables of a suite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from urbankit.runs.folder import Run, folder_names
from urbankit.runs.records import run_results
from urbankit.tables.comparison import build_tables
from urbankit.tables.records import EvaluationSetup, is_floor
from urbankit.tables.spec import SuiteTable
from urbankit.tables.table import Table
from urbankit.utils.errors import Problem, Problems, UserError


def compare_runs(
    runs: Sequence[str | Path], names: Sequence[str] = (), titles: Mapping[str, str] | None = None
) -> list[Table]:
    """Build tables of finished runs, one for every city and split protocol.

    Runs with the same city and splits are paired by seeds; others come in separate tables.

    Args:
        runs: Run folders; the last is the reference.
        names: The names of the runs, by default those of their folders. Runs with the same name are one row, with
            several seeds of pre-training.
        titles: What readers see of tasks and cities, by their names.

    Raises:
        UserError: If a folder is not a finished run, or two runs have the same name and seed.
    """
    if names and len(names) != len(runs):
        raise UserError(f"there are {len(runs)} runs and {len(names)} names; give one name for each run")
    opened = _finished(runs)
    rows = list(names) or folder_names([run.path for run in opened])
    problems = Problems()
    setups: dict[str, EvaluationSetup] = {}
    seeds_of: dict[tuple[str, str], dict[int, Path]] = {}
    tables = []
    for run, name in zip(opened, rows, strict=True):
        recipe = run.recipe
        setup = EvaluationSetup.of(recipe, run.recorded("city_hash"))
        setups[setup.key] = setup
        seeds, seed = seeds_of.setdefault((name, setup.key), {}), run.recorded("seed")
        if seed in seeds:
            problems.add(
                f"has the name '{name}' and seed {seed}, as {seeds[seed]}; give them different names by --name",
                file=run.path,
            )
        records = run_results(run, suite="", row=name, recipe=recipe.name, city=run.recorded("city"), ground=setup.key)
        # Floors do not depend on the seed of pre-training: only those of the first run of a row are used.
        tables.append(records[~is_floor(records)] if seeds else records)
        seeds[seed] = run.path
    problems.raise_if_any()
    rows = list(dict.fromkeys(rows))
    spec = SuiteTable(rows=rows, reference=rows[-1])
    return build_tables(pd.concat(tables, ignore_index=True), setups, spec, labels=titles)


def _finished(runs: Sequence[str | Path]) -> list[Run]:
    """Open the runs; raises one `UserError` for all that have no metrics to compare."""
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
