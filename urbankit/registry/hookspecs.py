"""How a plugin adds components to urbankit: one hook for each kind.

A plugin is a module (or object) named by an entry point of the group `urbankit`. Each hook it implements gets
`register(name, target, description)`; the `target`, `"module:Class"`, is imported only when a recipe uses it:

    from urbankit import hookimpl

    @hookimpl
    def register_views(register):
        register("metro", "my_package.metro:MetroView", "travel time by metro")

and in the plugin's pyproject.toml:

    [project.entry-points.urbankit]
    metro = "my_package.plugin"

Every kind in `urbankit/registry/kinds.py` has a hook, `register_KINDs`: `register_modality_encoders`, `register_views`
and so on. The class derives from the base class of its kind and has a `Params` (a `urbankit.Params`) with descriptions.
A plugin that ships recipes names their folder in `register_recipes`; `urbankit run NAME` then finds them by name.
A notebook or test adds a plugin without installing it: `urbankit.registry.add_plugin(plugin, "mine")`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pluggy

from urbankit.registry.kinds import KINDS, Kind

hookspec = pluggy.HookspecMarker("urbankit")
hookimpl = pluggy.HookimplMarker("urbankit")


class Register(Protocol):
    """Name a component: `target` is `"module:Class"`, `description` is what `list-components` shows."""

    def __call__(self, name: str, target: str, description: str = "") -> None:  # noqa: D102
        ...


class RegisterRecipes(Protocol):
    """Name a folder of the plugin's package; every `NAME.yaml` in it, or below it, is a recipe."""

    def __call__(self, folder: str | Path) -> None:  # noqa: D102
        ...


def specifications() -> type:
    """Return a class of every hook that a plugin may implement.

    They are `register_KINDs(register)` for each kind, and `register_recipes(register)`.
    """
    hooks = {kind.hook: staticmethod(_specification(kind)) for kind in KINDS.values()}
    return type("Hooks", (), {**hooks, "register_recipes": staticmethod(register_recipes)})


@hookspec
def register_recipes(register: RegisterRecipes) -> None:
    """Register folders of recipes for `urbankit run NAME`: `register(Path(__file__).parent / "recipes")`."""


def _specification(kind: Kind) -> Callable[[Register], None]:
    def hook(register: Register) -> None: ...

    hook.__name__ = kind.hook
    hook.__doc__ = f"Register components that {kind.does} (`{kind.base}`)."
    return hookspec(hook)
