"""One linear layer: the head of linear probing."""

from __future__ import annotations

from torch import Tensor, nn

from urbankit.heads.base import Head
from urbankit.registry.component import Params


class Linear(Head):
    """An affine map of the embedding."""

    def __init__(self, params: Params, in_dim: int, out_dim: int) -> None:
        super().__init__(params, in_dim, out_dim)
        self.layer = nn.Linear(in_dim, out_dim)

    def forward(self, embedding: Tensor) -> Tensor:
        return self.layer(embedding)
