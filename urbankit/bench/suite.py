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
from urbankit.evaluation.metrics import LABELS
from urbankit.evaluation.splits import ALL
from urbankit.recipe.check import check
from urbankit.recipe.find import find, find_suite
from urbankit.recipe.load import change_tree, load
from urbankit.recipe.recipe import Recipe
from urbankit.tables.spec import SuiteTable
from urbankit.tables.table import TRAINING, TRAINING_LABELS
from urbankit.utils.errors import Problem, Problems, UserError, suggest

OWN_CITY = ""
"""The city of a run if the suite names none: the city of the recipe."""


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
        return " · ".join(part for part in (self.row, self.city, f"seed {self.seed}") if part)


@dataclass(frozen=True)
class Plan:
    """A checked suite.

    Attributes:
        name: The name of the suite.
        suite: Its keys.
        runs: Its runs.
        floors: The recipes whose floors are computed, by row and city.
        cities: The cities to run on; all if empty.
    """

    name: str
    suite: Suite
    runs: tuple[SuiteRun, ...]
    floors: Mapping[tuple[str, str], Recipe]
    cities: tuple[str, ...] = ()

    def select(self, rows: Iterable[str]) -> tuple[SuiteRun, ...]:
        """The runs of some rows, or of all if none is named; raises `UserError` for unknown rows."""
        names = list(rows)
        _raise_for_unknown("row", names, list(self.suite.runs), self.name)
        return tuple(run for run in self.runs if (not names or run.row in names) and self.runs_on(run.city))

    def runs_on(self, city: str) -> bool:
        """Whether the city is to be run on."""
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
        only_cities: Run only on these cities. Others have runs for what is finished, if their recipes are valid.

    Raises:
        UserError: With all mistakes of the suite and the recipes.
    """
    problems = Problems()
    tree = _tree(source, sets, problems)
    name = Path(tree.file).stem if not isinstance(source, Mapping) else "suite"
    suite = validate(Suite, tree, problems)
    problems.extend(_names_unknown(suite, tree))
    reader = _Recipes(suite, tree, data)
    chosen = list(only_cities)
    _raise_for_unknown("city", chosen, list(suite.cities), name)
    others = _Recipes(suite, tree, data)  # of cities that are not run on: their mistakes do not matter
    recipes = {
        (row, city): (reader if not chosen or city in chosen else others).recipe(row, city)
        for row in suite.runs
        for city in _cities(suite, row)
    }
    problems.extend(reader.mistakes)
    problems.raise_if_any()
    valid = {key: recipe for key, recipe in recipes.items() if recipe is not None}
    problems.extend(_columns_unknown(suite, tree, valid.values()))
    problems.raise_if_any()
    suite = suite.model_copy(update={"tables": {n: _completed(table, suite) for n, table in suite.tables.items()}})
    return Plan(name, suite, tuple(_runs(suite, valid, reader)), _floors(suite, valid), tuple(chosen))


def _raise_for_unknown(what: str, names: Iterable[str], available: list[str], suite: str) -> None:
    problems = Problems(f"suite {suite}")
    for name in names:
        if name not in available:
            problems.add(f"there is no {what} '{name}'.{suggest(name, available)}")
    problems.raise_if_any()


def _tree(source: str | Path | Mapping[str, Any], sets: Iterable[str], problems: Problems) -> Node:
    """The tree of the suite with its changes, in which every row is a mapping."""
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
    """Write rows that are only the name of a recipe as mappings, and cities and tables without keys as empty ones."""
    children = dict(tree.value)
    for section in ("runs", "cities", "tables"):
        named = children.get(section)
        if named is not None and isinstance(named.value, dict):
            entries = {
                name: replace(entry, value={"recipe": entry})
                if isinstance(entry.value, str) and section == "runs"
                else replace(entry, value={})
                if entry.value is None and section != "runs"
                else entry
                for name, entry in named.value.items()
            }
            children[section] = replace(named, value=entries)
    return replace(tree, value=children)


def _cities(suite: Suite, row: str) -> list[str]:
    return suite.runs[row].cities or list(suite.cities) or [OWN_CITY]


def _names_unknown(suite: Suite, tree: Node) -> Iterator[Problem]:
    """Names of rows and cities that the suite does not define, and lists with duplicates."""
    rows, cities = list(suite.runs), list(suite.cities)
    for row, spec in suite.runs.items():
        yield from _unknown("city", spec.cities, cities, tree, ("runs", row, "cities"))
        yield from _twice(spec.seeds, tree, ("runs", row, "seeds"))
    yield from _twice(suite.seeds, tree, ("seeds",))
    for name, table in suite.tables.items():
        here = ("tables", name)
        yield from _unknown("row", table.rows, rows, tree, (*here, "rows"))
        yield from _unknown("city", table.cities, cities, tree, (*here, "cities"))
        for key in ("rows", "cities", "splits", "tasks", "metrics"):
            yield from _twice(getattr(table, key), tree, (*here, key))
        if table.reference is not None and table.reference not in (table.rows or rows):
            message = f"is no row of the table: '{table.reference}'.{suggest(table.reference, table.rows or rows)}"
            yield tree.problem_at((*here, "reference"), message)


def _columns_unknown(suite: Suite, tree: Node, recipes: Iterable[Recipe]) -> Iterator[Problem]:
    """Tasks, splits and metrics of tables that no recipe has."""
    recipes = list(recipes)
    known: dict[str, list[str]] = {
        "tasks": [*dict.fromkeys(task for recipe in recipes for task in recipe.tasks), TRAINING],
        "splits": list(dict.fromkeys(split for recipe in recipes for split in _splits(recipe))),
        "metrics": [*LABELS, *TRAINING_LABELS],
    }
    for name, table in suite.tables.items():
        for key, names in known.items():
            yield from _unknown(key.rstrip("s"), getattr(table, key), names, tree, ("tables", name, key))


def _splits(recipe: Recipe) -> list[str]:
    """The split protocols in the results of the recipe."""
    zero_shot = recipe.transfer is not None and recipe.transfer.graph == "keep"
    return [*recipe.evaluation.splits, *([ALL] if zero_shot else [])]


def _unknown(what: str, given: list[str] | None, known: list[str], tree: Node, path: tuple) -> Iterator[Problem]:
    for index, name in enumerate(given or ()):
        if name not in known:
            known_ones = suggest(name, known) or " The suite names none."
            yield tree.problem_at((*path, index), f"there is no {what} '{name}'.{known_ones}")


def _twice(values: list[Any] | None, tree: Node, path: tuple) -> Iterator[Problem]:
    if values is not None and len(set(values)) < len(values):
        yield tree.problem_at(path, f"has a value twice: {values}")


def _completed(table: SuiteTable, suite: Suite) -> SuiteTable:
    rows = table.rows or list(suite.runs)
    return table.model_copy(update={"rows": rows, "reference": table.reference or rows[-1]})


def _runs(suite: Suite, recipes: Mapping[tuple[str, str], Recipe], reader: _Recipes) -> Iterator[SuiteRun]:
    """Every row with its first seed, then with its second: an interrupted bench has results of every row."""
    seeds = {row: spec.seeds or suite.seeds for row, spec in suite.runs.items()}
    for turn in range(max(map(len, seeds.values()))):
        for (row, city), recipe in recipes.items():
            if turn < len(seeds[row]):
                evaluation = recipe.evaluation.model_copy(update={"floors": []})
                seeded = recipe.model_copy(update={"seed": seeds[row][turn], "evaluation": evaluation})
                yield SuiteRun(row, city, seeds[row][turn], reader.source(row, city), seeded)


def _floors(suite: Suite, recipes: Mapping[tuple[str, str], Recipe]) -> dict[tuple[str, str], Recipe]:
    references = {table.reference for table in suite.tables.values() if table.floors}
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
        """The resolved recipe of a row on a city; None if it has mistakes."""
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
            there = self._read(str(self.suite.cities[city].recipe), ("cities", city, "recipe"), problems)
            tree = replace(tree, value=tree.value | {k: there.value[k] for k in ("city", "tasks") if k in there.value})
        for path in (("overrides",), ("cities", city, "set"), ("runs", row, "set")):
            changes, reached = self.tree.deepest(path)
            if reached == path:
                tree = merge(tree, self._changes(changes, path))
        return self._with_data(tree, city)

    def _read(self, name: str, path: tuple, problems: Problems) -> Node:
        try:
            return load(find(name, self.tree.deepest(path)[0].folder), (), problems)
        except UserError as error:
            if all(problem.file is None for problem in error.problems):  # it was not found
                raise UserError([self.tree.problem_at(path, problem.message) for problem in error.problems]) from None
            raise

    def _changes(self, changes: Node, path: tuple) -> Node:
        """A mapping of changes with nested instead of dotted keys: `pretrain: {epochs: 3}` for `pretrain.epochs: 3`."""
        tree = replace(changes, value={})
        for key, value in changes.value.items():
            if key == "seed":
                message = "seeds of pre-training are those of the suite's `seeds`"
                raise UserError(self.tree.problem_at((*path, key), message))
            for part in reversed(str(key).split(".")):
                value = replace(value, value={part: value})
            tree = merge(tree, value)
        return tree

    def _with_data(self, tree: Node, city: str) -> Node:
        """Set the folder of the sources of the city: `data` in the suite, else its folder in `--data`."""
        own, reached = self.tree.deepest(("cities", city, "data"))
        if len(reached) == 3:
            return merge(tree, replace(own, value={"city": replace(own, value={"data": own})}))
        spec, reached = tree.deepest(("city", "spec"))
        if self.data is None or len(reached) < 2 or not isinstance(spec.value, str):
            return tree
        folder = self.data / (city or Path(spec.value).stem)
        return merge(tree, Node.of({"city": {"data": str(folder)}}, f"--data {self.data}", Path.cwd()))
