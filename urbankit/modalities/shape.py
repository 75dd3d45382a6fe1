"""The shape of a region as a modality: how large it is and how compact."""

from __future__ import annotations

import numpy as np

from urbankit.city.city import City
from urbankit.modalities.features import FeatureEncoder


class Shape(FeatureEncoder):
    """Of a region's polygon: log of the area in km², log of the perimeter in km, and compactness 4π·area/perimeter².

    Regions of one size, such as grid cells, have nothing to tell by it; census tracts are drawn to hold about as many
    people each, so that their area says much about density.
    """

    def features(self, city: City) -> tuple[np.ndarray, np.ndarray]:
        perimeter = city.regions.geometry.length.to_numpy() / 1000
        area = np.asarray(city.area_km2)
        values = np.column_stack([np.log(area), np.log(perimeter), 4 * np.pi * area / perimeter**2])
        return values, np.arange(city.n_regions)
