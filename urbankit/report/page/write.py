"""Writes `report.html` of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from urbankit.city.texts import city_title
from urbankit.report.figures import Figures
from urbankit.report.page import sections
from urbankit.report.page.builder import ReportPage, Written
from urbankit.report.page.downloads import Download, exported
from urbankit.report.page.map_data import base_of, map_data, run_data
from urbankit.report.page.missing import Missing
from urbankit.report.page.recipe import StoredRecipe
from urbankit.report.page.summary import Summary, summarise
from urbankit.runs.context import RunContext

FIGURE_BYTES = 7_000_000
"""The most bytes of all figures in the page: half of the page, so that the images of 2,000 regions fit in."""


def write_report(context: RunContext, path: Path | None = None) -> Written:
    """Write the report of a run as one HTML file of at most 15 MB.

    It begins with what was predicted and how well, in words, and an interactive map. Results, figures, the run, the
    city's prepare report, recipe and manifest follow. If the run was cut short, or its city cannot be read any more,
    the page shows what there is. Every text that comes from data, recipe or manifest is escaped, and the page executes
    only its own script.

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
    city_name = city_title(city) if city is not None else manifest.get("city") or "an unknown city"
    default = run.path / "report.html"
    path = path or default

    first = missing.attempt("No summary", lambda: _summary(context, recipe, city_name), Summary(city_name, ""))
    downloads: list[Download] = missing.attempt("No exported files", lambda: exported(run, path), [])
    started = str(manifest.get("started") or "")[:10]
    subtitle = " · ".join(filter(None, (f"Run {name}", started)))
    page = ReportPage(first.title, first.text, missing, subtitle=subtitle, downloads=downloads)
    page.add_map(lambda: _map(context, name, missing))
    page.add("results", "Results", lambda: sections.results_section(run, recipe, context.tasks))
    page.add("figures", "Figures", lambda: _figures(run.path / "figures", missing))
    page.add("views", "Views", lambda: sections.views_section(run))
    page.add("about", "Run", lambda: sections.run_section(city, recipe, manifest))
    if city is not None:
        page.add("city", "City", lambda: sections.city_section(city.report))
    page.add("files", "Recipe and manifest", lambda: sections.files_section(recipe, manifest))
    return page.write(path, city, replace=path.resolve() == default.resolve())


def _summary(context: RunContext, recipe: StoredRecipe, city: str) -> Summary:
    level = recipe.get("predict.interval")
    regions = None if context.regions is None else len(context.regions)
    return summarise(context.run, context.tasks, city, regions, level if isinstance(level, float) else None)


def _map(context: RunContext, name: str, missing: Missing) -> dict[str, Any] | None:
    if context.regions is None or context.regions.crs is None:
        return None
    run = run_data(context, name, missing)
    return map_data(context.regions, [run], base_of([context], context.regions, missing)) if run["layers"] else None


def _figures(folder: Path, missing: Missing) -> str:
    html, left_out = sections.figures_section(Figures.load(folder), FIGURE_BYTES)
    missing.add(*left_out)
    return html
