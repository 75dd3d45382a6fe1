"""The registered components by kind and name. Listing them imports none of them.

>>> from urbankit import registry
>>> registry.get("view", "poi").__name__
'PoiView'
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable
from functools import cache, wraps
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from urbankit.registry.discovery import Plugin, discover, load
from urbankit.registry.entry import BUILTIN, THIS_PROCESS, Entry
from urbankit.registry.kinds import KINDS
from urbankit.registry.known_packages import known_package
from urbankit.utils.errors import UserError, suggest

if TYPE_CHECKING:
    from urbankit.registry.component import Use

T = TypeVar("T")


def get(kind: str, name: str) -> type[Any]:
    """The class registered as `name`; raises `UserError` when it is unknown, ambiguous or does not load."""
    return _registry().get(kind, name)


def create(kind: str, use: Use, *args: Any) -> Any:
    """The component that `use` names, as `Class(params, *args)`; raises `UserError` for wrong parameters."""
    component = get(kind, use.name)
    return component(component.Params.checked(use.params, f"{kind} '{use.name}'"), *args)


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
    """The installed plugins that `URBANKIT_PLUGINS` or `--no-plugins` leaves out, and which were not loaded."""
    return _registry().left_out()


def recipe_folders() -> list[tuple[str, Path]]:
    """The folders of recipes that plugins register, each with the name and version of its distribution."""
    return _registry().recipe_folders()


def faults() -> list[str]:
    """Return the faults of all registered components, each with its plugin. All components are imported."""
    messages = []
    for kind, name in dict.fromkeys((entry.kind, entry.name) for entry in entries()):
        try:
            get(kind, name)
        except UserError as error:
            messages += [str(problem) for problem in error.problems]
    return messages


def blame(error: BaseException) -> Entry | None:
    """The component of a plugin whose code raised `error`; None for errors of urbankit and of libraries."""
    return _registry().blame(error)


def entry_of(component: type[Any]) -> Entry | None:
    """The registered component of a class; None for a class that is not registered."""
    return next((entry for entry in entries() if entry.names(component)), None)


def add_plugin(plugin: object, name: str) -> None:
    """Add a plugin to this process, for example a class in a notebook or test, as if it were installed."""
    _registry().add(load(plugin, name))


def cached(compute: Callable[[], T]) -> Callable[[], T]:
    """Cache the result of a function of the registered components until a plugin is added or `reload` is called."""

    @wraps(compute)
    def result() -> T:
        results = _registry().results
        if compute not in results:
            results[compute] = compute()
        return cast(T, results[compute])

    return result


def reload() -> None:
    """Clear the registry, so that the next call discovers the installed plugins again."""
    _registry.cache_clear()


class Registry:
    """The components of a set of plugins.

    Attributes:
        results: Cached results, by the function that computes them (`cached`).
    """

    def __init__(self, plugins: Iterable[Plugin] = ()) -> None:
        self.results: dict[Callable[[], Any], Any] = {}
        self._plugins: list[Plugin] = []
        self._entries: dict[tuple[str, str], list[Entry]] = {}
        for plugin in sorted(plugins, key=lambda plugin: plugin.distribution != BUILTIN):
            self.add(plugin)

    def add(self, plugin: Plugin) -> None:
        """Add a plugin, in place of one of the same name that this process added before."""
        self.results.clear()
        for earlier in [p for p in self._plugins if (p.name, p.distribution) == (plugin.name, THIS_PROCESS)]:
            self._plugins.remove(earlier)
            for entry in earlier.entries:
                self._entries[entry.kind, entry.name].remove(entry)
        plugin = self._without_builtin_names(plugin)
        self._plugins.append(plugin)
        for entry in plugin.entries:
            self._entries.setdefault((entry.kind, entry.name), []).append(entry)

    def _without_builtin_names(self, plugin: Plugin) -> Plugin:
        """Return the plugin, marked as failed if it uses the name of a built-in component."""
        for entry in plugin.entries:
            rivals = self._entries.get((entry.kind, entry.name), [])
            if entry.distribution != BUILTIN and any(rival.distribution == BUILTIN for rival in rivals):
                failure = f"it registers the {entry.kind} '{entry.name}', which is built in; its author renames it"
                return Plugin(plugin.name, plugin.distribution, plugin.version, failure=failure)
        return plugin

    def blame(self, error: BaseException) -> Entry | None:
        """The component of a plugin in whose module `error` was raised, None if it was in none.

        Of several components in one module it is the one whose method ran.
        """
        by_module: dict[str, list[Entry]] = {}
        for entry in self.entries():
            if entry.distribution != BUILTIN:
                by_module.setdefault(entry.module, []).append(entry)
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        suspects = [(frame, by_module.get(str(frame.f_globals.get("__name__")), [])) for frame in reversed(frames)]
        running = (e for frame, listed in suspects for cls in _classes(frame) for e in listed if e.names(cls))
        return next(running, next((entry for _, listed in suspects for entry in listed), None))

    def get(self, kind: str, name: str) -> type[Any]:
        entries = sorted(self._entries.get((kind, name), []), key=lambda entry: entry.origin)
        if not entries:
            raise UserError(self._unknown(kind, name))
        if len(entries) > 1:
            both = " and ".join(f"{entry.origin} ({entry.target})" for entry in entries)
            raise UserError(
                f"{kind} '{name}' is registered twice: by {both}. Uninstall one of them, or name the plugins to load in"
                " URBANKIT_PLUGINS; its author resolves it by another name."
            )
        return entries[0].load()

    def entries(self, kind: str | None = None) -> list[Entry]:
        if kind is not None and kind not in KINDS:
            raise UserError(f"unknown kind '{kind}'.{suggest(kind, KINDS)}")
        chosen = (entry for same_name in self._entries.values() for entry in same_name if kind in (None, entry.kind))
        return sorted(chosen, key=lambda entry: (list(KINDS).index(entry.kind), entry.name, entry.origin))

    def recipe_folders(self) -> list[tuple[str, Path]]:
        return [(plugin.origin, folder) for plugin in self._plugins for folder in plugin.recipes]

    def failed(self) -> list[Plugin]:
        return [plugin for plugin in self._plugins if plugin.failure is not None]

    def left_out(self) -> list[Plugin]:
        return [plugin for plugin in self._plugins if plugin.left_out]

    def _unknown(self, kind: str, name: str) -> str:
        if kind not in KINDS:
            return f"unknown kind '{kind}'.{suggest(kind, KINDS)}"
        message = f"unknown {kind} '{name}'.{suggest(name, [entry.name for entry in self.entries(kind)])}"
        left_out = self.left_out()
        package = known_package(kind, name)
        if package and package not in {plugin.distribution for plugin in left_out}:
            message += f" It comes with the package {package}, in a checkout: pip install ./plugins/{package}."
        for plugin in self.failed():
            message += f" {plugin.explanation}"
        if left_out:
            listed = ", ".join(f"{plugin.name} ({plugin.origin})" for plugin in left_out)
            message += f" Installed, but left out by URBANKIT_PLUGINS or --no-plugins: {listed}."
        return message


def _classes(frame: FrameType) -> tuple[type[Any], ...]:
    """The class whose method runs in `frame`, and those that it derives from; `NoneType` for a function."""
    owner: Any = frame.f_locals.get("self", frame.f_locals.get("cls"))
    cls: type[Any] = owner if issubclass(type(owner), type) else type(owner)
    return cls.__mro__


@cache
def _registry() -> Registry:
    return Registry(discover())
