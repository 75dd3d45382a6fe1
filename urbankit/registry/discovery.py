"""Finds the installed plugins and their components. A plugin that raises an error is listed as failed.

`URBANKIT_PLUGINS` selects plugins by the names of entry points or distributions, separated by commas. Only these and
the built-in components are loaded; with an empty value, only the built-in ones. Child processes inherit the variable.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path

import pluggy

from urbankit.registry.contain import PluginError, contained, safe_text
from urbankit.registry.entry import THIS_PROCESS, Entry
from urbankit.registry.hookspecs import specifications
from urbankit.registry.kinds import KINDS, NAME
from urbankit.utils.errors import Problem, UserError, suggest
from urbankit.utils.version import __version__

GROUP = "urbankit"
BUILTINS = "urbankit.registry.builtins"
CHOICE = "URBANKIT_PLUGINS"


@dataclass(frozen=True)
class Plugin:
    """A plugin with the components and folders of recipes that it registered.

    `failure` is the reason why it could not be loaded. `left_out` means that the user excluded it.
    """

    name: str
    distribution: str
    version: str
    entries: tuple[Entry, ...] = ()
    recipes: tuple[Path, ...] = ()
    failure: str | None = None
    left_out: bool = False

    @property
    def origin(self) -> str:
        return f"{self.distribution} {self.version}".strip()

    @property
    def explanation(self) -> str:
        """A sentence on why it could not be loaded."""
        return f"Plugin '{self.name}' ({self.origin}) failed to load: {self.failure}."


def discover() -> list[Plugin]:
    """Return every plugin with an entry point of the group `urbankit`, including the built-in one.

    Plugins that the user excludes are not loaded. Raises `UserError` if the user names a plugin that is not installed.
    """
    points = list(metadata.entry_points(group=GROUP))
    if not any(point.value == BUILTINS for point in points):  # a checkout that is only on the path
        points.insert(0, metadata.EntryPoint("builtin", BUILTINS, GROUP))
    names = choice()
    if names is None:
        return [_discovered(point) for point in points]
    _check_choice(names, points)
    chosen = {_normal(name) for name in names}
    return [
        _discovered(point)
        if point.value == BUILTINS or chosen & _names_of(point)
        else Plugin(point.name, *_origin(point), left_out=True)
        for point in points
    ]


def choice() -> list[str] | None:
    """Return the names in `URBANKIT_PLUGINS`; None if it is not set, so that every plugin is loaded."""
    text = os.environ.get(CHOICE)
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def load_none() -> None:
    """Load only the built-in components, in this process and its child processes."""
    os.environ[CHOICE] = ""


def load(plugin: object, name: str, distribution: str = THIS_PROCESS, version: str = "") -> Plugin:
    """Load the components of one plugin; none if it raises an error."""
    entries: list[Entry] = []
    folders: list[Path] = []
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(specifications())
    try:
        with contained(f"'{name}' ({distribution} {version})"):
            manager.register(plugin, name)
            manager.check_pending()
            for kind in KINDS.values():
                hook = getattr(manager.hook, kind.hook)
                hook(register=partial(_register, entries, kind.name, name, distribution, version))
            manager.hook.register_recipes(register=partial(_register_recipes, folders))
    except PluginError as error:
        return Plugin(name, distribution, version, failure=str(error))
    if not (entries or folders):
        failure = "it registers nothing; its functions `register_KINDs` are to be marked with @urbankit.hookimpl"
        return Plugin(name, distribution, version, failure=failure)
    return Plugin(name, distribution, version, tuple(entries), tuple(folders))


def _discovered(point: metadata.EntryPoint) -> Plugin:
    distribution, version = _origin(point)
    try:
        with contained(f"'{point.name}' ({distribution} {version})"):
            plugin = point.load()
    except PluginError as error:
        return Plugin(point.name, distribution, version, failure=str(error))
    return load(plugin, point.name, distribution, version)


def _check_choice(requested: Iterable[str], points: Iterable[metadata.EntryPoint]) -> None:
    installed = {name: point for point in points if point.value != BUILTINS for name in (point.name, _origin(point)[0])}
    installed_names = {_normal(name) for name in installed} | {"builtin", "urbankit"}
    unknown = [name for name in requested if _normal(name) not in installed_names]
    if unknown:
        listed = ", ".join(sorted({f"{point.name} ({' '.join(_origin(point))})" for point in installed.values()}))
        raise UserError(
            [
                Problem(f"there is no plugin '{name}'.{_near(name, installed)} Installed: {listed or 'none'}.", CHOICE)
                for name in unknown
            ]
        )


def _near(name: str, installed: Iterable[str]) -> str:
    near = suggest(name, installed)
    return near if near.startswith(" Did you mean") else ""


def _names_of(point: metadata.EntryPoint) -> set[str]:
    """Return the names of a plugin that the user can give: its entry point and its distribution."""
    return {_normal(point.name), _normal(_origin(point)[0])}


def _normal(name: str) -> str:
    """A distribution's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _origin(point: metadata.EntryPoint) -> tuple[str, str]:
    if point.dist is not None:
        return point.dist.metadata["Name"], point.dist.version
    return "urbankit", __version__


def _register_recipes(folders: list[Path], folder: str | Path) -> None:
    if not Path(folder).is_dir():
        raise ValueError(f"there is no folder of recipes '{folder}'")
    folders.append(Path(folder))


def _register(
    entries: list[Entry],
    kind: str,
    plugin: str,
    distribution: str,
    version: str,
    name: str,
    target: str,
    description: str = "",
) -> None:
    for what, value in (("name", name), ("target", target), ("description", description)):
        if not isinstance(value, str):
            message = f"the {what} is of type {type(value).__name__} and not a text; a class is named 'module:Class'"
            raise TypeError(f"{kind} '{safe_text(name)}': {message}")
    if not re.fullmatch(NAME, name):
        raise ValueError(f"{kind} '{name}': names have letters, digits, hyphens and underscores, a letter first")
    module, colon, attribute = target.partition(":")
    if not (module and colon and attribute):
        raise ValueError(f"{kind} '{name}': the target '{target}' is not of the form 'module:Class'")
    entries.append(Entry(kind, name, target, description, plugin, distribution, version))
