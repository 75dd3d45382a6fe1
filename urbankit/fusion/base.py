"""What a fusion is: several vectors of one region, some of them absent, joined into one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from urbankit.registry.component import Component, P


class Fusion(Component[P], nn.Module, ABC):
    """Joins the vectors of a region.

    `dims` are the widths of the vectors, in order; `dim` is the width asked for. `out_dim` is the width delivered,
    which a fusion that cannot choose (`add`, `concat`) derives from `dims`.
    """

    out_dim: int

    def __init__(self, params: P, dims: Sequence[int], dim: int) -> None:
        nn.Module.__init__(self)
        self.params, self.dims, self.dim = params, list(dims), dim

    def blocks(self, inner: Sequence[Sequence[int]]) -> list[int]:
        """Widths of the parts of the result that can be told apart, given those of each of the vectors."""
        return [self.out_dim]

    @abstractmethod
    def forward(self, vectors: Sequence[Tensor], present: Sequence[Tensor]) -> Tensor:
        """Join `vectors` (each [B, dims[i]]) of which only the rows in `present` (each bool [B]) are there.

        Returns [B, out_dim]. What an absent row holds has no influence on the result.
        """
