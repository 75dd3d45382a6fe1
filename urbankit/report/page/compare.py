"""Writes the page that compares several runs: their tables side by side, differences, and one map for all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from urbankit.report.page.builder import ReportPage, Written
from urbankit.report.page.differences import differences, side_by_side
from urbankit.report.page.explorer import map_data, run_data
from urbankit.report.page.markup import paragraph, section, table
from urbankit.report.page.missing import Missing
from urbankit.report.page.recipe import UncheckedRecipe
from urbankit.runs.compare import compare_runs
from urbankit.runs.context import RunContext
from urbankit.runs.folder import Run, folder_names
from urbankit.tables.records import Ground
from urbankit.utils.errors import UserError


def write_comparison(
    runs: Sequence[str | Path], names: Sequence[str] = (), out: str | Path = "compare.html"
) -> Written:
    """One HTML file of at most 15 MB that compares `runs`; the last that was measured is the reference.

    `names` are what runs are called, by default their folders. Runs that are not finished are left out of the tables,
    and runs of other regions than the first's off the map; `missing` says which. Raises `UserError` where none of the
    folders is a run.
    """
    if names and len(names) != len(runs):
        raise UserError(f"there are {len(runs)} runs and {len(names)} names; give one name a run")
    called = list(names) or folder_names([Path(path) for path in runs])
    missing = Missing()
    opened = _opened(runs, called, missing)
    contexts = {
        name: missing.attempt(name, lambda run=run: RunContext.of(run), RunContext(run)) for name, run in opened.items()
    }
    for name, context in contexts.items():
        missing.add(*(f"{name}: {sentence}" for sentence in context.missing))

    page = ReportPage(
        " · ".join(opened) if len(opened) <= 4 else f"{len(opened)} runs", "A comparison of runs.", missing
    )
    page.add("about", "Runs", lambda: _about(contexts, missing))
    page.add("results", "Results", lambda: _results(opened, missing))
    page.add_map(lambda: _map(contexts, missing))
    mapped = [context for context in contexts.values() if context.regions is not None]
    return page.write(Path(out), mapped[0].city if mapped else None)


def _opened(runs: Sequence[str | Path], called: Sequence[str], missing: Missing) -> dict[str, Run]:
    """The runs by name; the second of a name, another seed of it, is told apart by its folder."""
    opened: dict[str, Run] = {}
    problems = []
    for path, name in zip(runs, called, strict=True):
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
    rows = []
    for name, context in contexts.items():
        run = context.run
        recipe = missing.attempt(f"{name}: no recipe", lambda run=run: UncheckedRecipe.of(run), UncheckedRecipe(""))
        manifest = missing.attempt(f"{name}: no manifest", lambda run=run: run.manifest, {})
        seconds = (manifest.get("seconds") or {}).values()
        facts = (recipe.get("description", ""), manifest.get("city", "unknown"), recipe.get("method.name", "unknown"))
        parts = (recipe.listed("modalities"), recipe.listed("views"), manifest.get("seed", "unknown"))
        rows.append((name, *facts, *parts, manifest.get("status", "unknown"), f"{sum(seconds):.0f} s"))
    heads = ("run", "what for", "city", "method", "modalities", "views", "seed", "status", "time")
    return section("about", "What is compared", table(heads, rows, text=range(1, 8)))


def _results(opened: dict[str, Run], missing: Missing) -> str:
    measured = {name: run for name, run in opened.items() if _measured(name, run, missing)}
    if not measured:
        return section("results", "Results", paragraph("None of the runs has been measured."))
    tables = compare_runs([run.path for run in measured.values()], list(measured))
    return section("results", "Results", side_by_side(tables) + _differences(measured, missing))


def _measured(name: str, run: Run, missing: Missing) -> bool:
    done = run.manifest.get("status") == "done" and run.has("metrics.parquet")
    if not done:
        missing.add(f"{name}: the run is not done, and is not in the tables.")
        return False
    empty = missing.attempt(f"{name}: not in the tables", lambda: run.metrics.empty, None)
    if empty:
        missing.add(f"{name}: the run has no tasks, and is not in the tables.")
    return empty is False


def _differences(measured: dict[str, Run], missing: Missing) -> str:
    """Those to the last run, of the runs that were measured as it was."""
    grounds = {
        name: missing.attempt(
            f"{name}: no differences", lambda run=run: Ground.of(run.recipe, run.manifest["city_hash"]), None
        )
        for name, run in measured.items()
    }
    reference = list(measured)[-1]
    alike = [name for name, ground in grounds.items() if ground is not None and ground == grounds[reference]]
    if len(alike) < 2:
        return ""
    metrics = {name: measured[name].metrics for name in alike}
    return "<h3>Differences</h3>" + differences(reference, metrics)


def _map(contexts: dict[str, RunContext], missing: Missing) -> dict[str, Any] | None:
    """The map's data of the runs that share the first one's regions; None where no run has regions."""
    mapped = {name: context for name, context in contexts.items() if context.regions is not None}
    if not mapped:
        return None
    first = next(iter(mapped))
    regions = mapped[first].regions
    ids = regions["region_id"].to_numpy()
    runs = []
    for name, context in mapped.items():
        own = context.regions["region_id"].to_numpy()
        if len(own) != len(ids) or (own != ids).any():
            missing.add(f"{name}: its regions are others than those of {first}, and it is not on the map.")
            continue
        found = Missing()
        run = run_data(context, name, found)
        runs += [run] if run["layers"] else []
        missing.add(*(f"{name}: {sentence}" for sentence in found.sentences))
    return map_data(regions, runs) if runs else None
