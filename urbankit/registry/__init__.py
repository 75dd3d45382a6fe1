"""The components urbankit knows, by kind and name. Listing them imports none of them.

>>> from urbankit import registry
>>> registry.get("view", "poi").__name__
'PoiView'
"""

from urbankit.registry.kinds import BASES, KINDS, KNOWN_PACKAGES
from urbankit.registry.registry import (
    Registry,
    add_plugin,
    create,
    entries,
    failed_plugins,
    faults,
    get,
    left_out_plugins,
    names,
    reload,
)

__all__ = [
    "BASES",
    "KINDS",
    "KNOWN_PACKAGES",
    "Registry",
    "add_plugin",
    "create",
    "entries",
    "failed_plugins",
    "faults",
    "get",
    "left_out_plugins",
    "names",
    "reload",
]
