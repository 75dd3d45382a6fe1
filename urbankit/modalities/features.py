"""Encoders of numbers: observations that are rows of a table, as they are or through a small perceptron."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from urbankit.modalities.base import EncoderParams, ModalityEncoder, hash_arrays

if TYPE_CHECKING:
    from urbankit.city.city import City


class FeatureParams(EncoderParams):
    """The parameters of every encoder of numbers."""

    hidden: int = Field(
        0, ge=0, description="Width of a two-layer perceptron on the features; 0 hands the features on as they are."
    )


class FeatureEncoder(ModalityEncoder):
    """An encoder of numbers: give `features`, and optionally `requires` and a `Params` derived from `FeatureParams`.

    Every feature is standardised over the observations. A missing value (NaN or infinite) becomes the feature's mean,
    and a feature with missing values brings a flag beside it that is 1 where it is missing.
    """

    Params = FeatureParams

    def __init__(self, params: FeatureParams, city: City, modality: str, dim: int) -> None:
        super().__init__(params, city, modality, dim)
        values, region = self.features(city)
        order = np.argsort(region, kind="stable")
        self._region = np.asarray(region, dtype=np.int64)[order]
        self._values = torch.from_numpy(standardised(values)[order])
        features = self._values.shape[1]
        self.backbone: nn.Module = nn.Identity()
        if params.hidden:
            self.backbone = nn.Sequential(
                nn.Linear(features, params.hidden), nn.GELU(), nn.Linear(params.hidden, params.hidden)
            )
        self.connect(params.hidden or features)

    def features(self, city: City) -> tuple[np.ndarray, np.ndarray]:
        """float[M, F] raw features of M observations, NaN where missing, and the region of each, int[M]."""
        raise NotImplementedError

    def observations(self, of: str | None = None) -> np.ndarray:
        return self._region

    def load(self, rows: np.ndarray, of: str | None = None) -> Tensor:
        return self._values[torch.from_numpy(rows)]

    def forward(self, batch: Tensor) -> Tensor:
        return self.backbone(batch)

    def fingerprint(self, of: str | None = None) -> str:
        return hash_arrays(self._values.numpy())


def standardised(values: np.ndarray) -> np.ndarray:
    """Columns with mean 0 and variance 1 over their finite values, and the missing flags: float32[M, F + flags].

    Missing values become 0, the mean; a constant column becomes 0.
    """
    values = np.asarray(values, dtype=np.float64)
    missing = ~np.isfinite(values)
    known = np.where(missing, 0.0, values)
    count = np.maximum((~missing).sum(axis=0), 1)
    mean = known.sum(axis=0) / count
    centred = np.where(missing, 0.0, known - mean)
    spread = np.sqrt((centred**2).sum(axis=0) / count)
    # A column that differs by rounding alone is constant.
    constant = spread <= 1e-12 * np.maximum(np.abs(mean), 1e-300)
    scaled = np.where(constant, 0.0, centred / np.where(constant, 1.0, spread))
    return np.hstack([scaled, missing[:, missing.any(axis=0)]]).astype(np.float32)
