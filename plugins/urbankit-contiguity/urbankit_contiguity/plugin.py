"""What the package registers."""

from __future__ import annotations

from urbankit import hookimpl
from urbankit.registry.hookspecs import Register


@hookimpl
def register_views(register: Register) -> None:
    register("contiguity", "urbankit_contiguity.contiguity:Contiguity", "regions that share a border")
    register("nearest", "urbankit_contiguity.nearest:Nearest", "the nearest regions of each")
