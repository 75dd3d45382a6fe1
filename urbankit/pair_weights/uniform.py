"""Every pair counts alike, as in the UrbanMMCL paper."""

from __future__ import annotations

from torch import Tensor

from urbankit.pair_weights.base import PairWeight


class Uniform(PairWeight):
    """No weights."""

    def forward(self, a: Tensor, b: Tensor) -> None:
        return None
