"""A target of a city: what is to be predicted, with the texts that readers see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from urbankit.city.texts import Text, spec_keys

Kind = Literal["regression", "classification", "distribution"]


@dataclass
class Target:
    """A quantity or class to predict.

    Attributes:
        name: The target's name in the city spec.
        kind: `regression`, `classification` or `distribution`.
        values: float64[N], NaN missing, for regression; object[N] of text, None missing, for classification;
            float64[N, K], rows of shares that sum to one or are NaN, for a distribution.
        unit: The unit for tables and figures.
        title: The name that readers see; empty for `name`.
        description: What it is, in a sentence or two.
        classes: Titles and descriptions of classes or parts, by name; those without a text are not in it.
        parts: The names of the K parts of a distribution.
    """

    name: str
    kind: Kind
    values: np.ndarray
    unit: str = ""
    title: str = ""
    description: str = ""
    classes: Mapping[str, Text] = field(default_factory=dict)
    parts: tuple[str, ...] = ()

    @property
    def present(self) -> np.ndarray:
        """bool[N]: regions with a value."""
        if self.values.dtype == object:
            return np.array([value is not None for value in self.values], dtype=bool)
        return np.isfinite(self.values).reshape(len(self.values), -1).all(axis=1)

    def ordered(self, parts: tuple[str, ...]) -> Target:
        """The same with its parts in another order."""
        order = [self.parts.index(part) for part in parts]
        return replace(self, parts=parts, values=self.values[:, order] if parts else self.values)


def share_columns(parts: Sequence[str]) -> list[str]:
    """The columns of a prepared distribution."""
    return [f"share: {part}" for part in parts]


def described(target: Target, spec: Mapping[str, Any]) -> Target:
    """Return a target with the texts and the unit that the city file, as the manifest stores it, has on it."""
    keys = spec_keys(spec, f"targets.{target.name}")
    text, classes = Text.of(keys), {name: Text.of(one) for name, one in (keys.get("classes") or {}).items()}
    unit = keys.get("unit") or target.unit
    return replace(target, unit=unit, title=text.title, description=text.description, classes=classes)


def target_values(table: pd.DataFrame, kind: Kind, parts: Sequence[str]) -> np.ndarray:
    """Return the values of a target, as `Target` has them, from the table that `prepare` wrote."""
    if parts:
        return table[share_columns(parts)].to_numpy(np.float64)
    value = table["value"]
    if kind == "regression":
        return value.to_numpy(np.float64, na_value=np.nan)
    return value.astype(object).where(value.notna(), None).to_numpy(dtype=object)
