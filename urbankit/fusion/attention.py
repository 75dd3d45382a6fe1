"""Fusion by attention with a learned query; beyond the UrbanMMCL paper."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

from urbankit.fusion.base import Fusion
from urbankit.registry import component
from urbankit.utils.errors import UserError


class Attention(Fusion):
    """The mean of the present vectors, weighted by their agreement with a learned query.

    `out = Σₖ aₖ xₖ` with `aₖ = softmaxₖ( qᵀ tanh(W xₖ + bₖ) )` over the present vectors; W is shared and bₖ
    belongs to the vector. The result is 0 if none is present. Raises `UserError` for vectors of different widths.

    Source: semantic-level attention of HAN (Wang et al. 2019, equations 7 to 9), with weights for each region rather
    than for all together, and a bias for each vector rather than one.
    """

    class Params(component.Params):
        hidden: int = Field(32, ge=1, description="Width of the query.")

    params: Params

    def __init__(self, params: Params, dims: Sequence[int], dim: int) -> None:
        super().__init__(params, dims, dim)
        if len(set(dims)) > 1:
            raise UserError(
                f"fusion attention: the vectors have several widths, {list(dims)}; use fusion mlp or concat"
            )
        self.out_dim = self.dims[0]
        self.key = nn.Linear(self.out_dim, params.hidden, bias=False)
        self.bias = nn.Parameter(torch.zeros(len(dims), params.hidden))
        self.query = nn.Parameter(torch.randn(params.hidden) / math.sqrt(params.hidden))

    def forward(self, vectors: Sequence[Tensor], present: Sequence[Tensor]) -> Tensor:
        x, mask = _stacked(vectors, present)
        return (self._weights(x, mask).unsqueeze(2) * x).sum(dim=1)

    def weights(self, vectors: Sequence[Tensor], present: Sequence[Tensor]) -> Tensor:
        """Return the aₖ [B, K] of each region: 0 for an absent vector, with the sum 1 if any is present."""
        return self._weights(*_stacked(vectors, present))

    def _weights(self, x: Tensor, mask: Tensor) -> Tensor:
        scores = torch.tanh(self.key(x) + self.bias) @ self.query
        # Not -inf, by which a row without any present vector would have NaN values and gradients.
        return scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(dim=1) * mask


def _stacked(vectors: Sequence[Tensor], present: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Vectors [B, K, d], zero where absent, and the mask [B, K]."""
    mask = torch.stack(list(present), dim=1)
    return torch.stack(list(vectors), dim=1).masked_fill(~mask.unsqueeze(2), 0.0), mask
