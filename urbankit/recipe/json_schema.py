"""The JSON Schema of recipe files, with the installed components and their parameters."""

from __future__ import annotations

from typing import Any

from urbankit import registry
from urbankit.recipe.recipe import Recipe
from urbankit.registry.component import Use
from urbankit.utils.errors import UserError


def recipe_schema() -> dict[str, Any]:
    """Return the JSON Schema of a recipe file.

    No key is required, because a recipe inherits keys from the recipe that it extends; for the same reason a component
    may have no `name`. Components and named entries, such as groups of views, may be null, which removes an inherited
    one.
    """
    schema = Recipe.model_json_schema()
    definitions = schema["$defs"]
    definitions.pop(Use.__name__, None)
    for kind in registry.KINDS:
        definitions[kind] = _kind_schema(kind, definitions)
    extends = {"type": "string", "description": "The recipe to start from: a file, or the name of a shipped one."}
    schema["properties"] = {"extends": extends, **schema["properties"]}
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return _with_references(schema)


def _kind_schema(kind: str, definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of any component of a kind, or null, which removes an inherited component."""
    return {"anyOf": [*(_component_schema(kind, name, definitions) for name in registry.names(kind)), {"type": "null"}]}


def _component_schema(kind: str, name: str, definitions: dict[str, Any]) -> dict[str, Any]:
    name_schema: dict[str, Any] = {"const": name}
    try:
        params = registry.get(kind, name).Params
    except UserError as error:  # the component does not load, so its parameters are unknown
        return {"type": "object", "properties": {"name": name_schema}, "description": str(error)}
    schema = params.model_json_schema(ref_template=f"#/$defs/{kind}.{name}.{{model}}")
    for model, definition in schema.pop("$defs", {}).items():
        if model != Use.__name__:
            definitions[f"{kind}.{name}.{model}"] = definition
    schema["title"] = name
    schema["properties"] = {"name": name_schema, **schema.get("properties", {})}
    return schema


def _with_references(schema: Any, kind: str | None = None) -> Any:
    """Return `schema` without required keys, and with every component replaced by a reference to its kind."""
    if isinstance(schema, list):
        return [_with_references(item, kind) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if names := schema.get("component_names"):
        schema = {key: value for key, value in schema.items() if key != "component_names"}
        schema["items"] = {"type": "string", "enum": registry.names(names)}
    kind = schema.get("component_kind", kind)
    if str(schema.get("$ref", "")).split("/")[-1].split(".")[-1] == Use.__name__ and kind:
        return {**{key: schema[key] for key in ("description",) if key in schema}, "$ref": f"#/$defs/{kind}"}
    result = {
        key: _with_references(value, kind)
        for key, value in schema.items()
        if key != "component_kind" and not (key == "required" and isinstance(value, list))
    }
    if isinstance(entries := result.get("patternProperties"), dict):
        result["patternProperties"] = {key: {"anyOf": [entry, {"type": "null"}]} for key, entry in entries.items()}
    return result
