"""Fusion by a multi-layer perceptron (section 5.2 of the UrbanMMCL paper)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

from urbankit.fusion.base import Fusion
from urbankit.registry import component


class MLP(Fusion):
    """A two-layer perceptron on the concatenated vectors and, for each vector, a flag whether it is present."""

    class Params(component.Params):
        hidden: int = Field(128, ge=1, description="Width of the hidden layer.")
        dropout: float = Field(0.0, ge=0, lt=1, description="Dropout after the hidden layer.")

    params: Params

    def __init__(self, params: Params, dims: Sequence[int], dim: int) -> None:
        super().__init__(params, dims, dim)
        self.out_dim = dim
        self.layers = nn.Sequential(
            nn.Linear(sum(self.dims) + len(self.dims), params.hidden),
            nn.LeakyReLU(),
            nn.Dropout(params.dropout),
            nn.Linear(params.hidden, dim),
        )

    def forward(self, vectors: Sequence[Tensor], present: Sequence[Tensor]) -> Tensor:
        parts = [v.masked_fill(~p.unsqueeze(1), 0) for v, p in zip(vectors, present, strict=True)]
        flags = torch.stack(list(present), dim=1).to(parts[0].dtype)
        return self.layers(torch.cat([*parts, flags], dim=1))
