"""The space of a search: which keys of a recipe are varied, and over which values."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, ValidationError, model_validator

from urbankit.config.tree import Node, merge
from urbankit.config.validation import problems_of
from urbankit.config.yaml import load_mapping
from urbankit.recipe.check import check
from urbankit.recipe.load import load
from urbankit.recipe.recipe import Recipe
from urbankit.registry.component import Params
from urbankit.utils.errors import Problems, UserError

if TYPE_CHECKING:
    import optuna

FIXED = {
    "extends",
    "name",
    "description",
    "city",
    "cities",
    "evaluation",
    "predict",
    "report",
    "tracking",
    "allow_leak",
}
"""Keys that are not searched: they change what is scored, or nothing that is learned."""

EXPECTED = "a space has keys of a recipe, such as `pretrain.learning_rate: {low: 1e-4, high: 1e-2, log: true}`"


class Range(Params):
    """Numbers from `low` to `high`; whole numbers if both are."""

    low: int | float = Field(description="The lowest value.")
    high: int | float = Field(description="The highest value.")
    log: bool = Field(False, description="Whether the logarithm is drawn evenly.")
    step: int | float | None = Field(None, gt=0, description="Distance of the values; any value without it.")

    @model_validator(mode="after")
    def _sound(self) -> Range:
        if self.low >= self.high:
            raise ValueError(f"`low` should be below `high`, not {self.low} and {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"`log` needs a `low` above 0, not {self.low}")
        if self.log and self.step is not None:
            raise ValueError("give one of `log` and `step`")
        if self.whole and self.step is not None and self.step != int(self.step):
            raise ValueError("`low` and `high` are whole numbers, so `step` should be one, too")
        return self

    @property
    def whole(self) -> bool:
        """Whether the values are whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def draw(self, trial: optuna.Trial, key: str) -> Any:
        """Return the value of a trial."""
        if self.whole:
            return trial.suggest_int(key, int(self.low), int(self.high), log=self.log, step=int(self.step or 1))
        return trial.suggest_float(key, self.low, self.high, log=self.log, step=self.step)

    def extremes(self) -> list[Any]:
        """Return values that are valid only if all are."""
        return [self.low, self.high]


class Choices(Params):
    """One of some values."""

    choices: list[Any] = Field(min_length=1, description="The values: numbers, texts, or components with parameters.")

    def draw(self, trial: optuna.Trial, key: str) -> Any:
        """Return the value of a trial."""
        # A category is a text: Optuna does not store mappings.
        return json.loads(trial.suggest_categorical(key, [json.dumps(choice) for choice in self.choices]))

    def extremes(self) -> list[Any]:
        """Return all values."""
        return self.choices


@dataclass(frozen=True)
class Space:
    """A search space for a recipe.

    Attributes:
        recipe: The recipe that trials start from: a file, or the name of a shipped one.
        sets: Changes of it, as `--set` takes them.
        keys: What each key is drawn from.
        nodes: Where each key is in the space file.
    """

    recipe: str
    sets: tuple[str, ...]
    keys: dict[str, Range | Choices]
    nodes: dict[str, Node]

    @classmethod
    def read(cls, path: Path, recipe: str, sets: Iterable[str]) -> Space:
        """Read a space file and check its values in the recipe, each by itself.

        Raises:
            UserError: All mistakes in one error, each with its file, line and key.
        """
        problems = Problems()
        nodes = dict(load_mapping(path, EXPECTED, problems).value)
        keys: dict[str, Range | Choices] = {}
        for key, node in nodes.items():
            parts = str(key).split(".")
            if parts[0] in FIXED or (parts[0] == "tasks" and parts[-1] in ("target", "scale")):
                message = "cannot be searched: it changes what is scored, or nothing that is learned"
                problems.extend([node.problem(message, key)])
                continue
            model: type[Range | Choices] = Choices if node.child("choices") else Range
            try:
                keys[key] = model.model_validate(node.plain())
            except ValidationError as error:
                problems.extend(problems_of(error, model, node, (key,)))
        if not nodes:
            problems.add(f"is empty; {EXPECTED}", file=path)
        problems.raise_if_any()
        space = cls(recipe, tuple(sets), keys, nodes)
        space.resolved({})  # the mistakes of the recipe itself come first, and once
        found = []
        for key, values in keys.items():
            for value in values.extremes():
                try:
                    space.resolved({key: value})
                except UserError as error:
                    found += [one for one in error.problems if one not in found]
        problems.extend(found)
        problems.raise_if_any()
        return space

    def draw(self, trial: optuna.Trial) -> dict[str, Any]:
        """Return the values of a trial, by key."""
        return {key: values.draw(trial, key) for key, values in self.keys.items()}

    def resolved(self, values: Mapping[str, Any]) -> Recipe:
        """Return the recipe with some values of the space. Raises `UserError` with the lines of the space file."""
        problems = Problems()
        tree = load(self.recipe, self.sets, problems)
        for key, value in values.items():
            tree = merge(tree, _nested(key, value, self.nodes[key]))
        return check(Recipe, tree, problems)


def _nested(key: str, value: Any, place: Node) -> Node:
    """The tree in which only a dotted key has a value, at the place of that key in its file."""
    node = _at(value, place)
    for name in reversed(key.split(".")):
        node = Node({name: node}, place.file, place.line, place.folder)
    return node


def _at(value: Any, place: Node) -> Node:
    if isinstance(value, dict):
        value = {key: _at(item, place) for key, item in value.items()}
    elif isinstance(value, list):
        value = [_at(item, place) for item in value]
    return Node(value, place.file, place.line, place.folder)
