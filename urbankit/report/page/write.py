"""Writes `report.html` of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from urbankit.report.figures import Figures
from urbankit.report.page import sections
from urbankit.report.page.builder import ReportPage, Written
from urbankit.report.page.map_data import map_data, run_data
from urbankit.report.page.missing import Missing
from urbankit.report.page.recipe import StoredRecipe
from urbankit.runs.context import RunContext

FIGURE_BYTES = 7_000_000
"""The most bytes of all figures in the page: half of the page, so that the images of 2,000 regions fit in."""


def write_report(context: RunContext, path: Path | None = None) -> Written:
    """Write the report of a run as one HTML file of at most 15 MB.

    It shows what was run and on what, the results table, an interactive map, the figures drawn before, the city's
    prepare report, recipe and manifest. If the run was cut short, or its city cannot be read any more, the page shows
    what there is. Every text that comes from data, recipe or manifest is escaped, and the page executes only its own
    script.

    Args:
        context: The run and its city.
        path: The file to write, by default `report.html` in the run's folder.

    Returns:
        The path, and a sentence for everything that the page could not show; these stand at its top, too.
    """
    run, city = context.run, context.city
    missing = Missing(context.missing)
    manifest: dict[str, Any] = missing.attempt("No manifest", lambda: run.manifest, {})
    recipe = missing.attempt("No recipe", lambda: StoredRecipe.of(run), StoredRecipe(""))
    name = str(recipe.get("name", run.path.resolve().name))
    city_name = manifest.get("city") or (city.name if city is not None else "an unknown city")

    page = ReportPage(f"{name} on {city_name}", str(recipe.get("description", "")), missing)
    page.add("about", "Run", lambda: sections.run_section(city, recipe, manifest))
    page.add("results", "Results", lambda: sections.results_section(run, recipe))
    page.add("views", "Views", lambda: sections.views_section(run))
    page.add_map(lambda: _map(context, name, missing))
    page.add("figures", "Figures", lambda: _figures(run.path / "figures", missing))
    if city is not None:
        page.add("city", "City", lambda: sections.city_section(city.report))
    page.add("files", "Recipe and manifest", lambda: sections.files_section(recipe, manifest))
    default = run.path / "report.html"
    return page.write(path or default, city, replace=path is None or path.resolve() == default.resolve())


def _map(context: RunContext, name: str, missing: Missing) -> dict[str, Any] | None:
    if context.regions is None or context.regions.crs is None:
        return None
    run = run_data(context, name, missing)
    return map_data(context.regions, [run]) if run["layers"] else None


def _figures(folder: Path, missing: Missing) -> str:
    html, left_out = sections.figures_section(Figures.load(folder), FIGURE_BYTES)
    missing.add(*left_out)
    return html
