"""The base of heads, which predict a task from the region embedding."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from urbankit.registry.component import Component, P


class Head(Component[P], nn.Module, ABC):
    """Predicts a task: one number for a regression, one logit for each class of a classification.

    Args:
        params: the component's validated `Params`.
        in_dim: width of the embedding.
        out_dim: width of the output.
    """

    def __init__(self, params: P, in_dim: int, out_dim: int) -> None:
        nn.Module.__init__(self)
        self.params, self.in_dim, self.out_dim = params, in_dim, out_dim

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
