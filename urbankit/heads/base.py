"""What a head is: a task's predictor on top of the region embedding."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from urbankit.registry.component import Component, P


class Head(Component[P], nn.Module, ABC):
    """Maps embeddings [B, in_dim] to [B, out_dim]: one number (regression) or one logit a class (classification)."""

    def __init__(self, params: P, in_dim: int, out_dim: int) -> None:
        nn.Module.__init__(self)
        self.params, self.in_dim, self.out_dim = params, in_dim, out_dim

    @abstractmethod
    def forward(self, embedding: Tensor) -> Tensor:
        """Predictions [B, out_dim] of `embedding` [B, in_dim]."""

    def divide(self, blocks: Sequence[int]) -> None:
        """Called once before training with the widths of the parts of the embedding, in order; ignored by default.

        Fitted heads are told when they are fitted.
        """

    def block_weights(self) -> Tensor | None:
        """How much the head leans on each part of the embedding, float [blocks]; None where it does not say."""
        return None


class FittedHead(Head[P]):
    """A head that is fitted to the pre-trained embedding as a whole, rather than by gradient steps with the method."""

    @abstractmethod
    def fit(self, embedding: Tensor, labels: Tensor, blocks: Sequence[int]) -> None:
        """Fit to `embedding` [n, in_dim] and `labels` [n]: float in the learned form, or int64 class numbers.

        `blocks` are the widths of the parts of the embedding, in order.
        """
