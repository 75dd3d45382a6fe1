"""Pair weights by the agreement of image and text; beyond the UrbanMMCL paper, after its section 5.4."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from urbankit.methods.losses import similarity
from urbankit.methods.pair_weights import PairWeight
from urbankit.registry import component


class Agreement(PairWeight):
    """Weights each pair by how much closer its two vectors are to each other than to the vectors of other pairs.

    With s_ij the cosine of aᵢ and bⱼ, the margin of pair i is `mᵢ = s_ii - Σⱼ (s_ij + s_ji) / 2B`, standardised over
    the B pairs of a mini-batch `zᵢ = (mᵢ - mean) / std`. The weight is

        wᵢ = 1 + r (B σ(κ zᵢ) / Σⱼ σ(κ zⱼ) - 1)

    with the logistic function σ, κ the `sharpness`, and r rising from 0 to 1 over the first `warmup` training steps:
    before training, the agreement is random. The mean of the weights is 1, and no gradient flows through them.
    """

    class Params(component.Params):
        sharpness: float = Field(2.0, gt=0, description="κ: how fast a weight falls with the pair's margin.")
        warmup: int = Field(
            100, ge=0, description="Training steps over which weights go from 1 to those of the formula."
        )

    params: Params

    steps: Tensor

    def __init__(self, params: Params) -> None:
        super().__init__(params)
        # Saved with the weights, so that a resumed training continues the warm-up.
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        params = self.params
        share = (self.steps / params.warmup).clamp(max=1.0) if params.warmup else 1.0
        if self.training:
            self.steps += 1
        if len(a) < 2:
            return a.new_ones(len(a))
        s = similarity(a, b, 1.0)
        margin = s.diagonal() - (s.mean(dim=0) + s.mean(dim=1)) / 2
        z = (margin - margin.mean()) / margin.std().clamp(min=1e-6)
        weight = torch.sigmoid(params.sharpness * z)
        return 1 + share * (weight / weight.mean() - 1)
