"""A running average of the weights, which predicts more steadily than the last step's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """The exponential moving average of a model's trainable parameters, `decay` of it kept at every update.

    The first updates keep less, (1 + t) / (10 + t), so that the initial weights are soon forgotten. With `decay` 0 the
    average is the weights themselves.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self._weights = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.state: dict[str, Tensor] = {}
        if decay:
            self.state = {name: p.detach().clone() for name, p in self._weights.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the present weights."""
        keep = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, average in self.state.items():
            average.lerp_(self._weights[name], 1 - keep)
        self.updates += 1

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model with the averaged weights in the block, its own again after."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def restore(self, state: dict[str, Tensor], updates: int) -> None:
        """Go on from a saved `state` after that many updates."""
        self.updates = updates
        for name, average in self.state.items():
            average.copy_(state[name])

    @torch.no_grad()
    def _exchange(self) -> None:
        for name, average in self.state.items():
            weights = self._weights[name]
            own = weights.detach().clone()
            weights.copy_(average)
            average.copy_(own)
