"""The components a recipe uses, wherever they stand in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from urbankit import registry
from urbankit.registry.component import Use


class Used(NamedTuple):
    """A component in a recipe: its dotted `key`, `kind` and `use`."""

    key: str
    kind: str
    use: Use


def components(model: BaseModel, key: str = "") -> Iterator[Used]:
    """Every component that `model` (a recipe, or a component's params) uses, nested ones included."""
    for name, field in type(model).model_fields.items():
        yield from _inside(getattr(model, name), component_kind(field), f"{key}.{name}".lstrip("."))


def component_kind(field: FieldInfo) -> str | None:
    """The kind of component a field names, or None."""
    extra = field.json_schema_extra
    kind = extra.get("component_kind") if isinstance(extra, dict) else None
    return None if kind is None else str(kind)


def may_be_path(field: FieldInfo) -> bool:
    """Whether a text field holds a local path or the name of something elsewhere, such as a model on a hub."""
    extra = field.json_schema_extra
    return isinstance(extra, dict) and extra.get("local_path") is True


def _inside(value: Any, kind: str | None, key: str) -> Iterator[Used]:
    if isinstance(value, Use) and kind is not None:
        yield Used(key, kind, value)
        yield from components(registry.get(kind, value.name).Params(**value.params), key)
    elif isinstance(value, BaseModel):
        yield from components(value, key)
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _inside(item, kind, f"{key}.{name}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _inside(item, kind, f"{key}.{index}")
