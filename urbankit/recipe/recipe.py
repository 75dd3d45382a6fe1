"""A recipe: read, checked and resolved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from urbankit.config.yaml import parse_yaml
from urbankit.recipe.check import check
from urbankit.recipe.load import load
from urbankit.recipe.schema import RecipeSchema
from urbankit.utils.errors import Problems


class Recipe(RecipeSchema):
    """A recipe: which city, which components with which parameters, how to train and how to evaluate.

    `Recipe.load` reads and checks one. What it returns is resolved: paths are absolute and every default,
    those of the components included, is written out.
    """

    @classmethod
    def load(cls, source: str | Path | Mapping[str, Any], sets: Iterable[str] = ()) -> Recipe:
        """Read, merge and check a recipe; raises one `UserError` with all its mistakes.

        `source` is a file, the name of a shipped recipe (`"urbanmmcl"`) or a mapping with a recipe's keys.
        `sets` are changes such as `"method.dim=32"`, as `--set` takes them.
        """
        problems = Problems()
        return check(cls, load(source, sets, problems), problems)

    @classmethod
    def from_yaml(cls, text: str) -> Recipe:
        """A resolved recipe taken as it is: no component or file that it names need be here (any more)."""
        return cls.model_validate(parse_yaml(text).plain())

    def to_yaml(self) -> str:
        """The recipe as YAML that `load` and `from_yaml` read back to the same recipe."""
        data = self.model_dump(mode="json")
        data["city"] = {key: value for key, value in data["city"].items() if value is not None}
        return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=110)
