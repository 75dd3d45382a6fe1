"""Writes `report.html` of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from urbankit.files import write_text
from urbankit.report.figures import Figures
from urbankit.report.page import sections
from urbankit.report.page.document import document
from urbankit.report.page.explorer import FRAME, map_data, run_data
from urbankit.report.page.missing import Missing
from urbankit.report.page.recipe import RawRecipe
from urbankit.report.page.thumbnails import thumbnails

if TYPE_CHECKING:
    from urbankit.report.subject import Subject

MOST_BYTES = 15_000_000
"""Of a page; a little is kept free for what is not counted."""

FIGURE_BYTES = 7_000_000
"""Of the figures; images of regions get what the rest leaves of `MOST_BYTES`, and go first."""

_FREE = 300_000


class Written(NamedTuple):
    """A page, and what it could not show, in sentences that stand on it too."""

    path: Path
    missing: list[str]


def write_report(subject: Subject, path: Path | None = None) -> Written:
    """The report of a run as one HTML file of at most 15 MB, by default `report.html` in its folder.

    What was run and on what, the results table, an interactive map, the figures drawn before, the city's prepare
    report, recipe and manifest. Of a run that was cut short, or whose city cannot be had any more, what there is; what
    is not is said at the top and in `missing`. Every text that comes from data, recipe or manifest is escaped, and the
    page executes nothing but its own script.
    """
    run = subject.run
    missing = Missing(subject.missing)
    recipe = missing.attempt("No recipe", lambda: RawRecipe.of(run), RawRecipe(""))
    name, description = recipe.get("name", run.path.resolve().name), recipe.get("description", "")
    title = f"{name} on {run.manifest.get('city') or (subject.city.name if subject.city else 'a city')}"

    parts = {
        "about": ("Run", missing.attempt("No summary", lambda: sections.run_section(subject, recipe), "")),
        "results": ("Results", missing.attempt("No results", lambda: sections.results_section(run, recipe), "")),
    }
    data = {}
    if subject.regions is not None:
        regions = subject.regions
        of_run = run_data(subject, str(name), missing)
        found = missing.attempt("No map", lambda: map_data(regions, title, [of_run]), None)
        if found is not None:
            data["map"] = found
            parts["map"] = ("Map", FRAME)
    parts["figures"] = ("Figures", missing.attempt("No figures", lambda: _figures(subject, missing), ""))
    city = subject.city
    if city is not None:
        parts["city"] = ("City", missing.attempt("No report on the city", lambda: sections.city_section(city.report), ""))
    parts["files"] = ("Recipe, manifest", sections.files_section(recipe, run.manifest))
    parts = {key: part for key, part in parts.items() if part[1]}

    if "map" in data:
        used = len(_page(title, description, parts, data, missing).encode())
        data["images"] = missing.attempt("No images", lambda: _images(subject, MOST_BYTES - _FREE - used, missing), None)
    path = run.path / "report.html" if path is None else path
    write_text(path, _page(title, description, parts, data, missing))
    return Written(path, missing.sentences)


def _page(
    title: str, description: str, parts: dict[str, tuple[str, str]], data: dict[str, object], missing: Missing
) -> str:
    links = [(key, name) for key, (name, _) in parts.items()]
    body = sections.head(title, description, links) + sections.notice(missing.sentences)
    return document(title, f"{body}<main>{''.join(content for _, content in parts.values())}</main>", data)


def _figures(subject: Subject, missing: Missing) -> str:
    content, left_out = sections.figures_section(Figures.load(subject.run.path / "figures"), FIGURE_BYTES)
    if left_out:
        missing.add(left_out)
    return content


def _images(subject: Subject, budget: int, missing: Missing) -> dict[str, object] | None:
    if subject.city is None:
        missing.add("There are no images of regions: they are in the city, which is not there.")
        return None
    found = thumbnails(subject.city, budget)
    missing.add(*found.notes)
    return found.payload
