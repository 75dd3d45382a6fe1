"""The paper's head: a lightweight multi-layer perceptron (section 3.5.2)."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from urbankit.heads.base import Head
from urbankit.registry import component


class MLP(Head):
    """A multi-layer perceptron with LeakyReLU and dropout."""

    class Params(component.Params):
        hidden: int = Field(64, ge=1, description="Width of the hidden layers.")
        layers: int = Field(1, ge=1, le=8, description="Number of hidden layers.")
        dropout: float = Field(0.1, ge=0, lt=1, description="Dropout before the first and after every hidden layer.")

    params: Params

    def __init__(self, params: Params, in_dim: int, out_dim: int) -> None:
        super().__init__(params, in_dim, out_dim)
        blocks: list[nn.Module] = [nn.Dropout(params.dropout)]
        width = in_dim
        for _ in range(params.layers):
            blocks += [nn.Linear(width, params.hidden), nn.LeakyReLU(), nn.Dropout(params.dropout)]
            width = params.hidden
        self.layers = nn.Sequential(*blocks, nn.Linear(width, out_dim))

    def forward(self, embedding: Tensor) -> Tensor:
        return self.layers(embedding)
