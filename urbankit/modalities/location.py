"""The base of location encoders, whose observations are coordinates."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import TypeVar

from urbankit.city.city import City
from urbankit.city.points import NO_GEOMETRY
from urbankit.city.raw_features import RawSource
from urbankit.modalities.base import EncoderParams, hash_arrays
from urbankit.modalities.pretrained.backbone import CheckpointEncoder, CheckpointParams


class LocationParams(CheckpointParams, EncoderParams):
    """The parameters of every location encoder."""

    sources: dict[str, str] = Field(
        default_factory=dict,
        description="The image source of a described modality, if it differs from the modality's name.",
    )


L = TypeVar("L", bound=LocationParams, default=LocationParams)


class LocationEncoder(CheckpointEncoder[L, Tensor]):
    """An encoder of coordinates: implement `forward`, from longitude and latitude in degrees, float64 Tensor[n, 2].

    A region's observation is its centroid; `of` an image source, its images' own locations.
    """

    Params = LocationParams
    describes_by = "location"
    free_in_transfer = CheckpointEncoder.free_in_transfer | {"sources"}

    def __init__(self, params: L, city: City, modality: str, dim: int) -> None:
        super().__init__(params, city, modality, dim)
        self._centroids = np.array(city.lonlat, dtype=np.float64)
        self._points = {name: _points(city, name) for name in city.image_sources}

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

    def observations(self, of: str | None = None) -> np.ndarray:
        points = self._described(of)
        return np.arange(self.n_regions) if points is None else points[0]

    def describes(self, modality: str) -> bool:
        """Only where regions have several images: a single one lies at the centroid, the region's own location."""
        points = self._described(modality)
        return points is not None and len(points[0]) > len(np.unique(points[0]))

    def load(self, rows: np.ndarray, of: str | None = None) -> Tensor:
        """Longitude and latitude in degrees, float64 Tensor[n, 2]."""
        points = self._described(of)
        return torch.from_numpy((self._centroids if points is None else points[1])[rows])

    def fingerprint(self, of: str | None = None) -> str:
        points = self._described(of)
        return hash_arrays(self._centroids if points is None else points[1])

    def _described(self, of: str | None) -> tuple[np.ndarray, np.ndarray] | None:
        return None if of is None else self._points.get(self.params.sources.get(of, of))


def _points(city: City, source: str) -> tuple[np.ndarray, np.ndarray]:
    """The region and the longitude and latitude of a source's images; the region's centroid where an image has none."""
    images = city.images(source)
    region, lonlat = np.asarray(images.region), np.asarray(images.lonlat, dtype=np.float64)
    return region, np.where(np.isfinite(lonlat), lonlat, np.asarray(city.lonlat)[region])
