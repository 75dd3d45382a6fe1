"""Compare a recipe with the data of its city before a run."""

from __future__ import annotations

from typing import NamedTuple

from urbankit.city.city import City
from urbankit.city.prepare.check import MissingSources, match_sources, spec_sources
from urbankit.city.report import SourceReport
from urbankit.recipe.recipe import Recipe
from urbankit.runs.data import folder_cities, load_labels, missing_data, prepare_city
from urbankit.runs.files_read import check_files_read
from urbankit.utils.errors import Problems, suggest


class Matches(NamedTuple):
    """The sources of a city file with the rows that belong to a region, and notes on what the recipe will lack."""

    sources: list[SourceReport]
    notes: list[str]


def match_city(recipe: Recipe) -> Matches:
    """Compare a recipe with its city: with prepared cities, or with the sources of a city file. Nothing is prepared.

    The ids of tables are compared with those of the regions, and the tasks with the targets. Files that components read
    beside the city have to exist. Of a prepared city also the labels that each split needs, and what the modalities and
    views read, are compared. A city file whose sources are missing, and the synthetic city, are not compared.

    Raises:
        UserError: With all mistakes, such as a table of which no id matches a region, or a task without a target.
    """
    if recipe.city is not None and recipe.city.spec is not None:
        return _match_sources(recipe)
    if recipe.city is not None:
        settings = [recipe.city]
    elif isinstance(recipe.cities, list):
        settings = recipe.cities
    else:
        assert recipe.cities is not None  # the schema: one of both
        settings = list(folder_cities(recipe.cities).values())
    if any(city.prepared is None for city in settings):
        return Matches([], [])
    city = prepare_city(recipe)
    problems = Problems()
    with problems.collect():
        check_files_read(recipe, city)
    with problems.collect():
        load_labels(recipe, city)
    problems.raise_if_any()
    return Matches([], _left_out(recipe, city))


def _match_sources(recipe: Recipe) -> Matches:
    assert recipe.city is not None and recipe.city.spec is not None  # checked above
    try:
        sources = match_sources(recipe.city.spec, recipe.city.data)
    except MissingSources as error:
        reason, *others = error.problems
        more = f" (and {len(others)} more)" if others else ""
        return Matches([], [f"Ids were not compared, because files of the city are missing: {reason}{more}"])
    targets = [source.key.partition(".")[2] for source in sources if source.key.startswith("targets.")]
    problems = Problems(recipe.city.spec)
    for name, task in recipe.tasks.items():
        target = task.target or name
        if target not in targets:
            problems.add(f"the city has no target '{target}'.{suggest(target, targets)}", key=f"tasks.{name}")
    with problems.collect():
        check_files_read(recipe, spec_sources(recipe.city.spec, recipe.city.data))
    problems.raise_if_any()
    return Matches(sources, [])


def _left_out(recipe: Recipe, city: City) -> list[str]:
    return [f"{kind} {name} will be left out: {why}" for (kind, name), why in missing_data(recipe, city).items()]
