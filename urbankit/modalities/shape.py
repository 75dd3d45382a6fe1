"""The shape of a region as a modality: how large it is and how compact."""

from __future__ import annotations

from typing import Any

import numpy as np

from urbankit.city.city import City
from urbankit.city.points import NO_GEOMETRY
from urbankit.modalities.features import FeatureEncoder


class Shape(FeatureEncoder):
    """Log of the area in km², log of the perimeter in km, and compactness 4π·area/perimeter² of each polygon.

    This carries no information if all regions have the same size, as grid cells do. Census tracts hold about the same
    number of people each, so their area is closely related to density.
    """

    @classmethod
    def requires(cls, params: Any, city: City, modality: str) -> str | None:
        if not city.has_geometry:
            return f"the regions {NO_GEOMETRY}"
        return super().requires(params, city, modality)

    def features(self, city: City) -> tuple[np.ndarray, np.ndarray]:
        perimeter = city.regions.geometry.length.to_numpy() / 1000
        area = np.asarray(city.area_km2)
        values = np.column_stack([np.log(area), np.log(perimeter), 4 * np.pi * area / perimeter**2])
        return values, np.arange(city.n_regions)
