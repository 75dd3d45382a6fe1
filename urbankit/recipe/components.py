"""The components that a recipe uses, nested ones included."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from urbankit import registry
from urbankit.config.tree import Location, dotted
from urbankit.recipe.schema import RecipeSchema
from urbankit.registry.component import Use


class Used(NamedTuple):
    """A component in a recipe.

    Attributes:
        key: Its dotted key in the recipe: `method.fusion`.
        kind: Its kind: `fusion`.
        use: Its name and parameters.
    """

    key: str
    kind: str
    use: Use


def components(model: BaseModel, location: Location = ()) -> Iterator[Used]:
    """Yield every component that `model`, a recipe or the parameters of a component, uses."""
    for name, field in type(model).model_fields.items():
        yield from _components_in(getattr(model, name), component_kind(field), (*location, name))


def trackers(recipe: RecipeSchema) -> list[Use]:
    """Return the trackers that a recipe names."""
    return [recipe.tracking] if isinstance(recipe.tracking, Use) else list(recipe.tracking or [])


def component_kind(field: FieldInfo) -> str | None:
    """Return the kind of component that a field names, or None."""
    extra = field.json_schema_extra
    kind = extra.get("component_kind") if isinstance(extra, dict) else None
    return None if kind is None else str(kind)


def may_be_path(field: FieldInfo) -> bool:
    """Whether a text field contains a local path or the name of something elsewhere, such as a model on a hub."""
    extra = field.json_schema_extra
    return isinstance(extra, dict) and extra.get("local_path") is True


def _components_in(value: Any, kind: str | None, location: Location) -> Iterator[Used]:
    if isinstance(value, Use) and kind is not None:
        yield Used(dotted(location), kind, value)
        yield from components(registry.get(kind, value.name).Params(**value.params), location)
    elif isinstance(value, BaseModel):
        yield from components(value, location)
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _components_in(item, kind, (*location, name))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _components_in(item, kind, (*location, index))
