"""The components urbankit knows, by kind and name. Listing them imports none of them.

>>> from urbankit import registry
>>> registry.get("view", "poi").__name__
'PoiView'
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from urbankit.errors import Problem, UserError, closest

if TYPE_CHECKING:
    from urbankit.component import Params, Use
    from urbankit.plugin import Plugin

# No dots or spaces: names are parts of dotted keys (`--set tasks.co.target=...`) and of file names.
NAME = r"^[A-Za-z_][A-Za-z0-9_-]*$"
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
    "pair_weight": "urbankit.pair_weights.base.PairWeight",
    "head": "urbankit.heads.base.Head",
    "method": "urbankit.methods.base.Method",
    "captioner": "urbankit.captioners.base.Captioner",
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


def get(kind: str, name: str) -> type[Any]:
    """The class registered as `name`; raises `UserError` when it is unknown, ambiguous or does not load."""
    return _registry().get(kind, name)


def create(kind: str, use: Use, *args: Any) -> Any:
    """The component that `use` names, as `Class(params, *args)`; raises `UserError` for wrong parameters."""
    from pydantic import ValidationError

    found = get(kind, use.name)
    try:
        params = found.Params(**use.params)
    except ValidationError as error:
        where = f"{kind} '{use.name}'"
        faults = [Problem(fault["msg"], where, key=".".join(map(str, fault["loc"]))) for fault in error.errors()]
        raise UserError(faults) from None
    return found(params, *args)


def entries(kind: str | None = None) -> list[Entry]:
    """Every registered component (of `kind`), sorted by kind and name; two plugins may hold the same name."""
    return _registry().entries(kind)


def names(kind: str) -> list[str]:
    """The names registered for `kind`, sorted."""
    return sorted({entry.name for entry in entries(kind)})


def failed_plugins() -> list[Plugin]:
    """The plugins that could not be loaded, each with its `failure`."""
    return _registry().failed()


def left_out_plugins() -> list[Plugin]:
    """The installed plugins that `URBANKIT_PLUGINS` or `--no-plugins` leaves out, which nothing was loaded of."""
    return _registry().left_out()


def faults() -> list[str]:
    """What is wrong with any registered component, each naming its plugin; imports them all."""
    found = []
    for kind, name in dict.fromkeys((entry.kind, entry.name) for entry in entries()):
        try:
            get(kind, name)
        except UserError as error:
            found += [str(problem) for problem in error.problems]
    return found


def add_plugin(plugin: object, name: str) -> None:
    """Add a plugin of this process, such as a class in a notebook or test, as though it were installed."""
    from urbankit.plugin import load

    _registry().add(load(plugin, name))


def reload() -> None:
    """Forget everything, so that the next question discovers the installed plugins anew."""
    _registry.cache_clear()


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


class Registry:
    """The components of a set of plugins."""

    def __init__(self, plugins: Iterable[Plugin] = ()) -> None:
        self._plugins: list[Plugin] = []
        self._entries: dict[tuple[str, str], list[Entry]] = {}
        for plugin in plugins:
            self.add(plugin)

    def add(self, plugin: Plugin) -> None:
        """Add a plugin, in place of one of the same name that this process added before."""
        for earlier in [p for p in self._plugins if (p.name, p.distribution) == (plugin.name, THIS_PROCESS)]:
            self._plugins.remove(earlier)
            for entry in earlier.entries:
                self._entries[entry.kind, entry.name].remove(entry)
        self._plugins.append(plugin)
        for entry in plugin.entries:
            self._entries.setdefault((entry.kind, entry.name), []).append(entry)

    def get(self, kind: str, name: str) -> type[Any]:
        found = sorted(self._entries.get((kind, name), []), key=lambda entry: entry.origin)
        if not found:
            raise UserError(self._unknown(kind, name))
        if len(found) > 1:
            both = " and ".join(f"{entry.origin} ({entry.target})" for entry in found)
            raise UserError(
                f"{kind} '{name}' is registered twice: by {both}. Uninstall one of them, or name the plugins to load in"
                " URBANKIT_PLUGINS; its author resolves it by another name."
            )
        return found[0].load()

    def entries(self, kind: str | None = None) -> list[Entry]:
        if kind is not None and kind not in KINDS:
            raise UserError(f"unknown kind '{kind}'.{closest(kind, KINDS)}")
        chosen = (entry for found in self._entries.values() for entry in found if kind in (None, entry.kind))
        return sorted(chosen, key=lambda entry: (list(KINDS).index(entry.kind), entry.name, entry.origin))

    def failed(self) -> list[Plugin]:
        return [plugin for plugin in self._plugins if plugin.failure is not None]

    def left_out(self) -> list[Plugin]:
        return [plugin for plugin in self._plugins if plugin.left_out]

    def _unknown(self, kind: str, name: str) -> str:
        if kind not in KINDS:
            return f"unknown kind '{kind}'.{closest(kind, KINDS)}"
        message = f"unknown {kind} '{name}'.{closest(name, [entry.name for entry in self.entries(kind)])}"
        left_out = self.left_out()
        package = KNOWN_PACKAGES.get((kind, name))
        if package and package not in {plugin.distribution for plugin in left_out}:
            message += f" It comes with the package {package}, in a checkout: pip install ./plugins/{package}."
        for plugin in self.failed():
            message += f" Plugin '{plugin.name}' ({plugin.origin}) failed to load: {plugin.failure}."
        if left_out:
            listed = ", ".join(f"{plugin.name} ({plugin.origin})" for plugin in left_out)
            message += f" Installed, but left out by URBANKIT_PLUGINS or --no-plugins: {listed}."
        return message


def _faults(kind: str, found: Any) -> list[str]:
    """What the class lacks of the contract of its kind, each with the remedy."""
    from urbankit import component

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


@cache
def _registry() -> Registry:
    from urbankit.plugin import discover

    return Registry(discover())
