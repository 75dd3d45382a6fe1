"""Element-wise addition, the best fusion of the paper (sections 4.2.3 and 5.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor

from urbankit.fusion.base import Fusion
from urbankit.registry import component
from urbankit.utils.errors import UserError


class Add(Fusion):
    """The sum of the present vectors. Raises `UserError` for vectors of different widths."""

    class Params(component.Params):
        rescale: bool = Field(
            True,
            description="Multiply the sum of k present vectors of K by K / k, so that a region lacking a modality "
            "keeps the scale of the others.",
        )

    params: Params

    def __init__(self, params: Params, dims: Sequence[int], dim: int) -> None:
        super().__init__(params, dims, dim)
        if len(set(dims)) > 1:
            raise UserError(f"fusion add: the vectors have several widths, {list(dims)}; use fusion mlp or concat")
        self.out_dim = self.dims[0]

    def forward(self, vectors: Sequence[Tensor], present: Sequence[Tensor]) -> Tensor:
        mask = torch.stack(list(present), dim=1).unsqueeze(2)
        total = torch.stack(list(vectors), dim=1).masked_fill(~mask, 0).sum(dim=1)
        if self.params.rescale:
            total = total * (len(vectors) / mask.sum(dim=1).clamp(min=1))
        return total
