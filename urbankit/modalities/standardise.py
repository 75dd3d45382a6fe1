"""Means and spreads of features, which standardise them and can be taken to another city."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Statistics:
    """Names, means and spreads [F] of features, and which of them bring a flag beside them where they are missing.

    A spread of 0 is that of a constant feature.
    """

    names: Sequence[str]
    mean: NDArray[np.float64]
    spread: NDArray[np.float64]
    flagged: Sequence[str]

    @classmethod
    def of(cls, values: NDArray[np.float64], names: Sequence[str]) -> Statistics:
        """Those of the finite ones among `values` [M, F]; a feature with any missing value is flagged."""
        missing = ~np.isfinite(values)
        known = np.where(missing, 0.0, values)
        count = np.maximum((~missing).sum(axis=0), 1)
        mean = known.sum(axis=0) / count
        spread = np.sqrt((np.where(missing, 0.0, known - mean) ** 2).sum(axis=0) / count)
        # A column that differs by rounding alone is constant.
        spread[spread <= 1e-12 * np.maximum(np.abs(mean), 1e-300)] = 0.0
        return cls(names, mean, spread, [name for name, any_ in zip(names, missing.any(axis=0), strict=True) if any_])

    @property
    def columns(self) -> list[str]:
        """The names of what `apply` returns."""
        return [*self.names, *(f"{name} missing" for name in self.flagged)]

    def apply(self, values: NDArray[np.float64]) -> NDArray[np.float32]:
        """Standardised features and the flags: [M, F + flags]. Missing values become 0, the mean, as do constants."""
        missing = ~np.isfinite(values)
        centred = np.where(missing, 0.0, np.where(missing, 0.0, values) - self.mean)
        scaled = np.where(self.spread == 0, 0.0, centred / np.where(self.spread == 0, 1.0, self.spread))
        flags = missing[:, [self.names.index(name) for name in self.flagged]]
        return np.hstack([scaled, flags]).astype(np.float32)

    def among(self, own: Statistics) -> Statistics:
        """These for the features of `own`, in its order and with its flags; where these lack one, that of `own`."""
        place = {name: i for i, name in enumerate(self.names)}
        mean, spread = own.mean.copy(), own.spread.copy()
        for i, name in enumerate(own.names):
            if name in place:
                mean[i], spread[i] = self.mean[place[name]], self.spread[place[name]]
        return Statistics(own.names, mean, spread, own.flagged)

    def to_json(self) -> str:
        values = {"mean": self.mean.tolist(), "spread": self.spread.tolist()}
        return json.dumps({"names": list(self.names), **values, "flagged": list(self.flagged)})

    @classmethod
    def from_json(cls, text: str) -> Statistics:
        found = json.loads(text)
        return cls(found["names"], np.array(found["mean"]), np.array(found["spread"]), found["flagged"])


def standardised(values: NDArray) -> NDArray[np.float32]:
    """Columns with mean 0 and variance 1 over their finite values, and the missing flags: float32[M, F + flags].

    Missing values become 0, the mean; a constant column becomes 0.
    """
    values = np.asarray(values, dtype=np.float64)
    return Statistics.of(values, [str(i) for i in range(values.shape[1])]).apply(values)
