"""The models of this package."""

from __future__ import annotations

from urbankit import hookimpl
from urbankit.registry.hookspecs import Register


@hookimpl
def register_models(register: Register) -> None:
    register("us-tracts", "urbankit_models.us_tracts:UsTracts", "census tracts of 30 US counties: eight targets")
    register(
        "us-tracts-no-flows", "urbankit_models.us_tracts:UsTractsNoFlows", "the same for cities without commuting flows"
    )
