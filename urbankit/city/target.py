"""A target of a city: what is to be predicted, with the texts that readers see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from urbankit.city.texts import Text, spec_keys


@dataclass
class Target:
    """A quantity or class to predict.

    Attributes:
        name: The target's name in the city spec.
        kind: `regression` or `classification`.
        values: float64[N], NaN missing, for regression; object[N] of text, None missing, for classification.
        unit: The unit for tables and figures.
        title: The name that readers see; empty for `name`.
        description: What it is, in a sentence or two.
        classes: Titles and descriptions of classes, by class; those without a text are not in it.
    """

    name: str
    kind: Literal["regression", "classification"]
    values: np.ndarray
    unit: str = ""
    title: str = ""
    description: str = ""
    classes: Mapping[str, Text] = field(default_factory=dict)

    @property
    def present(self) -> np.ndarray:
        """bool[N]: regions with a value."""
        if self.kind == "regression":
            return np.isfinite(self.values)
        return np.array([value is not None for value in self.values], dtype=bool)


def described(target: Target, spec: Mapping[str, Any]) -> Target:
    """Return a target with the texts and the unit that the city file, as the manifest stores it, has on it."""
    keys = spec_keys(spec, f"targets.{target.name}")
    text, classes = Text.of(keys), {name: Text.of(one) for name, one in (keys.get("classes") or {}).items()}
    unit = keys.get("unit") or target.unit
    return replace(target, unit=unit, title=text.title, description=text.description, classes=classes)
