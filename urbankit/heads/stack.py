"""Several models on the embedding and on the input features, combined by a super learner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from urbankit.heads.base import RegionData, RegionHead, label_columns
from urbankit.heads.stacking import members
from urbankit.heads.stacking.features import Table
from urbankit.heads.stacking.super_learner import BALANCE, Features, SuperLearner
from urbankit.registry import component


class Stack(RegionHead):
    """A super learner (van der Laan, Polley and Hubbard, 2007).

    Ridge and Gaussian processes, each on the embedding and on the input features, a random forest and gradient-boosted
    trees on the input features, a smoother on coordinates, and the mean. Five folds inside the training part, divided
    as the split protocol divides (whole blocks of the grid under `spatial`), predict each training region from the
    others. The weights minimise the squared error of these predictions; none is negative, their sum is 1. With few
    regions, or few blocks, they stay near equal weights of all models but the mean.

    With `features: false` it reads only the embedding, so that methods can be compared.

    With predictions p of a model of other cities all models read p, and there are more: `level + slope · p`, and
    kriging from there on the embedding or the features (the head `kriging`). The weights start from these.

    The logits of classes are `log p - log share / 2`, with joined probabilities p and the shares of the classes in
    the training part, so that rare classes are predicted too.
    """

    class Params(component.Params):
        features: bool = Field(
            True,
            description="Whether the models also read the input features of the recipe and the coordinates. With"
            " `false` they read only the embedding, so that embeddings can be compared.",
        )

    takes_prior = True
    params: Params

    @classmethod
    def approximations(cls, params: Any, n: int) -> list[str]:
        return members.approximations(n)

    def fit_regions(self, embedding: Tensor, labels: Tensor, blocks: Sequence[int], regions: RegionData) -> None:
        self.blocks = tuple(blocks)
        self.learner = SuperLearner(
            self._features(embedding, regions),
            label_columns(labels, self.out_dim),
            classified=not labels.is_floating_point(),
            groups=regions.groups,
            transform=regions.transform,
            seed=int(torch.randint(2**31, ())),
        )

    def predict_regions(self, embedding: Tensor, regions: RegionData) -> Tensor:
        outputs = self.learner.predict(self._features(embedding, regions))
        if self.learner.classified:
            outputs = self.learner.logits(outputs)
        return torch.as_tensor(outputs, device=embedding.device)

    def probabilities(self, outputs: Tensor) -> Tensor:
        return (outputs + BALANCE * torch.as_tensor(self.learner.log_shares).to(outputs)).softmax(dim=1)

    def member_weights(self) -> Mapping[str, float]:
        return self.learner.weights

    def _features(self, embedding: Tensor, regions: RegionData) -> Features:
        prior = regions.prior
        tables = {"embedding": Table(embedding.double().cpu().numpy(), self.blocks, learned=True)}
        if self.params.features and regions.features is not None and regions.features.shape[1]:
            tables["features"] = Table(regions.features, regions.blocks)
        if prior is not None:
            tables = {name: table.beside(prior.columns) for name, table in tables.items()}
        return Features(tables, regions.xy if self.params.features else None, prior, regions.spacing)
