"""A running average of the weights, which predicts more steadily than the weights of the last step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """The exponential moving average of a model's trainable parameters, and of what batch normalisation has measured.

    An update is average ← decay · average + (1 - decay) · weights. Update t uses a decay of at most (1 + t) / (10 + t),
    so that the initial weights are soon forgotten. With `decay` 0 the average equals the weights. The running means and
    variances of batch normalisation are averaged too: those of the last weights do not belong to averaged ones.

    `torch.optim.swa_utils.AveragedModel` is not used: it copies the whole model, also frozen encoders and graphs, and
    its first update takes the weights as they are instead of averaging them with the initial ones.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self._weights: dict[str, Tensor] = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._weights |= _running_statistics(model)
        self.state: dict[str, Tensor] = {}
        if decay:
            self.state = {name: p.detach().clone() for name, p in self._weights.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Update the average with the present weights."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, average in self.state.items():
            average.lerp_(self._weights[name], 1 - decay)
        self.updates += 1

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Give the model the averaged weights within the block and its own weights after it."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def restore(self, state: dict[str, Tensor], updates: int) -> None:
        """Load a saved `state` that was reached after `updates` updates."""
        self.updates = updates
        for name, average in self.state.items():
            average.copy_(state[name])

    @torch.no_grad()
    def _exchange(self) -> None:
        for name, average in self.state.items():
            weights = self._weights[name]
            current = weights.detach().clone()
            weights.copy_(average)
            average.copy_(current)


def _running_statistics(model: nn.Module) -> dict[str, Tensor]:
    """The running means and variances of the batch normalisation whose weights are trained, by their names."""
    statistics: dict[str, Tensor] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and any(p.requires_grad for p in module.parameters()):
            own = {"running_mean": module.running_mean, "running_var": module.running_var}
            statistics |= {f"{name}.{key}": value for key, value in own.items() if value is not None}
    return statistics
