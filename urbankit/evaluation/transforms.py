"""Transforms of a regression target: none, standardised, or the standardised logarithm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from urbankit.utils.standardise import nonzero_std

LOGARITHMS = ("log", "soft-log")
TRANSFORMS = ("none", "standard", *LOGARITHMS)


@dataclass(frozen=True)
class TargetTransform:
    """A transform with its fitted numbers; `dataclasses.asdict` gives what a checkpoint keeps.

    `none` is y; `standard` is (y - mean) / std; `log` is (log(1 + y) - mean) / std, for y of at least 0; `soft-log` is
    the same of log(1 + y / s), s being a twentieth of the median of the positive values: where `log` sets a region
    without people ten units below all others, `soft-log` sets it three below. Mean, standard deviation and s are of the
    training part. The inverse of a logarithm is clipped to between 0 and e times the largest value of the training
    part, since the exponential of an extrapolation has no bound.
    """

    kind: str
    mean: float = 0.0
    std: float = 1.0
    ceiling: float = float("inf")
    scale: float = 1.0

    @classmethod
    def fit(cls, kind: str, train: NDArray[np.float64]) -> TargetTransform:
        """Fit to the values [n] of the training part only. A constant target keeps std 1."""
        if kind not in TRANSFORMS:
            raise ValueError(f"unknown transform '{kind}'; known: {', '.join(TRANSFORMS)}")
        if kind == "none":
            return cls(kind)
        train = np.asarray(train, dtype=np.float64)
        if kind == "standard":
            return cls(kind, float(train.mean()), float(nonzero_std(train)))
        positive = train[train > 0]
        scale = float(np.median(positive)) / 20 if kind == "soft-log" and len(positive) else 1.0
        logs = np.log1p(train / scale)
        return cls(kind, float(logs.mean()), float(nonzero_std(logs)), float(logs.max()) + 1, scale)

    def transform(self, y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Own units to the learned form, [n]; NaN stays NaN. A logarithm takes predictions below 0 as 0."""
        values = np.asarray(y, dtype=np.float64)
        if self.kind in LOGARITHMS:
            values = np.log1p(np.maximum(values, 0) / self.scale)
        return (values - self.mean) / self.std

    def inverse(self, z: NDArray[np.float64]) -> NDArray[np.float64]:
        """The learned form to own units, [n]."""
        values = np.asarray(z, dtype=np.float64) * self.std + self.mean
        return np.expm1(np.clip(values, 0, self.ceiling)) * self.scale if self.kind in LOGARITHMS else values

    def columns(self, y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Own units [..., n] as the outputs of a model, [..., n, 1]."""
        return self.transform(y)[..., None]

    def predicted(self, outputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Own units [..., n] from the outputs [..., n, 1] of a model."""
        return self.inverse(outputs[..., 0])
