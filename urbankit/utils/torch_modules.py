"""Torch modules by the names that a recipe gives them."""

from __future__ import annotations

from torch import nn


class NamedModules(nn.ModuleDict):
    """A `torch.nn.ModuleDict` that also takes names which its own methods have, such as `type` or `values`."""

    def __setitem__(self, key: str, module: nn.Module) -> None:
        self._modules[key] = module
