"""Means and standard deviations of features, which standardise them and can be used in another city."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from urbankit.utils.json_text import parse_json
from urbankit.utils.names import match_names

NUMBERS = ("mean", "std", "low", "high")


@dataclass(frozen=True)
class Statistics:
    """Names, means, standard deviations and ranges [F] of features, and which of them have a flag for missing values.

    A constant feature has the standard deviation 0.
    """

    names: Sequence[str]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    flagged: Sequence[str]

    @classmethod
    def of(cls, values: NDArray[np.float64], names: Sequence[str]) -> Statistics:
        """Return the statistics of the finite `values` [M, F]; a feature with any missing value is flagged."""
        missing = ~np.isfinite(values)
        finite = np.where(missing, 0.0, values)
        count = np.maximum((~missing).sum(axis=0), 1)
        mean = finite.sum(axis=0) / count
        std = np.sqrt((np.where(missing, 0.0, finite - mean) ** 2).sum(axis=0) / count)
        # A column that differs by rounding alone is constant.
        std[std <= 1e-12 * np.maximum(np.abs(mean), 1e-300)] = 0.0
        low, high = (np.where(missing, mean, values).min(axis=0), np.where(missing, mean, values).max(axis=0))
        flagged = [names[i] for i in np.flatnonzero(missing.any(axis=0)).tolist()]
        return cls(names, mean, std, low, high, flagged)

    @property
    def columns(self) -> list[str]:
        """The names of the columns that `apply` returns."""
        return [*self.names, *(f"{name} missing" for name in self.flagged)]

    def apply(self, values: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return standardised features and the flags, [M, F + flags]. Missing values and constants become 0, the mean.

        Values of another city are clipped to the range of these statistics. Weights were trained on this range only,
        and a feature that hardly varies in one city may be a thousand standard deviations away in another.
        """
        missing = ~np.isfinite(values)
        filled = np.clip(np.where(missing, self.mean, values), self.low, self.high)
        centred = np.where(missing, 0.0, filled - self.mean)
        scaled = np.where(self.std == 0, 0.0, centred / np.where(self.std == 0, 1.0, self.std))
        flags = missing[:, [self.names.index(name) for name in self.flagged]]
        return np.hstack([scaled, flags]).astype(np.float32)

    def for_features_of(self, target: Statistics) -> Statistics:
        """Return these statistics for the features of `target`, in its order and with its flags.

        A feature that these statistics lack has the values of `target`.
        """
        position = {name: i for i, name in enumerate(self.names)}
        shared = [i for i, name in enumerate(target.names) if name in position]
        source = [position[target.names[i]] for i in shared]
        numbers = {field: getattr(target, field).copy() for field in NUMBERS}
        for field, values in numbers.items():
            values[shared] = getattr(self, field)[source]
        return Statistics(names=target.names, flagged=target.flagged, **numbers)

    def renamed(self, names: Sequence[str]) -> Statistics:
        """Return these statistics with the spelling of `names` where they have features of the same names."""
        spelled = {name: match for match, name in match_names(names, self.names).items()}
        respelled, flagged = ([spelled.get(name, name) for name in part] for part in (self.names, self.flagged))
        return replace(self, names=respelled, flagged=flagged)

    def to_json(self) -> str:
        numbers = {field: getattr(self, field).tolist() for field in NUMBERS}
        return json.dumps({"names": list(self.names), **numbers, "flagged": list(self.flagged)})

    @classmethod
    def from_json(cls, text: str) -> Statistics:
        """What `to_json` wrote. Raises `ValueError` for anything else, such as what another version wrote."""
        try:
            fields = parse_json(text)
            return cls(**{**fields, **{field: np.array(fields[field], dtype=np.float64) for field in NUMBERS}})
        except (KeyError, TypeError, ValueError):
            message = "its statistics were written by another version of urbankit; run its recipe again"
            raise ValueError(message) from None
