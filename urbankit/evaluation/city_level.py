"""The level and scale of a target in a city, predicted from means over the regions of the city."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from urbankit import registry
from urbankit.city.city import City
from urbankit.city.joined import vocabulary
from urbankit.registry.component import Use
from urbankit.utils.names import match_names
from urbankit.utils.standardise import nonzero_std

Array = NDArray[np.float64]
CityFeatures = Mapping[str, float]
"""The mean of each input feature over the regions of a city, by name."""

FEWEST = 8
"""Fewest cities that levels are predicted from; with fewer, the level is the mean of theirs."""
PENALTIES = np.append(np.geomspace(1.0, 1e5, 21), np.inf)
"""Penalties in units of one city; infinity is the mean of the cities."""


def city_features(modalities: Mapping[str, Use], city: City, left_out: Collection[str] = ()) -> dict[str, float]:
    """Return the features of a city: those that the encoders of `modalities` state, as far as it has their data.

    Modalities in `left_out` are not looked at.
    """
    features: dict[str, float] = {}
    for name, use in modalities.items():
        if name in left_out:
            continue
        encoder = registry.get("modality_encoder", use.name)
        params = encoder.Params(**use.params)
        if encoder.requires(params, city, name) is None:
            features |= encoder.city_features(params, city, name)
    return features


@dataclass(frozen=True)
class CityRegression:
    """Ridge regression of a number on F features of cities.

    Attributes:
        names: The names of the features.
        centre, scale: Mean and standard deviation of the features over the cities, [F].
        coefficients: Of the standardised features, [F].
        low, high: The smallest and the largest number of the cities; predictions are cut to them.
        average: The mean over the cities.
    """

    names: tuple[str, ...]
    centre: Array
    scale: Array
    coefficients: Array
    low: float
    high: float
    average: float

    @classmethod
    def fit(cls, y: Array, cities: Sequence[CityFeatures]) -> tuple[CityRegression, Array]:
        """Fit to C cities.

        The penalty is the one with the smallest leave-one-out error (Rasmussen and Williams, 2006, section 5.4.2).

        Args:
            y: The number of each city, [C].
            cities: The features of each city. One that a city lacks is at its mean there.

        Returns:
            The regression, and the number of each city as the others predict it, [C].
        """
        names = vocabulary([list(features) for features in cities])[0] if len(y) >= FEWEST else []
        table = np.stack([_row(features, names) for features in cities])
        common = np.isfinite(table).mean(axis=0) > 0.5
        table, names = table[:, common], [name for name, kept in zip(names, common, strict=True) if kept]
        centre = np.nanmean(table, axis=0)
        table = np.where(np.isfinite(table), table, centre)
        scale = nonzero_std(table)
        left, singular, right = np.linalg.svd((table - centre) / scale, full_matrices=False)
        average, count = float(y.mean()), len(y)
        shrinkage = singular**2 / (singular**2 + PENALTIES[:, None])  # [penalties, rank]
        along = shrinkage * (left.T @ (y - average))
        leverage = shrinkage @ np.square(left).T + 1 / count
        left_out = y - (y - average - along @ left.T) / np.maximum(1 - leverage, 1e-9)
        best = int(np.argmin(np.square(left_out - y).sum(axis=1)))
        coefficients = right.T @ (along[best] / np.where(singular > 0, singular, 1.0))
        low, high = float(y.min()), float(y.max())
        fitted = cls(tuple(names), centre, scale, coefficients, low, high, average)
        return fitted, left_out[best].clip(low, high)

    def predict(self, features: CityFeatures) -> float:
        """Return the number of a city with these features; one that it lacks is at its mean."""
        row = _row(features, self.names)
        standardised = np.where(np.isfinite(row), (row - self.centre) / self.scale, 0.0)
        return float((self.average + standardised @ self.coefficients).clip(self.low, self.high))

    def facts(self) -> dict[str, Any]:
        """The regression, ready for JSON."""
        return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in vars(self).items()}

    @classmethod
    def load(cls, facts: Mapping[str, Any]) -> CityRegression:
        """The regression of `facts`. Raises `KeyError` or `TypeError` for those of something else."""
        arrays = {name: np.array(facts[name], dtype=np.float64) for name in ("centre", "scale", "coefficients")}
        return cls(**{**facts, **arrays, "names": tuple(facts["names"])})


class CityLevel(NamedTuple):
    """What the features of a city say of the mean of a target over its regions, and of their standard deviation.

    Attributes:
        mean: Predicts the mean.
        log_std: Predicts the logarithm of the standard deviation.
    """

    mean: CityRegression
    log_std: CityRegression

    @classmethod
    def fit(cls, mean: Array, std: Array, cities: Sequence[CityFeatures]) -> tuple[CityLevel, Array, Array]:
        """Fit to C cities; also returns mean and standard deviation of each as the others predict them, [C]."""
        of_mean, other_mean = CityRegression.fit(mean, cities)
        of_std, other_log_std = CityRegression.fit(np.log(std), cities)
        return cls(of_mean, of_std), other_mean, np.exp(other_log_std)

    def adjust(self, values: Array, features: CityFeatures) -> Array:
        """Return predictions for the average city [N] at the level and scale of a city with these features."""
        factor = np.exp(self.log_std.predict(features) - self.log_std.average)
        return (values - self.mean.average) * factor + self.mean.predict(features)

    def facts(self) -> dict[str, Any]:
        """Both regressions, ready for JSON."""
        return {name: regression.facts() for name, regression in self._asdict().items()}

    @classmethod
    def load(cls, facts: Mapping[str, Any]) -> CityLevel:
        """Both regressions of `facts`. Raises `KeyError` or `TypeError` for those of something else."""
        return cls(*(CityRegression.load(facts[name]) for name in cls._fields))


def _row(features: CityFeatures, names: Sequence[str]) -> Array:
    """The features in the order of `names`, however they are spelled; NaN for those that are missing."""
    matches = match_names(names, list(features))
    return np.array([features[matches[name]] if name in matches else np.nan for name in names])
