"""The un-learned inputs of a recipe, one table: what the floors predict from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from urbankit import registry
from urbankit.city.city import City
from urbankit.city.raw_features import RawFeatures, RawSource, geometry
from urbankit.registry.component import Use


class UsesModalitiesAndViews(Protocol):
    """The part of a recipe that says which inputs are used."""

    @property
    def modalities(self) -> Mapping[str, Use]: ...
    @property
    def views(self) -> Mapping[str, Use]: ...


def build_raw_features(city: City, recipe: UsesModalitiesAndViews) -> RawFeatures:
    """Return what the recipe's modalities and views read, without any learning, and each region's place and area.

    Every encoder and view says itself what it reads (`raw_features`); what several of them read is there once.
    """
    sources: dict[str, RawSource] = {}
    for _, component_sources in _sources(city, recipe):
        for source in component_sources or ():
            sources.setdefault(source.name, source)
    ordered = sorted(sources.values(), key=lambda source: source.position)
    return RawFeatures.joined([geometry(city), *(source.read() for source in ordered)])


def unread_inputs(city: City, recipe: UsesModalitiesAndViews) -> list[str]:
    """Return the modalities and views, as `view metro`, whose inputs the floors do not read.

    Their components neither say what they read nor have features before the first learned layer.
    """
    return [name for name, sources in _sources(city, recipe) if sources is None]


def _sources(city: City, recipe: UsesModalitiesAndViews) -> Iterator[tuple[str, list[RawSource] | None]]:
    """What each component reads that the city can serve; None where it does not say."""
    for name, use in recipe.modalities.items():
        encoder = registry.get("modality_encoder", use.name)
        params = encoder.Params(**use.params)
        if encoder.requires(params, city, name) is None:
            yield f"modality {name}", encoder.raw_features(params, city, name)
    for name, use in recipe.views.items():
        view = registry.create("view", use)
        if view.requires(city) is None:
            yield f"view {name}", view.raw_features(city, name)
