"""Plain coordinates as a modality."""

from __future__ import annotations

from typing import Any

import numpy as np

from urbankit.city.city import City
from urbankit.city.points import NO_GEOMETRY
from urbankit.city.raw_features import RawSource
from urbankit.modalities.features import FeatureEncoder
from urbankit.modalities.standardise import Statistics


class Coordinates(FeatureEncoder):
    """A region's centroid in the city's projected CRS, divided by one standard deviation for both axes.

    `geoclip` turns coordinates into many waves. These two numbers keep distances, up to a linear map, so a Gaussian
    process on the embedding can interpolate by distance. They are relative to the region's own city, also if the
    weights come from another city.
    """

    relative = True

    @classmethod
    def requires(cls, params: Any, city: City, modality: str) -> str | None:
        if not city.has_geometry:
            return f"the regions {NO_GEOMETRY}"
        return super().requires(params, city, modality)

    @classmethod
    def local(cls, params: Any) -> str | None:
        return "equal coordinates in two cities do not mean equal places"

    @classmethod
    def raw_features(cls, params: Any, city: City, modality: str) -> list[RawSource]:
        return []  # the floors have the coordinates of every region

    def features(self, city: City) -> tuple[np.ndarray, np.ndarray]:
        return city.xy, np.arange(city.n_regions)

    def names(self, city: City) -> list[str]:
        return ["east", "north"]

    def describe(self, values: np.ndarray, names: list[str]) -> Statistics:
        mean = values.mean(axis=0)
        std = max(float(np.sqrt(np.square(values - mean).mean())), 1e-9)
        return Statistics(names, mean, np.full(2, std), values.min(axis=0), values.max(axis=0), [])
