"""The base of heads, which predict a task from the region embedding."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from urbankit.heads.prior import Prior
from urbankit.heads.transform import Transform
from urbankit.registry.component import Component, P
from urbankit.registry.contract import check_tensor


class Head(Component[P], nn.Module, ABC):
    """Predicts a task: one number for a regression, one logit for each class of a classification.

    A distribution of K parts is K - 1 numbers (`urbankit.evaluation.shares`): one output each of a head that is trained
    by gradient steps, while a `FittedHead` is fitted to one after another, as to a regression.

    Args:
        params: the component's validated `Params`.
        in_dim: width of the embedding.
        out_dim: width of the output.

    Attributes:
        takes_prior: whether it can start from the predictions of a model of other cities (`RegionData.prior`).
    """

    takes_prior: ClassVar[bool] = False

    def __init__(self, params: P, in_dim: int, out_dim: int) -> None:
        nn.Module.__init__(self)
        self.params, self.in_dim, self.out_dim = params, in_dim, out_dim
        self.register_forward_hook(Head._check)

    def _check(self, arguments: tuple[Any, ...], outputs: Any) -> None:
        if arguments and arguments[0].ndim > 1:  # several fits at once return [..., B, out_dim]
            check_tensor(self, "forward()", outputs, arguments[0].shape[-2], self.out_dim, batched=True)

    @abstractmethod
    def forward(self, embedding: Tensor) -> Tensor:
        """Return the outputs [B, out_dim] for `embedding` [B, in_dim]."""

    def divide(self, blocks: Sequence[int]) -> None:
        """Set the parts of the embedding; called once before training, and ignored by default.

        Args:
            blocks: widths of the parts, in order; their sum is `in_dim`.
        """

    def block_weights(self) -> Tensor | None:
        """Return the weight of each part of the embedding, float [blocks]; None for a head without such weights."""
        return None

    def probabilities(self, outputs: Tensor) -> Tensor:
        """Return the probabilities of the classes, [B, C], from logits `outputs` [B, C]; their softmax by default."""
        return outputs.softmax(dim=1)


class FittedHead(Head[P]):
    """A head that is fitted to the pre-trained embedding at once, without gradient steps."""

    @abstractmethod
    def fit(self, embedding: Tensor, labels: Tensor, blocks: Sequence[int]) -> None:
        """Fit the head.

        Args:
            embedding: training regions, [n, in_dim].
            labels: transformed targets, float [n], or class numbers, int64 [n].
            blocks: widths of the parts of the embedding, in order.
        """

    @classmethod
    def approximations(cls, params: Any, n: int) -> list[str]:
        """Return sentences on what a fit to n training regions approximates or samples; the run's notes have them."""
        return []

    @classmethod
    def fit_each(
        cls, params: Any, embedding: Tensor, rows: Tensor, labels: Tensor, out_dim: int, blocks: Sequence[int]
    ) -> Tensor:
        """Fit one head to each of D training sets of one size, and return their outputs [D, N, out_dim].

        One after another by default; a head may fit them at once.

        Args:
            params: as in `Head`.
            embedding: all regions, [N, in_dim].
            rows: the training regions of each set, int64 [D, n].
            labels: their labels as in `fit`, [D, n].
            out_dim: width of the output.
            blocks: widths of the parts of the embedding, in order.
        """
        outputs = []
        for index, values in zip(rows, labels, strict=True):
            head = cls(params, embedding.shape[1], out_dim)
            head.fit(embedding[index], values, blocks)
            outputs.append(head(embedding))
        return torch.stack(outputs)


@dataclass(frozen=True)
class RegionData:
    """Data that a `RegionHead` reads beside the embedding; row i belongs to row i of the embedding.

    Attributes:
        features: input features, float64 [n, F], NaN where missing; None if there are none.
        blocks: widths of the blocks of `features`, in order.
        xy: centres in metres, [n, 2]; None if the regions are from several cities.
        groups: int64 [n]; regions of one group stay together when a head divides the training regions into folds, as
            the split protocol keeps them together. None divides single regions.
        transform: the form in which a regression target is learned; None for its own units.
        prior: predictions of a model of other cities, which the head starts from; None if there are none.
        spacing: the typical distance between neighbouring regions of the city in metres; None if it is not known.
    """

    features: NDArray[np.float64] | None = None
    blocks: tuple[int, ...] = ()
    xy: NDArray[np.float64] | None = None
    groups: NDArray[np.int64] | None = None
    transform: Transform | None = None
    prior: Prior | None = None
    spacing: float | None = None

    def rows(self, index: NDArray[np.int64]) -> RegionData:
        """Return the rows `index`."""
        arrays = {name: getattr(self, name) for name in ("features", "xy", "groups")}
        selected = {name: array[index] for name, array in arrays.items() if array is not None}
        return replace(self, **selected, prior=None if self.prior is None else self.prior.rows(index))


def label_columns(labels: Tensor, outputs: int) -> NDArray[np.float64]:
    """Return labels [..., n] as columns [..., n, outputs]: transformed targets, or 0 and 1 for each class."""
    values = labels.cpu().numpy()
    return values.astype(np.float64)[..., None] if labels.is_floating_point() else np.eye(outputs)[values]


class RegionHead(FittedHead[P]):
    """A fitted head that also reads a prior, coordinates or input features of the regions.

    If used as a `FittedHead`, it is fitted only to the embedding.

    Attributes:
        reads_features: whether it reads coordinates and input features.
    """

    reads_features: ClassVar[bool] = True

    @abstractmethod
    def fit_regions(self, embedding: Tensor, labels: Tensor, blocks: Sequence[int], regions: RegionData) -> None:
        """Fit the head.

        Args:
            embedding: training regions, [n, in_dim].
            labels: transformed targets, float [n], or class numbers, int64 [n].
            blocks: widths of the parts of the embedding, in order.
            regions: further data of the training regions.
        """

    @abstractmethod
    def predict_regions(self, embedding: Tensor, regions: RegionData) -> Tensor:
        """Return the outputs [B, out_dim] for `embedding` [B, in_dim] and further data of its regions."""

    def member_weights(self) -> Mapping[str, float]:
        """Return how much each model in the fitted head contributes, by name; empty for a head of one model."""
        return {}

    def fit(self, embedding: Tensor, labels: Tensor, blocks: Sequence[int]) -> None:
        """Fit the head only to the embedding."""
        self.fit_regions(embedding, labels, blocks, RegionData())

    def forward(self, embedding: Tensor) -> Tensor:
        """Return the outputs of a head that was fitted only to the embedding."""
        return self.predict_regions(embedding, RegionData())
