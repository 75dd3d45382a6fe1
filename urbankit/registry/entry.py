"""A registered component, and the checks of its class."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from urbankit.registry.contain import PluginError, contained
from urbankit.registry.kinds import KINDS
from urbankit.utils.errors import UserError

if TYPE_CHECKING:
    from urbankit.registry.component import Params

BUILTIN = "urbankit"
"""The distribution of the built-in components."""

THIS_PROCESS = "this process"
"""The distribution of plugins that `add_plugin` added."""


@dataclass(frozen=True)
class Entry:
    """A registered component: its name, where its class is, and the plugin that registered it."""

    kind: str
    name: str
    target: str
    description: str
    plugin: str
    distribution: str
    version: str

    @property
    def origin(self) -> str:
        """The distribution and version that registered it."""
        return f"{self.distribution} {self.version}".strip()

    @property
    def module(self) -> str:
        """The module of its class."""
        return self.target.partition(":")[0]

    def names(self, component: type[Any]) -> bool:
        """Return whether it registers this class."""
        module, _, attribute = self.target.partition(":")
        # A package may register a class of one of its modules under its own name.
        return component.__qualname__ == attribute and f"{component.__module__}.".startswith(f"{module}.")

    def __str__(self) -> str:
        return f"{self.kind} '{self.name}' of plugin '{self.plugin}' ({self.origin})"

    def load(self) -> type[Any]:
        """Import the class and check it; raises `UserError` naming the plugin where it is not one of its kind."""
        module, _, attribute = self.target.partition(":")
        try:
            with contained(f"'{self.plugin}' ({self.origin})", name_if_slow=self.distribution != BUILTIN):
                component: Any = importlib.import_module(module)
                for name in attribute.split("."):
                    component = getattr(component, name)
        except PluginError as error:
            raise UserError(
                f"{self} does not load from '{self.target}': {error}. The target is to be `module:Class`, a module that"
                " can be imported and a class in it; correct it where the plugin registers it, or install what it"
                " imports."
            ) from error
        if faults := _faults(self.kind, component):
            raise UserError(f"{self}, class '{self.target}', {'; and it '.join(faults)}")
        return component


def _faults(kind: str, component: Any) -> list[str]:
    """Return what the class lacks for its kind, each with the remedy."""
    if not isinstance(component, type):
        return ["is not a class; register `module:Class`"]
    faults = []
    params: Any = getattr(component, "Params", None)
    if not _is_params(params):
        faults.append(
            "lacks a `Params` class derived from urbankit.Params; write `class Params(urbankit.Params)` in it"
        )
    elif not params.__pydantic_complete__:
        faults.append(
            "has parameters whose types are not known at run time; import them outside of `if TYPE_CHECKING:`"
        )
    else:
        faults += _params_faults(params)
    missing = {name for name in KINDS[kind].methods if not callable(getattr(component, name, None))}
    missing |= getattr(component, "__abstractmethods__", frozenset())
    if missing:
        names = ", ".join(sorted(missing))
        faults.append(f"lacks what every {kind} has: {names}; write it as {KINDS[kind].base} describes it")
    return faults


def _is_params(params: Any) -> bool:
    """Return whether it derives from `urbankit.Params`, by name, so that listing does not import pydantic."""
    bases = getattr(params, "__mro__", ())
    return any((base.__module__, base.__name__) == ("urbankit.registry.component", "Params") for base in bases)


def _params_faults(params: type[Params]) -> list[str]:
    """What the parameters lack: a description, or the refusal of unknown names."""
    faults = []
    if bare := [name for name, field in params.model_fields.items() if not (field.description or "").strip()]:
        faults.append(f"does not say what its parameters mean: {', '.join(bare)}; give each a Field(description=...)")
    if params.model_config.get("extra") != "forbid":
        faults.append("takes parameters that it does not know; remove `extra` from the model_config of its Params")
    return faults
