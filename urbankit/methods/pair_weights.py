"""The base of pair weights: how much each matched pair of a contrast counts."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from urbankit.registry.component import Component, P


class PairWeight(Component[P], nn.Module, ABC):
    """Weights the pairs of one alignment, such as images and their captions. Every alignment has its own instance.

    Args:
        params: the component's validated `Params`.
    """

    def __init__(self, params: P) -> None:
        nn.Module.__init__(self)
        self.params = params

    @abstractmethod
    def forward(self, a: Tensor, b: Tensor) -> Tensor | None:
        """Return the weights of the pairs of a mini-batch.

        Args:
            a: vectors [B, d].
            b: vectors [B, d]; row i matches row i of `a`.

        Returns:
            Weights [B] of mean 1 without gradient, or None for 1 each.
        """


class Uniform(PairWeight):
    """All pairs have the weight 1."""

    def forward(self, a: Tensor, b: Tensor) -> None:
        """Return None: all pairs count 1."""
        return None
