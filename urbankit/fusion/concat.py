"""Concatenation (eq. 16 of the UrbanMMCL paper, read literally)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from urbankit.fusion.base import Fusion
from urbankit.registry.component import Params


class Concat(Fusion):
    """The vectors side by side; an absent one is zeros."""

    def __init__(self, params: Params, dims: Sequence[int], dim: int) -> None:
        super().__init__(params, dims, dim)
        self.out_dim = sum(self.dims)

    def blocks(self, inner: Sequence[Sequence[int]]) -> list[int]:
        return [width for widths in inner for width in widths]

    def forward(self, vectors: Sequence[Tensor], present: Sequence[Tensor]) -> Tensor:
        return torch.cat([v.masked_fill(~p.unsqueeze(1), 0) for v, p in zip(vectors, present, strict=True)], dim=1)
