"""Titles and descriptions that a city file gives to the city, its sources and its targets; files keep their ids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol


class HasSpec(Protocol):
    """What is read of a city."""

    name: str
    manifest: dict[str, Any]

    @property
    def members(self) -> Mapping[str, HasSpec]: ...


class Text(NamedTuple):
    """A title and a description, each empty where the city file has none."""

    title: str = ""
    description: str = ""

    @classmethod
    def of(cls, keys: Mapping[str, Any]) -> Text:
        return cls(keys.get("title") or "", keys.get("description") or "")


def spec_keys(spec: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return the keys of a source, such as `poi` or `images.rsi`, of a city file; empty if it does not have it."""
    kind, _, name = key.partition(".")
    keys: Any = spec.get(kind)
    if name and isinstance(keys, Mapping):
        keys = keys.get(name)
    return keys if isinstance(keys, Mapping) else {}


def text_of(city: HasSpec, key: str) -> Text:
    """Return the texts of a source of a city; of joined cities, those of the first that has a title."""
    texts = [Text.of(spec_keys(member.manifest.get("spec") or {}, key)) for member in city.members.values()]
    return next((text for text in texts if text.title), texts[0])


def class_titles(city: HasSpec, target: str) -> dict[str, str]:
    """Return the titles of the classes of a target, by class; of joined cities, those of the first that has one."""
    titles: dict[str, str] = {}
    for member in city.members.values():
        keys = spec_keys(member.manifest.get("spec") or {}, f"targets.{target}")
        for name, one in (keys.get("classes") or {}).items():
            if title := Text.of(one).title:
                titles.setdefault(name, title)
    return titles


def city_title(city: HasSpec) -> str:
    """Return the title of a city, its name where it has none."""
    titles = [Text.of(member.manifest.get("spec") or {}).title or name for name, member in city.members.items()]
    return titles[0] if len(titles) == 1 else city.name
