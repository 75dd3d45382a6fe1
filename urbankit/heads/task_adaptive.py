"""A head that learns weights of the parts of the embedding; beyond the UrbanMMCL paper, after its section 5.4."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from urbankit import registry
from urbankit.heads.base import FittedHead, Head
from urbankit.registry import component
from urbankit.registry.component import Use, uses


class TaskAdaptive(Head):
    """Multiplies every block of the embedding (a modality, a view) by a learned weight before an inner head.

    `w = B softmax(g / T)` for B blocks, g starting at zero: weights are 1 at first and always 1 on average. A task has
    the same weights for all regions.
    """

    class Params(component.Params):
        head: Use = uses("head", "mlp", "The head on the weighted embedding; one that is trained by gradient steps.")
        temperature: float = Field(
            0.1,
            gt=0,
            description="T: weights move 1 / T times as far as g, which trains at the rate of the heads.",
        )

        @field_validator("head")
        @classmethod
        def _trained(cls, head: Use) -> Use:
            if head.name in registry.names("head") and issubclass(registry.get("head", head.name), FittedHead):
                raise ValueError(
                    f"'{head.name}' is fitted to the embedding and passes no gradient to the weights; "
                    "use a head that is trained by gradient steps, such as mlp"
                )
            return head

    params: Params
    block: Tensor

    def __init__(self, params: Params, in_dim: int, out_dim: int) -> None:
        super().__init__(params, in_dim, out_dim)
        self.head = registry.create("head", params.head, in_dim, out_dim)
        self.divide([in_dim])

    def divide(self, blocks: Sequence[int]) -> None:
        self.gate = nn.Parameter(torch.zeros(len(blocks)))
        self.register_buffer("block", torch.repeat_interleave(torch.tensor(blocks)), persistent=False)
        self.head.divide(blocks)

    def forward(self, embedding: Tensor) -> Tensor:
        return self.head(embedding * self.block_weights()[self.block])

    def block_weights(self) -> Tensor:
        return len(self.gate) * (self.gate / self.params.temperature).softmax(dim=0)
