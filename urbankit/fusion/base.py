"""The base of fusions, which join several vectors of a region into one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from urbankit.registry.component import Component, P
from urbankit.registry.contract import check_tensor


class Fusion(Component[P], nn.Module, ABC):
    """Joins the vectors of a region, some of which may be absent.

    Args:
        params: the component's validated `Params`.
        dims: widths of the vectors, in order.
        dim: requested width of the result.

    Attributes:
        out_dim: width of the result; a fusion that cannot choose it derives it from `dims`.
    """

    out_dim: int

    def __init__(self, params: P, dims: Sequence[int], dim: int) -> None:
        nn.Module.__init__(self)
        self.params, self.dims, self.dim = params, list(dims), dim
        self.register_forward_hook(Fusion._check)

    def _check(self, arguments: tuple[Any, ...], joined: Any) -> None:
        check_tensor(self, "forward()", joined, None, self.out_dim)

    def blocks(self, inner: Sequence[Sequence[int]]) -> list[int]:
        """Return the widths of the parts of the result that stay separate; by default the result is one part.

        Args:
            inner: for each vector the widths of its own parts.
        """
        return [self.out_dim]

    @abstractmethod
    def forward(self, vectors: Sequence[Tensor], present: Sequence[Tensor]) -> Tensor:
        """Join the vectors of B regions.

        Args:
            vectors: [B, dims[i]] each.
            present: which rows of each vector are present, bool [B] each. Absent rows do not influence the result.

        Returns:
            [B, out_dim].
        """
