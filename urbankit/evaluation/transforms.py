"""The form a regression target is learned in: as it is, standardised, or its standardised logarithm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TRANSFORMS = ("none", "standard", "log")


@dataclass(frozen=True)
class TargetTransform:
    """A transform with its fitted numbers; `dataclasses.asdict` gives what a checkpoint keeps.

    `none` is y; `standard` is (y - mean) / std; `log` is (log(1 + y) - mean) / std, for y of at least 0. Mean and
    standard deviation are of the training part. The inverse of `log` is clipped to between 0 and e times the largest
    value of the training part, since the exponential of an extrapolation has no bound.
    """

    kind: str
    mean: float = 0.0
    std: float = 1.0
    ceiling: float = float("inf")

    @classmethod
    def fit(cls, kind: str, train: NDArray[np.float64]) -> TargetTransform:
        """Fit to the values [n] of the training part only. A constant target keeps std 1."""
        if kind not in TRANSFORMS:
            raise ValueError(f"unknown transform '{kind}'; known: {', '.join(TRANSFORMS)}")
        if kind == "none":
            return cls(kind)
        values = np.log1p(train) if kind == "log" else np.asarray(train, dtype=np.float64)
        std = float(values.std())
        ceiling = float(values.max()) + 1 if kind == "log" else float("inf")
        return cls(kind, float(values.mean()), std if std > 1e-12 else 1.0, ceiling)

    def transform(self, y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Own units to the learned form, [n]; NaN stays NaN."""
        values = np.log1p(y) if self.kind == "log" else np.asarray(y, dtype=np.float64)
        return (values - self.mean) / self.std

    def inverse(self, z: NDArray[np.float64]) -> NDArray[np.float64]:
        """The learned form to own units, [n]."""
        values = np.asarray(z, dtype=np.float64) * self.std + self.mean
        return np.expm1(np.clip(values, 0, self.ceiling)) if self.kind == "log" else values
