"""The components of this package."""

from __future__ import annotations

from urbankit import hookimpl
from urbankit.registry.hookspecs import Register


@hookimpl
def register_views(register: Register) -> None:
    register("contiguity", "urbankit_contiguity.contiguity:Contiguity", "regions that share a border")
    register("nearest", "urbankit_contiguity.nearest:Nearest", "the k nearest regions of each region")
