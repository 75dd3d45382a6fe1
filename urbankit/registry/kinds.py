"""The kinds of component."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from urbankit.utils.errors import UserError

if TYPE_CHECKING:
    from urbankit.registry.component import Params

# The distribution of plugins that were added by `add_plugin`.
THIS_PROCESS = "this process"


# What a class of each kind must have beside its `Params`.
KINDS: dict[str, tuple[str, ...]] = {
    "modality_encoder": ("observations", "load", "forward", "project"),
    "view": ("build",),
    "graph_encoder": ("forward",),
    "subgraph": ("sample",),
    "fusion": ("forward",),
    "pair_weight": ("forward",),
    "captioner": ("caption",),
    "head": ("forward",),
    "method": ("loss", "forward", "parts"),
}


# What a class of each kind derives from.
BASES: dict[str, str] = {
    "modality_encoder": "urbankit.modalities.base.ModalityEncoder",
    "view": "urbankit.views.base.View",
    "graph_encoder": "urbankit.graph.base.GraphEncoder",
    "subgraph": "urbankit.graph.subgraph.SubgraphSampler",
    "fusion": "urbankit.fusion.base.Fusion",
    "pair_weight": "urbankit.methods.pair_weights.PairWeight",
    "head": "urbankit.heads.base.Head",
    "method": "urbankit.methods.base.Method",
    "captioner": "urbankit.captioning.captioners.base.Captioner",
}


# Components of plugins that exist but may not be installed, by package and kind.
PACKAGES: dict[str, dict[str, tuple[str, ...]]] = {
    "urbankit-baselines": {
        "method": ("vit", "pg-simclr", "urbanvlp", "mvure", "hrep", "remvc"),
        "view": ("flows", "flow_similarity", "neighbours"),
        "head": ("hrep_prompt",),
    },
    "urbankit-contiguity": {"view": ("contiguity", "nearest")},
    "urbankit-raster": {"modality_encoder": ("raster",)},
}


KNOWN_PACKAGES: dict[tuple[str, str], str] = {
    (kind, name): package for package, kinds in PACKAGES.items() for kind, names in kinds.items() for name in names
}


@dataclass(frozen=True)
class Entry:
    """A registered component: what it is called and where its class is."""

    kind: str
    name: str
    target: str
    description: str
    plugin: str
    distribution: str
    version: str

    @property
    def origin(self) -> str:
        """The distribution and version that brought it."""
        return f"{self.distribution} {self.version}".strip()

    def load(self) -> type[Any]:
        """Import the class and check that it is one of its kind; raises `UserError` naming the plugin."""
        module, _, attribute = self.target.partition(":")
        try:
            found: Any = importlib.import_module(module)
            for part in attribute.split("."):
                found = getattr(found, part)
        except (Exception, SystemExit) as error:
            raise UserError(
                f"{self.kind} '{self.name}' of plugin '{self.plugin}' ({self.origin}) does not load from"
                f" '{self.target}': {type(error).__name__}: {error}. The target is to be `module:Class`, a module that"
                " can be imported and a class in it; correct it where the plugin registers it, or install what it"
                " imports."
            ) from error
        faults = _faults(self.kind, found)
        if faults:
            raise UserError(
                f"{self.kind} '{self.name}' of plugin '{self.plugin}' ({self.origin}), class '{self.target}',"
                f" {'; and it '.join(faults)}"
            )
        return found


def _faults(kind: str, found: Any) -> list[str]:
    """What the class lacks of the contract of its kind, each with the remedy."""
    from urbankit.registry import component

    if not isinstance(found, type):
        return ["is not a class; register `module:Class`"]
    faults = []
    params = getattr(found, "Params", None)
    if not (isinstance(params, type) and issubclass(params, component.Params)):
        faults.append(
            "lacks a `Params` class derived from urbankit.Params; write `class Params(urbankit.Params)` in it"
        )
    elif not params.__pydantic_complete__:
        faults.append(
            "has parameters whose types are not known at run time; import them outside of `if TYPE_CHECKING:`"
        )
    else:
        faults += _undocumented(params)
    missing = {name for name in KINDS[kind] if not callable(getattr(found, name, None))}
    missing |= getattr(found, "__abstractmethods__", frozenset())
    if missing:
        base = f"; write it as {BASES[kind]} describes it" if kind in BASES else ""
        faults.append(f"lacks what every {kind} has: {', '.join(sorted(missing))}{base}")
    return faults


def _undocumented(params: type[Params]) -> list[str]:
    """What the parameters lack of a documentation that a recipe can be checked by."""
    faults = []
    if bare := [name for name, field in params.model_fields.items() if not (field.description or "").strip()]:
        faults.append(f"does not say what its parameters mean: {', '.join(bare)}; give each a Field(description=...)")
    if params.model_config.get("extra") != "forbid":
        faults.append("takes parameters that it does not know; remove `extra` from the model_config of its Params")
    return faults
