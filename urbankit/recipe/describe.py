"""Describes the parameters of a component from the fields of its `Params`."""

from __future__ import annotations

import json
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from urbankit.recipe.components import component_kind
from urbankit.registry.component import Use

SIGNS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}


def describe(params: type[BaseModel]) -> list[dict[str, Any]]:
    """Return one JSON-ready record per parameter: name, type, default, bounds, description, source, component_kind.

    For a parameter that names another component, `component_kind` and the type state the kind of that component.
    """
    return [
        {
            "name": name,
            "type": _type(field.annotation, component_kind(field)),
            "default": _default(field),
            "bounds": _bounds(field),
            "description": field.description or "",
            "source": _extra(field).get("source", ""),
            "component_kind": component_kind(field),
        }
        for name, field in params.model_fields.items()
    ]


def _type(annotation: Any, kind: str | None) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if annotation is Use:
        return f"a {kind}" if kind else "a component"
    if annotation in (None, NoneType):
        return "null"
    if origin is Annotated:
        return _type(inner[0], kind)
    if origin in (Union, UnionType):
        return " or ".join(_type(option, kind) for option in inner)
    if origin is Literal:
        return " | ".join(str(option) for option in inner)
    if origin is not None:
        arguments = ", ".join("..." if item is Ellipsis else _type(item, kind) for item in inner)
        return f"{origin.__name__}[{arguments}]"
    return getattr(annotation, "__name__", str(annotation))


def _default(field: FieldInfo) -> str:
    """Return the default as a recipe would state it, or `required`."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, Use) and not value.params:
        return value.name
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _bounds(field: FieldInfo) -> str:
    bounds = [
        f"{sign} {getattr(rule, name)}"
        for rule in field.metadata
        for name, sign in SIGNS.items()
        if getattr(rule, name, None) is not None
    ]
    for rule in field.metadata:
        bounds += [f"at least {rule.min_length} long"] if getattr(rule, "min_length", None) else []
        bounds += [f"multiple of {rule.multiple_of}"] if getattr(rule, "multiple_of", None) else []
    return ", ".join(bounds)


def _extra(field: FieldInfo) -> dict[str, Any]:
    return field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
