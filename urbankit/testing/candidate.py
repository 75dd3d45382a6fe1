"""The component to check, and the error for a component that does not conform."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from urbankit import registry
from urbankit.registry.component import Params, Use


class ConformanceError(AssertionError):
    """A component does not fulfil the contract of its kind; the message lists every fault."""


@dataclass(frozen=True)
class Candidate:
    """The component `name` of `kind` with its `params`, and further arguments of the checks of the kind."""

    kind: str
    name: str
    params: dict[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def entries(self) -> list[registry.Entry]:
        return [entry for entry in registry.entries(self.kind) if entry.name == self.name]

    @cached_property
    def component(self) -> type[Any]:
        return registry.get(self.kind, self.name)

    @cached_property
    def validated(self) -> Params:
        return self.component.Params(**self.params)

    def create(self, *args: Any, seed: int = 0) -> Any:
        """Return a new component with random weights of `seed`."""
        torch.manual_seed(seed)
        return registry.create(self.kind, Use(name=self.name, **self.params), *args)

    def __str__(self) -> str:
        origins = ", ".join(f"{entry.origin}, {entry.target}" for entry in self.entries)
        return f"{self.kind} '{self.name}'" + (f" ({origins})" if origins else "")


Check = Callable[[Candidate], Iterable[str]]
"""A check of one requirement: yields a message for each violation. Its docstring states the requirement."""
