"""Finds the installed plugins and asks what they register; one that raises is kept as failed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from importlib import metadata

import pluggy

from urbankit import hookspecs
from urbankit.registry import KINDS, Entry

GROUP = "urbankit"
BUILTINS = "urbankit.builtins"


@dataclass(frozen=True)
class Plugin:
    """A plugin and what it registered, or why it could not be loaded (`failure`)."""

    name: str
    distribution: str
    version: str
    entries: tuple[Entry, ...] = ()
    failure: str | None = None

    @property
    def origin(self) -> str:
        return f"{self.distribution} {self.version}".strip()


def discover() -> list[Plugin]:
    """Every plugin named by an entry point of the group `urbankit`, the built-in one among them."""
    points = list(metadata.entry_points(group=GROUP))
    if not any(point.value == BUILTINS for point in points):  # a checkout that is only on the path
        points.insert(0, metadata.EntryPoint("builtin", BUILTINS, GROUP))
    return [_discovered(point) for point in points]


def load(plugin: object, name: str, distribution: str = "this process", version: str = "") -> Plugin:
    """Ask one plugin for its components. Nothing of a plugin that raises is kept."""
    found: list[Entry] = []
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    try:
        manager.register(plugin, name)
        manager.check_pending()
        for kind in KINDS:
            hook = getattr(manager.hook, f"register_{kind}s")
            hook(register=partial(_register, found, kind, name, distribution, version))
    except (Exception, SystemExit) as error:
        return Plugin(name, distribution, version, failure=_reason(error))
    return Plugin(name, distribution, version, tuple(found))


def _discovered(point: metadata.EntryPoint) -> Plugin:
    distribution, version = _origin(point)
    try:
        plugin = point.load()
    except (Exception, SystemExit) as error:
        return Plugin(point.name, distribution, version, failure=_reason(error))
    return load(plugin, point.name, distribution, version)


def _origin(point: metadata.EntryPoint) -> tuple[str, str]:
    if point.dist is not None:
        return point.dist.metadata["Name"], point.dist.version
    from urbankit import __version__

    return "urbankit", __version__


def _register(
    found: list[Entry],
    kind: str,
    plugin: str,
    distribution: str,
    version: str,
    name: str,
    target: str,
    description: str = "",
) -> None:
    module, colon, attribute = target.partition(":")
    if not (module and colon and attribute):
        raise ValueError(f"{kind} '{name}': the target '{target}' is not of the form 'module:Class'")
    found.append(Entry(kind, name, target, description, plugin, distribution, version))


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
