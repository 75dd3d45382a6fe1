"""Losses of an epoch: the mean over its batches."""

from __future__ import annotations

from collections import defaultdict

from torch import Tensor

Losses = dict[str, float]


class MeanLosses:
    """The mean of each loss over the batches that have it, weighted by their size."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor | float] = defaultdict(float)
        self._weights: dict[str, int] = defaultdict(int)

    def add(self, losses: dict[str, Tensor], weight: int) -> None:
        """Add the losses of a batch of `weight` regions."""
        for name, value in losses.items():
            self._sums[name] = self._sums[name] + value.detach() * weight
            self._weights[name] += weight

    def values(self) -> Losses:
        """Return the means by name."""
        return {name: float(total) / self._weights[name] for name, total in self._sums.items()}
