"""The registered components by kind and name. Listing them imports none of them.

>>> from urbankit import registry
>>> registry.get("view", "poi").__name__
'PoiView'
"""

from urbankit.registry.entry import THIS_PROCESS, Entry
from urbankit.registry.kinds import KINDS, Kind, full_name
from urbankit.registry.known_packages import known_package
from urbankit.registry.registry import (
    Registry,
    add_plugin,
    blame,
    cached,
    create,
    entries,
    entry_of,
    failed_plugins,
    faults,
    get,
    left_out_plugins,
    names,
    recipe_folders,
    reload,
)

__all__ = [
    "KINDS",
    "THIS_PROCESS",
    "Entry",
    "Kind",
    "Registry",
    "add_plugin",
    "blame",
    "cached",
    "create",
    "entries",
    "entry_of",
    "failed_plugins",
    "faults",
    "full_name",
    "get",
    "known_package",
    "left_out_plugins",
    "names",
    "recipe_folders",
    "reload",
]
