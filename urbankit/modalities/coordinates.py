"""Plain coordinates as a modality."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from urbankit.modalities.features import FeatureEncoder, FeatureParams

if TYPE_CHECKING:
    from urbankit.city.city import City


class Coordinates(FeatureEncoder):
    """A region's centroid in the city's projected CRS, in units of the city's spread, the same for both axes.

    Where `geoclip` turns places into many waves, these two numbers keep the plane as it is, up to the linear map of the
    projection: distances in them are what a Gaussian process on top of the embedding interpolates by.
    """

    def __init__(self, params: FeatureParams, city: City, modality: str, dim: int) -> None:
        super().__init__(params, city, modality, dim)
        centred = city.xy - city.xy.mean(axis=0)
        spread = max(float(np.sqrt(np.square(centred).mean())), 1e-9)
        self._values = torch.from_numpy((centred / spread).astype(np.float32))

    def features(self, city: City) -> tuple[np.ndarray, np.ndarray]:
        return city.xy, np.arange(city.n_regions)
