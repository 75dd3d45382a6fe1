"""Reads a suite, checks it and every recipe that it names, and lists its runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from urbankit.bench.schema import Suite
from urbankit.config.tree import Node, merge
from urbankit.config.validation import validate
from urbankit.config.yaml import load_mapping
from urbankit.evaluation.metrics import recorded_names
from urbankit.evaluation.splits import ALL
from urbankit.recipe.check import check
from urbankit.recipe.load import change_tree, load
from urbankit.recipe.recipe import Recipe
from urbankit.registry.recipes import find, find_suite
from urbankit.tables.spec import SuiteTable
from urbankit.tables.table import TRAINING, TRAINING_LABELS
from urbankit.utils.errors import Problem, Problems, UserError, suggest

OWN_CITY = ""
"""The city of a run in a suite without `cities`: the city of the recipe."""


@dataclass(frozen=True, eq=False)
class SuiteRun:
    """One run of a suite.

    Attributes:
        row: The row of the tables.
        city: The name of the city in the suite; empty for the city of the recipe.
        seed: The seed of pre-training.
        source: The recipe, as the suite names it.
        recipe: The resolved recipe, without floors: these do not depend on the seed and are computed once.
    """

    row: str
    city: str
    seed: int
    source: str
    recipe: Recipe

    def __str__(self) -> str:
        return " · ".join(text for text in (self.row, self.city, f"seed {self.seed}") if text)


@dataclass(frozen=True)
class Plan:
    """A checked suite.

    Attributes:
        name: The name of the suite.
        suite: Its keys.
        runs: Its runs.
        floors: The recipes whose floors are computed, by row and city.
        cities: The selected cities; empty for all.
    """

    name: str
    suite: Suite
    runs: tuple[SuiteRun, ...]
    floors: Mapping[tuple[str, str], Recipe]
    cities: tuple[str, ...] = ()

    def select(self, rows: Iterable[str]) -> tuple[SuiteRun, ...]:
        """Return the runs of `rows`, or all runs if `rows` is empty. Raises `UserError` for unknown rows."""
        names = list(rows)
        _raise_for_unknown("row", names, list(self.suite.runs), self.name)
        return tuple(run for run in self.runs if (not names or run.row in names) and self.runs_on(run.city))

    def runs_on(self, city: str) -> bool:
        """Return whether the city is selected."""
        return not self.cities or city in self.cities


def load_plan(
    source: str | Path | Mapping[str, Any],
    sets: Iterable[str] = (),
    data: Path | None = None,
    only_cities: Iterable[str] = (),
) -> Plan:
    """Load and check a suite, and the recipe of every row and city to run on.

    Args:
        source: A suite file, the name of a shipped suite, or a mapping with the keys of a suite.
        sets: Changes of the suite, such as `"seeds=[0]"`.
        data: A folder with one folder of sources a city.
        only_cities: Run only on these cities. The plan also lists runs on the other cities whose recipes are valid.

    Raises:
        UserError: With all mistakes of the suite and the recipes.
    """
    problems = Problems()
    tree = _tree(source, sets, problems)
    name = Path(tree.file).stem if not isinstance(source, Mapping) else "suite"
    suite = validate(Suite, tree, problems)
    problems.extend(_names_unknown(suite, tree))
    reader = _Recipes(suite, tree, data)
    selected = list(only_cities)
    _raise_for_unknown("city", selected, list(suite.cities), name)
    others = _Recipes(suite, tree, data)  # recipes of the other cities, whose mistakes are ignored
    recipes = {
        (row, city): (reader if not selected or city in selected else others).recipe(row, city)
        for row in suite.runs
        for city in _cities(suite, row)
    }
    problems.extend(reader.mistakes)
    problems.raise_if_any()
    valid = {key: recipe for key, recipe in recipes.items() if recipe is not None}
    problems.extend(_columns_unknown(suite, tree, valid.values()))
    problems.raise_if_any()
    suite = suite.model_copy(update={"tables": {n: _completed(table, suite) for n, table in suite.tables.items()}})
    return Plan(name, suite, tuple(_runs(suite, valid, reader)), _floors(suite, valid), tuple(selected))


def _raise_for_unknown(what: str, names: Iterable[str], available: list[str], suite: str) -> None:
    problems = Problems(f"suite {suite}")
    for name in names:
        if name not in available:
            problems.add(f"there is no {what} '{name}'.{suggest(name, available)}")
    problems.raise_if_any()


def _tree(source: str | Path | Mapping[str, Any], sets: Iterable[str], problems: Problems) -> Node:
    """Return the tree of the suite with its changes; every row is a mapping."""
    if isinstance(source, Mapping):
        tree = Node.of(dict(source), "suite", Path.cwd())
    else:
        tree = load_mapping(find_suite(source), "a suite has keys such as `runs`, `cities` and `tables`", problems)
    changed = _with_mappings(tree)
    for change in sets:
        try:
            changed = merge(changed, _with_mappings(change_tree(change)))
        except UserError as error:
            problems.extend(error.problems)
    return replace(tree, value=changed.value)


def _with_mappings(tree: Node) -> Node:
    """Replace rows that are only the name of a recipe by mappings, and cities and tables without keys by empty ones."""
    children = dict(tree.value)
    for section in ("runs", "cities", "tables"):
        node = children.get(section)
        if node is not None and isinstance(node.value, dict):
            entries = {
                name: replace(entry, value={"recipe": entry})
                if isinstance(entry.value, str) and section == "runs"
                else replace(entry, value={})
                if entry.value is None and section != "runs"
                else entry
                for name, entry in node.value.items()
            }
            children[section] = replace(node, value=entries)
    return replace(tree, value=children)


def _cities(suite: Suite, row: str) -> list[str]:
    return suite.runs[row].cities or list(suite.cities) or [OWN_CITY]


def _names_unknown(suite: Suite, tree: Node) -> Iterator[Problem]:
    """Yield a problem for each undefined row or city, and for each list with duplicates."""
    rows, cities = list(suite.runs), list(suite.cities)
    for row, spec in suite.runs.items():
        yield from _unknown("city", spec.cities, cities, tree, ("runs", row, "cities"))
        yield from _duplicates(spec.seeds, tree, ("runs", row, "seeds"))
    yield from _duplicates(suite.seeds, tree, ("seeds",))
    for name, table in suite.tables.items():
        path = ("tables", name)
        yield from _unknown("row", table.rows, rows, tree, (*path, "rows"))
        yield from _unknown("city", table.cities, cities, tree, (*path, "cities"))
        for key in ("rows", "cities", "splits", "tasks", "metrics"):
            yield from _duplicates(getattr(table, key), tree, (*path, key))
        if table.reference is not None and table.reference not in (table.rows or rows):
            message = f"is no row of the table: '{table.reference}'.{suggest(table.reference, table.rows or rows)}"
            yield tree.problem_at((*path, "reference"), message)


def _columns_unknown(suite: Suite, tree: Node, recipes: Iterable[Recipe]) -> Iterator[Problem]:
    """Yield a problem for each task, split or metric of a table that no recipe has."""
    recipes = list(recipes)
    available: dict[str, list[str]] = {
        "tasks": [*dict.fromkeys(task for recipe in recipes for task in recipe.tasks), TRAINING],
        "splits": list(dict.fromkeys(split for recipe in recipes for split in _splits(recipe))),
        "metrics": [*recorded_names(), *TRAINING_LABELS],
    }
    for name, table in suite.tables.items():
        for key, names in available.items():
            yield from _unknown(key.rstrip("s"), getattr(table, key), names, tree, ("tables", name, key))


def _splits(recipe: Recipe) -> list[str]:
    """The split protocols in the results of the recipe."""
    zero_shot = recipe.transfer is not None and recipe.transfer.graph == "keep"
    return [*recipe.evaluation.splits, *([ALL] if zero_shot else [])]


def _unknown(what: str, names: list[str] | None, available: list[str], tree: Node, path: tuple) -> Iterator[Problem]:
    for index, name in enumerate(names or ()):
        if name not in available:
            hint = suggest(name, available) or f" The suite has no {what}."
            yield tree.problem_at((*path, index), f"there is no {what} '{name}'.{hint}")


def _duplicates(values: list[Any] | None, tree: Node, path: tuple) -> Iterator[Problem]:
    if values is not None and len(set(values)) < len(values):
        yield tree.problem_at(path, f"has a value twice: {values}")


def _completed(table: SuiteTable, suite: Suite) -> SuiteTable:
    rows = table.rows or list(suite.runs)
    return table.model_copy(update={"rows": rows, "reference": table.reference or rows[-1]})


def _runs(suite: Suite, recipes: Mapping[tuple[str, str], Recipe], reader: _Recipes) -> Iterator[SuiteRun]:
    """Yield the runs of all rows by seed: first, second, ... An interrupted bench then has results of every row."""
    seeds = {row: spec.seeds or suite.seeds for row, spec in suite.runs.items()}
    references = _references(suite)
    for index in range(max(map(len, seeds.values()))):
        for (row, city), recipe in recipes.items():
            if index < len(seeds[row]):
                changes: dict[str, Any] = {"floors": []} | ({} if row in references else {"controls": []})
                evaluation = recipe.evaluation.model_copy(update=changes)
                seeded = recipe.model_copy(update={"seed": seeds[row][index], "evaluation": evaluation})
                yield SuiteRun(row, city, seeds[row][index], reader.source(row, city), seeded)


def _references(suite: Suite) -> set[str | None]:
    """The rows whose floors and controls a table shows."""
    return {table.reference for table in suite.tables.values() if table.floors}


def _floors(suite: Suite, recipes: Mapping[tuple[str, str], Recipe]) -> dict[tuple[str, str], Recipe]:
    references = _references(suite)
    return {
        (row, city): recipe
        for (row, city), recipe in recipes.items()
        if row in references and recipe.tasks and recipe.evaluation.floors
    }


class _Recipes:
    """Applies the changes of the suite to the recipes of its rows, and collects mistakes without duplicates."""

    def __init__(self, suite: Suite, tree: Node, data: Path | None) -> None:
        self.suite, self.tree, self.data = suite, tree, data
        self._mistakes: dict[Problem, None] = {}

    @property
    def mistakes(self) -> list[Problem]:
        return list(self._mistakes)

    def source(self, row: str, city: str) -> str:
        return self.suite.runs[row].recipe.replace("{city}", city)

    def recipe(self, row: str, city: str) -> Recipe | None:
        """Return the resolved recipe of a row on a city; None if it has mistakes."""
        problems = Problems()
        try:
            return check(Recipe, self._with_changes(row, city, problems), problems)
        except UserError as error:
            self._mistakes |= dict.fromkeys(error.problems)
            return None

    def _with_changes(self, row: str, city: str, problems: Problems) -> Node:
        if "{city}" in self.suite.runs[row].recipe and city == OWN_CITY:
            message = "`{city}` needs a suite that names `cities`"
            raise UserError(self.tree.problem_at(("runs", row, "recipe"), message))
        tree = self._read(self.source(row, city), ("runs", row, "recipe"), problems)
        if city in self.suite.cities and self.suite.cities[city].recipe is not None:
            of_city = self._read(str(self.suite.cities[city].recipe), ("cities", city, "recipe"), problems).value
            tree = replace(tree, value=tree.value | {key: of_city[key] for key in ("city", "tasks") if key in of_city})
        for path in (("overrides",), ("cities", city, "set"), ("runs", row, "set")):
            changes, reached = self.tree.deepest(path)
            if reached == path:
                tree = merge(tree, self._changes(changes, path))
        return self._with_data(tree, city)

    def _read(self, name: str, path: tuple, problems: Problems) -> Node:
        try:
            return load(find(name, self.tree.deepest(path)[0].folder), (), problems)
        except UserError as error:
            if all(problem.file is None for problem in error.problems):  # the recipe does not exist
                raise UserError([self.tree.problem_at(path, problem.message) for problem in error.problems]) from None
            raise

    def _changes(self, changes: Node, path: tuple) -> Node:
        """Return changes with nested instead of dotted keys: `pretrain: {epochs: 3}` for `pretrain.epochs: 3`."""
        tree = replace(changes, value={})
        for key, value in changes.value.items():
            if key == "seed":
                message = "set the seeds of pre-training with the key `seeds` of the suite"
                raise UserError(self.tree.problem_at((*path, key), message))
            for name in reversed(str(key).split(".")):
                value = replace(value, value={name: value})
            tree = merge(tree, value)
        return tree

    def _with_data(self, tree: Node, city: str) -> Node:
        """Set the folder of the sources of the city: `data` in the suite, else its folder in `--data`."""
        folder_node, reached = self.tree.deepest(("cities", city, "data"))
        if len(reached) == 3:
            city_node = replace(folder_node, value={"data": folder_node})
            return merge(tree, replace(folder_node, value={"city": city_node}))
        spec, reached = tree.deepest(("city", "spec"))
        if self.data is None or len(reached) < 2 or not isinstance(spec.value, str):
            return tree
        folder = self.data / (city or Path(spec.value).stem)
        return merge(tree, Node.of({"city": {"data": str(folder)}}, f"--data {self.data}", Path.cwd()))
