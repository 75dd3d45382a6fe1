"""Writes the page that compares several runs: their tables side by side, differences, and one map for all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from urbankit.city.texts import city_title
from urbankit.report.page.builder import ReportPage, Written
from urbankit.report.page.differences import differences, side_by_side
from urbankit.report.page.map_data import base_of, map_data, run_data
from urbankit.report.page.missing import Missing
from urbankit.report.page.recipe import StoredRecipe
from urbankit.report.page.render import render
from urbankit.runs.compare import compare_runs
from urbankit.runs.context import RunContext
from urbankit.runs.folder import Run, folder_names
from urbankit.tables.records import EvaluationSetup
from urbankit.utils.errors import UserError

_FACTS = ("run", "what for", "city", "method", "modalities", "views", "seed", "status", "time")


def write_comparison(
    runs: Sequence[str | Path], names: Sequence[str] = (), out: str | Path = "compare.html"
) -> Written:
    """Write one HTML file of at most 15 MB that compares `runs`; the last that was measured is the reference.

    Unfinished runs are left out of the tables, and runs whose regions differ from the first run's are left off the map.

    Args:
        runs: Run folders.
        names: A name for each run, by default that of its folder.
        out: The file to write.

    Returns:
        The path, and a sentence for everything that the page could not show.

    Raises:
        UserError: None of the folders is a run, or the numbers of runs and names differ.
    """
    if names and len(names) != len(runs):
        raise UserError(f"there are {len(runs)} runs and {len(names)} names; give one name for each run")
    missing = Missing()
    opened = _opened(runs, list(names) or folder_names([Path(path) for path in runs]), missing)
    contexts = {
        name: missing.attempt(name, partial(RunContext.of, run), RunContext(run)) for name, run in opened.items()
    }
    for name, context in contexts.items():
        missing.add(*(f"{name}: {sentence}" for sentence in context.missing))

    title = " · ".join(opened) if len(opened) <= 4 else f"{len(opened)} runs"
    page = ReportPage(title, "A comparison of runs.", missing)
    page.add("about", "Runs", lambda: _about(contexts, missing))
    page.add("results", "Results", lambda: _results(opened, _titles(contexts), missing))
    page.add_map(lambda: _map(contexts, missing))
    cities = [context.city for context in contexts.values() if context.regions is not None]
    return page.write(Path(out), cities[0] if cities else None)


def _opened(runs: Sequence[str | Path], names: Sequence[str], missing: Missing) -> dict[str, Run]:
    """The runs by name; of two runs with one name (two seeds, say) the second has its folder added to the name."""
    opened: dict[str, Run] = {}
    problems = []
    for path, name in zip(runs, names, strict=True):
        try:
            run = Run.open(path)
        except UserError as error:
            problems += error.problems
            continue
        unique = name if name not in opened else f"{name} ({Path(path).name})"
        opened[unique if unique not in opened else str(path)] = run
    if not opened:
        raise UserError(problems)
    missing.add(*map(str, problems))
    return opened


def _about(contexts: dict[str, RunContext], missing: Missing) -> str:
    return render(
        "compared_runs", heads=_FACTS, rows=[_facts(name, context, missing) for name, context in contexts.items()]
    )


def _titles(contexts: dict[str, RunContext]) -> dict[str, str]:
    """Return the titles of tasks and cities by their names, with the name where two have one title.

    Without the city of a run, they are not known.
    """
    titles: dict[str, str] = {}
    for context in contexts.values():
        for task in context.tasks:
            titles.setdefault(task.name, task.label)
        if context.city is not None:
            titles.setdefault(context.city.name, city_title(context.city))
    shared = {title for title, count in Counter(titles.values()).items() if count > 1}
    return {name: f"{title} ({name})" if title in shared else title for name, title in titles.items()}


def _facts(name: str, context: RunContext, missing: Missing) -> tuple[Any, ...]:
    run = context.run
    recipe = missing.attempt(f"{name}: no recipe", lambda: StoredRecipe.of(run), StoredRecipe(""))
    manifest: dict[str, Any] = missing.attempt(f"{name}: no manifest", lambda: run.manifest, {})
    seconds = sum((manifest.get("seconds") or {}).values())
    return (
        name,
        recipe.get("description", ""),
        manifest.get("city", "unknown") if context.city is None else city_title(context.city),
        recipe.get("method.name", "unknown"),
        recipe.components("modalities"),
        recipe.components("views"),
        manifest.get("seed", "unknown"),
        manifest.get("status", "unknown"),
        f"{seconds:.0f} s",
    )


def _results(opened: dict[str, Run], titles: dict[str, str], missing: Missing) -> str:
    measured = {name: run for name, run in opened.items() if _measured(name, run, missing)}
    tables = compare_runs([run.path for run in measured.values()], list(measured), titles) if measured else []
    reference, alike = _same_setup(measured, missing)
    compared = list(differences(reference, alike, titles)) if len(alike) > 1 else []
    return render("comparison", tables=side_by_side(tables), reference=reference, differences=compared)


def _measured(name: str, run: Run, missing: Missing) -> bool:
    done = run.status == "done" and run.has("metrics.parquet")
    if not done:
        missing.add(f"{name}: the run is not done, and is not in the tables.")
        return False
    empty = missing.attempt(f"{name}: not in the tables", lambda: run.metrics.empty, None)
    if empty:
        missing.add(f"{name}: the run has no tasks, and is not in the tables.")
    return empty is False


def _same_setup(measured: dict[str, Run], missing: Missing) -> tuple[str, dict[str, Any]]:
    """Return the name of the last run with metrics, and the metrics of all runs with its tasks, labels and splits."""
    setups = {
        name: missing.attempt(f"{name}: no differences", partial(_setup, run), None) for name, run in measured.items()
    }
    reference = next(reversed(setups), "")
    setup = setups.get(reference)
    return reference, {name: measured[name].metrics for name in setups if setup and setups[name] == setup}


def _setup(run: Run) -> EvaluationSetup:
    return EvaluationSetup.of(run.recipe, run.recorded("city_hash"))


def _map(contexts: dict[str, RunContext], missing: Missing) -> dict[str, Any] | None:
    """The map's data of the runs that share the first one's regions; None if no run has regions."""
    regions = {name: context.regions for name, context in contexts.items() if context.regions is not None}
    if not regions:
        return None
    first = next(iter(regions))
    ids = regions[first]["region_id"].to_numpy()
    runs = []
    for name, frame in regions.items():
        if frame["region_id"].to_numpy().tolist() != ids.tolist():
            missing.add(f"{name}: its regions are others than those of {first}, and it is not on the map.")
            continue
        of_run = Missing()
        run = run_data(contexts[name], name, of_run)
        runs += [run] if run["layers"] else []
        missing.add(*(f"{name}: {sentence}" for sentence in of_run.sentences))
    shown = (contexts[run["name"]] for run in runs)
    return map_data(regions[first], runs, base_of(shown, regions[first], missing)) if runs else None
