"""The input features of a recipe as one table, from which the floors predict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
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
    """Return the features that the recipe's modalities and views read, and each region's location and area.

    Every encoder and view states what it reads (`raw_features`). A source that several of them read is included once.
    """
    city = city.unlabelled()
    sources: dict[str, RawSource] = {}
    for _, component_sources in _sources(city, recipe):
        for source in component_sources or ():
            sources.setdefault(source.name, source)
    ordered = sorted(sources.values(), key=lambda source: source.position)
    return RawFeatures.joined([geometry(city), *(_named(source) for source in ordered)])


def unread_inputs(city: City, recipe: UsesModalitiesAndViews) -> list[str]:
    """Return the modalities and views, such as `view metro`, whose data the floors do not read.

    Their components do not state what they read, and have no features before the first learned layer.
    """
    return [name for name, sources in _sources(city, recipe) if sources is None]


def _named(source: RawSource) -> RawFeatures:
    """The numbers of a source, with its name where they are not divided further."""
    numbers = source.read()
    return numbers if numbers.sources else replace(numbers, sources=(source.name,) * len(numbers.names))


def _sources(city: City, recipe: UsesModalitiesAndViews) -> Iterator[tuple[str, list[RawSource] | None]]:
    """Yield each component that the city has data for, and its sources; None if it does not state them."""
    for name, use in recipe.modalities.items():
        encoder = registry.get("modality_encoder", use.name)
        params = encoder.Params(**use.params)
        if encoder.requires(params, city, name) is None:
            yield f"modality {name}", encoder.raw_features(params, city, name)
    for name, use in recipe.views.items():
        view = registry.create("view", use)
        if view.requires(city) is None:
            yield f"view {name}", view.raw_features(city, name)
