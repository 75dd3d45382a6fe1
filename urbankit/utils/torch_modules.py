"""Containers of torch modules whose elements have a type, and standardisation of tensors."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, ValuesView
from typing import TYPE_CHECKING, Any, Generic

from torch import Tensor, nn
from typing_extensions import TypeVar

M = TypeVar("M", bound=nn.Module, default=Any)


class NamedModules(nn.ModuleDict, Generic[M]):
    """A `torch.nn.ModuleDict` that also takes names of its own methods as keys, such as `type` or `values`."""

    def __setitem__(self, key: str, module: nn.Module) -> None:
        self._modules[key] = module

    if TYPE_CHECKING:

        def __getitem__(self, key: str) -> M: ...
        def items(self) -> ItemsView[str, M]: ...
        def values(self) -> ValuesView[M]: ...


class ModuleList(nn.ModuleList, Generic[M]):
    """A `torch.nn.ModuleList` of modules of one type."""

    if TYPE_CHECKING:

        def __iter__(self) -> Iterator[M]: ...
        def __getitem__(self, index: int) -> M: ...  # type: ignore[override]  # no slices


def mean_and_std(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and the standard deviation of `x` over its first dimension; the latter is at least 1e-6."""
    return x.mean(dim=0), x.std(dim=0).clamp(min=1e-6)
