"""The activations that graph encoders offer."""

from __future__ import annotations

from typing import Literal

from torch import nn

Activation = Literal["leaky_relu", "relu", "elu", "gelu", "none"]

_MODULES: dict[Activation, type[nn.Module]] = {
    "leaky_relu": nn.LeakyReLU,
    "relu": nn.ReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "none": nn.Identity,
}


def activation(name: Activation) -> nn.Module:
    """The module of an activation."""
    return _MODULES[name]()
