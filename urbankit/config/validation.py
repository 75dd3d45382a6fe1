"""Says what pydantic found wrong in words about the recipe, with file, line, key and closest name."""

from __future__ import annotations

from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from urbankit.config.tree import Node
from urbankit.registry.component import Use
from urbankit.utils.errors import Problem, suggest


def explain(error: ValidationError, model: type[BaseModel], node: Node, path: tuple = ()) -> Iterator[Problem]:
    """The problems of validating `node`, which stands at `path` of the recipe, as `model`."""
    for fault in error.errors():
        loc = tuple(part for part in fault["loc"] if part != "[key]")
        place, reached = node.deepest(loc)
        if fault["type"] == "missing":
            reached = (*reached, loc[-1])
        key = ".".join(map(str, (*path, *reached)))
        yield place.problem(_message(fault, model, loc, place), key or None)


def _message(fault: Any, model: type[BaseModel], loc: tuple, place: Node) -> str:
    kind, given = fault["type"], fault["input"]
    owner = _model_at(model, loc[:-1]) if loc else model
    if kind == "extra_forbidden":
        known = list(owner.model_fields) if owner else []
        return "unknown key." + (suggest(str(loc[-1]), known) or " It takes no parameters.")
    if kind == "missing":
        described = owner.model_fields[loc[-1]].description if owner and loc[-1] in owner.model_fields else None
        return "is missing." + (f" {described}" if described else "")
    if kind == "value_error":
        return str(fault["ctx"]["error"])
    if kind in ("model_type", "dict_type", "model_attributes_type"):
        return _not_a_mapping(given, _model_at(model, loc))
    if kind == "string_pattern_mismatch" and fault["loc"][-1] == "[key]":
        return "a name is made of letters, digits, _ and -, and begins with a letter"
    message = fault["msg"].split(", unable to")[0].replace("Input should", "should")
    near = ""
    if kind == "literal_error" and isinstance(given, str):
        near = suggest(given, [part.strip("'") for part in fault["ctx"]["expected"].replace(" or ", ", ").split(", ")])
        near = near if "Did you mean" in near else ""
    return f"{message}, not {_short(given)}{'.' if near else ''}{near}"


def _not_a_mapping(given: Any, model: type[BaseModel] | None) -> str:
    if given is None:
        return "null removes an inherited part, and there is none of this name to remove"
    if model is Use:
        return f"should name a component and its parameters, such as {{name: {_short(given).strip(chr(39))}}}"
    return f"should be a mapping of keys to values, not {_short(given)}"


def _model_at(model: type[BaseModel], loc: tuple) -> type[BaseModel] | None:
    """The pydantic model that the value at `loc` should be, if it should be one."""
    annotation: Any = model
    for part in loc:
        annotation = _step(annotation, part)
    found = [option for option in _options(annotation) if is_model(option)]
    return found[0] if found else None


def is_model(annotation: Any) -> bool:
    """Whether a type is a pydantic model. (In Python 3.10 `dict[str, int]` counts as a class, hence the origin.)"""
    return get_origin(annotation) is None and isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _step(annotation: Any, part: Any) -> Any:
    for option in _options(annotation):
        if is_model(option) and part in option.model_fields:
            return option.model_fields[part].annotation
        if get_origin(option) in (dict, list, tuple):
            return get_args(option)[-1 if get_origin(option) is dict else 0]
    return None


def _options(annotation: Any) -> list[Any]:
    """The types an annotation allows, out of `Annotated` and unions."""
    if get_origin(annotation) is Annotated:
        return _options(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [option for part in get_args(annotation) for option in _options(part)]
    return [annotation]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
