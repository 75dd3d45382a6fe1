"""Kriging on coordinates and embedding, which can start from a model of other cities."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field
from torch import Tensor

from urbankit.heads.averaged_kriging import AveragedKriging, Points, typical_spacing
from urbankit.heads.base import RegionData, RegionHead, label_columns
from urbankit.registry import component


class Kriging(RegionHead):
    """Kriging with an external drift, averaged over its variances, for few labels (`AveragedKriging`).

    A process on coordinates fills in what neighbouring regions share, and one on the embedding what similar regions
    share. With predictions p of a model of other cities, the expected value is `level + slope · p`. Classes are
    regressed as indicators.
    """

    takes_prior = True

    class Params(component.Params):
        max_points: int = Field(
            3000,
            ge=2,
            description="Number of training regions, drawn at random, that predictions use (cost grows with the cube).",
        )

    params: Params

    def fit_regions(self, embedding: Tensor, labels: Tensor, blocks: Sequence[int], regions: RegionData) -> None:
        self.block_widths = list(blocks)
        self.spacing = regions.spacing or (1.0 if regions.xy is None else typical_spacing(regions.xy))
        points, y = self._points(embedding, regions), label_columns(labels, self.out_dim)
        self.model = AveragedKriging.fit(points, y, regions.prior, self.params.max_points)

    def predict_regions(self, embedding: Tensor, regions: RegionData) -> Tensor:
        return self.model.predict(self._points(embedding, regions), regions.prior).to(embedding.device)

    def _points(self, embedding: Tensor, regions: RegionData) -> Points:
        return Points.of(embedding, self.block_widths, regions.xy, self.spacing)
