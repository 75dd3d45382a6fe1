"""What a pair weight is: how much each matched pair of a contrast counts."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from urbankit.registry.component import Component, P


class PairWeight(Component[P], nn.Module, ABC):
    """Weighs the pairs of one alignment, such as images and their captions. An alignment has one of its own."""

    def __init__(self, params: P) -> None:
        nn.Module.__init__(self)
        self.params = params

    @abstractmethod
    def forward(self, a: Tensor, b: Tensor) -> Tensor | None:
        """Weights [B] of mean 1 and without gradient for the rows of `a` and `b` [B, d]; None where all count 1."""


class Uniform(PairWeight):
    """No weights."""

    def forward(self, a: Tensor, b: Tensor) -> None:
        return None
