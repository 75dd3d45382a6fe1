"""The recipe of a run as it lies in the folder, also where this version of urbankit would not take it."""

from __future__ import annotations

from typing import Any

import yaml

from urbankit.runs.folder import Run


class UncheckedRecipe:
    """`text` is `recipe.yaml`; keys are looked up without a check of what else it says."""

    def __init__(self, text: str) -> None:
        self.text = text
        found = yaml.safe_load(text)
        self._tree: dict[str, Any] = found if isinstance(found, dict) else {}

    @classmethod
    def of(cls, run: Run) -> UncheckedRecipe:
        return cls((run.path / "recipe.yaml").read_text(encoding="utf-8"))

    def get(self, path: str, default: Any = None) -> Any:
        """The value at a dotted key, `default` where there is none."""
        value: Any = self._tree
        for key in path.split("."):
            if not isinstance(value, dict) or key not in value:
                return default
            value = value[key]
        return value

    def listed(self, path: str) -> str:
        """Components under a key, as `name (component)`."""
        uses = self.get(path)
        if not isinstance(uses, dict):
            return "none"
        called = ((name, use.get("name") if isinstance(use, dict) else use) for name, use in uses.items())
        return ", ".join(f"{name} ({component})" for name, component in called) or "none"
