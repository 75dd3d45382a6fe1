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

    A recipe that `Recipe.load` returns is resolved: its paths are absolute, and every default is written out, those of
    the components included.
    """

    @classmethod
    def load(cls, source: str | Path | Mapping[str, Any], sets: Iterable[str] = ()) -> Recipe:
        """Read, merge and check a recipe.

        Args:
            source: A file, the name of a shipped recipe (`"urbanmmcl"`), or a mapping with a recipe's keys.
            sets: Changes such as `"method.dim=32"`, as `--set` takes them.

        Returns:
            The resolved recipe.

        Raises:
            UserError: All mistakes in one error, each with its file, line and key.
        """
        problems = Problems()
        return check(cls, load(source, sets, problems), problems)

    @classmethod
    def from_yaml(cls, text: str) -> Recipe:
        """Read a resolved recipe, such as the `recipe.yaml` of a run, without checking components and files.

        Args:
            text: What `to_yaml` returned. The components and files that it names need not be available.

        Returns:
            The same recipe.

        Raises:
            UserError: The text is not YAML.
            pydantic.ValidationError: The text is not a recipe.
        """
        return cls.model_validate(parse_yaml(text).plain())

    def to_yaml(self) -> str:
        """Write the recipe as YAML.

        Returns:
            Text from which `load` and `from_yaml` read the same recipe.
        """
        data = self.model_dump(mode="json")
        data = {key: value for key, value in data.items() if value is not None or key not in ("city", "cities")}
        if self.city is not None:
            data["city"] = {key: value for key, value in data["city"].items() if value is not None}
        return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=110)
