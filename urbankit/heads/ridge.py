"""Bayesian ridge regression on the embedding, which can start from a model of other cities."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from urbankit.heads.averaged_ridge import AveragedRidge
from urbankit.heads.base import RegionData, RegionHead, label_columns


class Ridge(RegionHead):
    """Ridge regression whose penalty is averaged over its posterior, for few labels (`AveragedRidge`).

    Classes are regressed as indicators. With predictions p of a model of other cities it is
    `level + slope · p + ⟨w, z⟩`.
    """

    reads_features = False
    takes_prior = True

    def fit_regions(self, embedding: Tensor, labels: Tensor, blocks: Sequence[int], regions: RegionData) -> None:
        x, y = embedding.double().cpu().numpy(), label_columns(labels, self.out_dim)
        self.model = AveragedRidge.fit(x, y, regions.prior)

    def predict_regions(self, embedding: Tensor, regions: RegionData) -> Tensor:
        outputs = self.model.predict(embedding.double().cpu().numpy(), regions.prior)
        return torch.as_tensor(outputs, device=embedding.device)
