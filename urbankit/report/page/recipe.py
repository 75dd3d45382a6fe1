"""The recipe that a run folder stores, without validation: another version of urbankit may have written it."""

from __future__ import annotations

from typing import Any

from urbankit.config.yaml import parse_yaml
from urbankit.runs.folder import Run


class StoredRecipe:
    """A recipe of which a key can be looked up even if the rest is not valid.

    Args:
        text: The content of `recipe.yaml`. Raises `UserError` if it is not YAML or beyond the limits of a recipe.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        tree = parse_yaml(text).plain()
        self._tree: dict[str, Any] = tree if isinstance(tree, dict) else {}

    @classmethod
    def of(cls, run: Run) -> StoredRecipe:
        return cls(run.recipe_text)

    def get(self, path: str, default: Any = None) -> Any:
        """The value at a dotted key, `default` where there is none."""
        value: Any = self._tree
        for key in path.split("."):
            if not isinstance(value, dict) or key not in value:
                return default
            value = value[key]
        return value

    def components(self, path: str) -> str:
        """The components under a key, as `name (component)`."""
        uses = self.get(path)
        if not isinstance(uses, dict):
            return "none"
        names = ((name, use.get("name") if isinstance(use, dict) else use) for name, use in uses.items())
        return ", ".join(f"{name} ({component})" for name, component in names) or "none"
